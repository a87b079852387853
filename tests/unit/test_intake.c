/* Reading feedback from a real Redis: whose turn it is, when a batch is closed, what is told when
 * Redis is not the one we know, and that nothing is trimmed then. */
#include "common/log.h"
#include "common/mem.h"
#include "online/intake.h"
#include "online/queue_identity.h"
#include "online/resolve.h"
#include "tests/unit/redis_fixture.h"

#define IMAGE 3072 /* bytes: 32 x 32 x 3 */
#define SELF  "11111111-2222-4333-8444-555555555555 here:/run"
#define OTHER "99999999-2222-4333-8444-555555555555 there:/run"

struct world {
    struct redis_fixture *redis;
    struct nn_spec *spec;
    struct ol_config cfg;
    struct ol_state state;
    struct ol_dedup barred;
    struct cm_events *events;
    char path[CM_PATH]; /* of the events */
    struct ol_intake *in;
};

static void read_config(struct ol_config *cfg)
{
    struct cm_config *config;
    expect_ok(cm_config_open(&config, NULL, NULL, 0));
    expect_ok(cm_config_read(config, &ol_config_section, cfg));
    cm_config_close(&config);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *redis;
    cm_log_set_level(CM_LOG_ERROR);
    redis_fixture_setup(&redis);
    w->redis = redis;
    read_config(&w->cfg);
    snprintf(w->cfg.redis, sizeof w->cfg.redis, "%s", w->redis->address);
    w->cfg.entries = 64;
    w->cfg.min_entries = 1;
    w->cfg.poll_ms = 20;
    w->cfg.retry_max_ms = 100;
    expect_ok(nn_spec_load(&w->spec, "zoo:lenet"));
    expect_ok(ol_state_init(&w->state, 1000));
    expect_ok(ol_dedup_init(&w->barred, 10));
    expect_ok(cm_path_join(w->path, w->redis->dir, "events.jsonl"));
    expect_ok(cm_events_open(&w->events, w->path, 0));
    expect_ok(ol_intake_open(&w->in, &w->cfg, w->spec, SELF, &w->barred, w->events));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *redis = w->redis;
    ol_intake_close(&w->in);
    cm_events_close(&w->events);
    ol_dedup_release(&w->barred);
    ol_state_release(&w->state);
    nn_spec_close(&w->spec);
    redis_fixture_teardown(&redis);
    free(w);
    return 0;
}

/* Image `number` is like no other. */
static void make_image(char image[IMAGE], int number)
{
    memset(image, 1, IMAGE);
    snprintf(image, IMAGE, "image %d", number);
}

static void push(struct world *w, const char *who, int first, int count)
{
    char image[IMAGE], key[WI_KEY];
    assert_true(wi_key_feedback(key, who));
    for (int i = first; i < first + count; i++) {
        const struct cm_redis_value *v;
        const char *const argv[] = {"XADD", key, "*", "label", "3", "image", image};
        const size_t argn[] = {4, strlen(key), 1, 5, 1, 5, IMAGE};
        make_image(image, i);
        expect_ok(cm_redis_command(w->redis->redis, &v, 7, argv, argn, 0));
    }
}

/* Turns until the intake says something else than "more"; at most so many. */
static enum ol_intake_said turn(struct world *w, bool drain, int most)
{
    enum ol_intake_said said = OL_INTAKE_MORE;
    for (int i = 0; i < most && said == OL_INTAKE_MORE; i++)
        expect_ok(ol_intake_turn(w->in, drain, &said));
    return said;
}

/* Turns until so many entries are in the batch, and some more: no other comes, and it stays open.
 */
static void turn_until_pending(struct world *w, size_t pending)
{
    for (int i = 0; i < 500 && ol_intake_pending(w->in) < pending; i++)
        assert_int_equal(turn(w, false, 1), OL_INTAKE_MORE);
    assert_int_equal(turn(w, false, 5), OL_INTAKE_MORE);
    assert_int_equal(ol_intake_pending(w->in), pending);
}

static cm_status turn_until_fault(struct world *w, bool drain)
{
    enum ol_intake_said said;
    cm_status st = CM_OK;
    for (int i = 0; i < 500 && st == CM_OK; i++)
        st = ol_intake_turn(w->in, drain, &said);
    return st;
}

static int count_of(const struct ol_batch *b, const char *who, enum ol_fate fate)
{
    int n = 0;
    for (size_t i = 0; i < b->nentries; i++)
        n += b->entries[i].fate == (int)fate &&
             strcmp(b->operators[b->entries[i].operator_index], who) == 0;
    return n;
}

static void drain_batch(struct world *w, struct ol_batch *b)
{
    expect_ok(ol_intake_begin(w->in, &w->state));
    assert_int_equal(turn(w, true, 500), OL_INTAKE_FULL);
    ol_intake_take(w->in, b);
}

/* As the loop commits it. */
static void commit(struct world *w, struct ol_batch *b)
{
    static const int32_t predicted[4096];
    struct ol_gate_verdict v = {.reason = OL_GATE_PASSED};
    b->champion = 1;
    expect_ok(ol_state_advance(&w->state, b, &v, 2, predicted, 0.002, NULL));
    ol_batch_release(b);
}

static void tidy(struct world *w)
{
    static const struct ol_batch none;
    ol_intake_tidy(w->in, &w->state, &none);
}

static int64_t length_of(struct world *w, const char *key)
{
    return redis_do(w->redis, "XLEN", key)->integer;
}

static bool told(const struct world *w, const char *text)
{
    char *events;
    size_t n;
    expect_ok(cm_file_read(&events, &n, w->path, 1 << 20));
    bool is = strstr(events, text) != NULL;
    cm_free(&events);
    return is;
}

static void test_turns(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    w->cfg.entries = 40;
    push(w, "ann", 0, 100);
    push(w, "bob", 100, 100);
    push(w, "eve", 200, 3);
    drain_batch(w, &b); /* batch 1 begins with the second stream */
    assert_int_equal(count_of(&b, "bob", OL_TRAINED), 21);
    assert_int_equal(count_of(&b, "eve", OL_TRAINED), 3);
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 16);
    commit(w, &b);
    drain_batch(w, &b); /* and batch 2 with the third */
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 24);
    assert_int_equal(count_of(&b, "bob", OL_TRAINED), 16);
    ol_batch_release(&b);
}

/* One stream can fill every batch; that of the last name must get its turn all the same. */
static void test_no_name_starves(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    int zoe = 0;
    w->cfg.entries = 16;
    push(w, "ann", 0, 100);
    push(w, "zoe", 100, 100);
    for (int i = 0; i < 4; i++) {
        drain_batch(w, &b);
        zoe += count_of(&b, "zoe", OL_TRAINED);
        commit(w, &b);
    }
    assert_int_equal(zoe, 32);
}

/* Whatever time a turn has, the batch is the same one. */
static void test_slices_change_nothing(void **state)
{
    struct world *w = *state;
    struct ol_batch whole, sliced;
    push(w, "ann", 0, 40);
    push(w, "bob", 100, 30);
    drain_batch(w, &whole);
    w->cfg.poll_ms = 0; /* each deadline has passed when it begins */
    expect_ok(ol_intake_begin(w->in, &w->state));
    int turns = 0;
    while (turn(w, true, 1) == OL_INTAKE_MORE)
        assert_true(++turns < 1000);
    ol_intake_take(w->in, &sliced);
    assert_true(turns > 60); /* an entry a turn */
    assert_int_equal(sliced.nentries, whole.nentries);
    for (size_t i = 0; i < whole.nentries; i++) {
        assert_true(ol_id_compare(whole.entries[i].id, sliced.entries[i].id) == 0);
        assert_true(whole.entries[i].content == sliced.entries[i].content);
    }
    ol_batch_release(&whole);
    ol_batch_release(&sliced);
}

/* A quota holds an operator back, and does not close the batch while others may still speak. */
static void test_quota(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    w->cfg.quota = 5;
    push(w, "ann", 0, 20);
    expect_ok(ol_intake_begin(w->in, &w->state));
    turn_until_pending(w, 5);
    push(w, "bob", 100, 64);
    w->cfg.scan_ms = 1;
    turn_until_pending(w, 10);
    w->cfg.max_wait_s = 0; /* nothing else would ever close it */
    assert_int_equal(turn(w, false, 500), OL_INTAKE_FULL);
    ol_intake_take(w->in, &b);
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 5);
    assert_int_equal(count_of(&b, "bob", OL_TRAINED), 5);
    commit(w, &b);
    drain_batch(w, &b);
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 5);
    ol_batch_release(&b);
}

static void test_time_closes_a_batch(void **state)
{
    struct world *w = *state;
    push(w, "ann", 0, 3);
    w->cfg.max_wait_s = 0.5;
    expect_ok(ol_intake_begin(w->in, &w->state));
    assert_int_equal(turn(w, false, 500), OL_INTAKE_FULL);
    assert_int_equal(ol_intake_pending(w->in), 3);
}

static void push_garbage(struct world *w)
{
    const struct cm_redis_value *v;
    expect_ok(cm_redis_call(w->redis->redis, &v, "XADD", "fw:feedback:ann", "*", "a", "b", NULL));
}

/* Neither time nor draining closes a batch that could show nothing; without a good entry there is
 * nothing to wait for. */
static void test_few_good_entries_wait(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    w->cfg.min_entries = 3;
    w->cfg.max_wait_s = 1e-9;
    push_garbage(w);
    drain_batch(w, &b);
    commit(w, &b);
    push(w, "ann", 0, 2);
    expect_ok(ol_intake_begin(w->in, &w->state));
    turn_until_pending(w, 2);
    assert_int_equal(turn(w, true, 500), OL_INTAKE_DRY);
    expect_ok(ol_intake_begin(w->in, &w->state)); /* they are read again */
    push(w, "bob", 2, 1);
    assert_int_equal(turn(w, false, 500), OL_INTAKE_FULL);
    ol_intake_take(w->in, &b);
    assert_int_equal(b.nimages, 3);
    ol_batch_release(&b);
}

/* An operator at its quota with garbage among it cannot bring what is missing. */
static void test_a_quota_does_not_wait_for_ever(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    w->cfg.min_entries = w->cfg.quota = 3;
    push(w, "ann", 0, 2);
    push_garbage(w);
    push(w, "ann", 2, 5);
    drain_batch(w, &b);
    assert_int_equal(b.nimages, 2);
    ol_batch_release(&b);
}

/* What judges candidates is not trained on, however it is labelled. */
static void test_holdout_is_barred(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    char image[IMAGE];
    make_image(image, 1);
    ol_dedup_add(&w->barred, ol_image_hash((const uint8_t *)image, IMAGE));
    push(w, "ann", 0, 3);
    drain_batch(w, &b);
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 2);
    assert_int_equal(b.entries[1].fate, OL_DEAD);
    assert_non_null(strstr(b.entries[1].reason, "holdout"));
    ol_batch_release(&b);
}

static void test_refused_may_be_said_again(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    static const int32_t predicted[8];
    struct ol_gate_verdict refused = {.reason = OL_GATE_ACCURACY};
    push(w, "mallory", 0, 2);
    drain_batch(w, &b);
    expect_ok(ol_state_advance(&w->state, &b, &refused, 0, predicted, 0.002, NULL));
    ol_batch_release(&b);
    push(w, "ann", 0, 2);
    drain_batch(w, &b);
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 2);
    ol_batch_release(&b);
    w->state.epoch[0] = 'x'; /* read from the beginning: the same deliveries count once */
    drain_batch(w, &b);
    assert_int_equal(count_of(&b, "mallory", OL_DUPLICATE), 2);
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 2);
    ol_batch_release(&b);
}

static void test_trims_behind_a_commit(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    push(w, "ann", 0, 10);
    drain_batch(w, &b);
    commit(w, &b);
    push(w, "ann", 10, 2);
    tidy(w);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 2);
}

/* Killed between commit and trimming: an idle loop does it, for nobody can push to a full Redis. */
static void test_trims_late(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    push(w, "ann", 0, 10);
    drain_batch(w, &b);
    commit(w, &b);
    push(w, "bob", 20, 3);
    ol_intake_close(&w->in);
    expect_ok(ol_intake_open(&w->in, &w->cfg, w->spec, SELF, NULL, w->events));
    expect_ok(ol_intake_begin(w->in, &w->state));
    assert_int_equal(turn(w, true, 500), OL_INTAKE_FULL);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 0);
    assert_int_equal(length_of(w, "fw:feedback:bob"), 3);
}

static void set_memory(struct world *w, long long nbytes)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", nbytes);
    redis_do(w->redis, "CONFIG", "SET", "maxmemory", text);
}

static long long used_memory(struct world *w)
{
    const char *at = strstr(redis_do(w->redis, "INFO", "memory")->string, "used_memory:");
    assert_non_null(at);
    return strtoll(at + strlen("used_memory:"), NULL, 10);
}

/* A batch with a dead entry from a Redis that is full; as the loop goes on with it. */
static void decide_when_full(struct world *w, long long room)
{
    struct ol_batch b;
    bool done = false;
    w->cfg.entries = 300;
    push(w, "ann", 0, 300); /* about 1 MB */
    redis_do(w->redis, "XADD", "fw:feedback:bob", "*", "label", "nosuch");
    drain_batch(w, &b);
    set_memory(w, room < 0 ? used_memory(w) + room : room);
    for (int i = 0; i < 100 && !done; i++)
        expect_ok(ol_intake_letters(w->in, &b, true, &done));
    assert_true(done);
    assert_int_equal(length_of(w, WI_KEY_DLQ), 0);
    struct ol_batch kept = b; /* commit releases what it is given */
    static const int32_t predicted[300];
    struct ol_gate_verdict v = {.reason = OL_GATE_PASSED};
    kept.champion = 1;
    expect_ok(ol_state_advance(&w->state, &kept, &v, 2, predicted, 0.002, NULL));
    ol_intake_tidy(w->in, &w->state, &b);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 0);
    assert_int_equal(length_of(w, "fw:feedback:bob"), 0);
    assert_false(told(w, "trim_failed"));
    ol_batch_release(&b);
}

/* Only trimming makes room, and it comes after the commit: a letter must not wait for room before.
 */
static void test_full(void **state)
{
    struct world *w = *state;
    decide_when_full(w, -200000);
    assert_int_equal(length_of(w, WI_KEY_DLQ), 1);
    assert_false(told(w, "letters_unsent"));
}

static void test_full_of_something_else(void **state)
{
    struct world *w = *state;
    decide_when_full(w, 1);
    assert_int_equal(length_of(w, WI_KEY_DLQ), 0);
    assert_true(told(w, "letters_unsent"));
}

/* Without trimming no room comes from the loop: it waits for a person. */
static void test_full_and_not_trimmed(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    bool done;
    w->cfg.trim = false;
    redis_do(w->redis, "XADD", "fw:feedback:bob", "*", "label", "nosuch");
    drain_batch(w, &b);
    set_memory(w, 1);
    expect_ok(ol_intake_letters(w->in, &b, false, &done));
    assert_false(done);
    set_memory(w, 0);
    for (int i = 0; i < 100 && !done; i++)
        expect_ok(ol_intake_letters(w->in, &b, false, &done));
    assert_int_equal(length_of(w, WI_KEY_DLQ), 1);
    ol_batch_release(&b);
}

static void train_two_operators(struct world *w, struct ol_batch *b)
{
    push(w, "ann", 0, 3);
    push(w, "bob", 10, 3);
    drain_batch(w, b);
    commit(w, b);
    tidy(w);
}

/* What the loop is told to forget it forgets: else old streams would count against the most that it
 * reads for ever. */
static void test_removed_stream(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    train_two_operators(w, &b);
    redis_do(w->redis, "DEL", "fw:feedback:ann");
    push(w, "bob", 20, 1);
    drain_batch(w, &b);
    commit(w, &b);
    push(w, "bob", 30, 1);
    drain_batch(w, &b);
    assert_int_equal(b.noperators, 1);
    assert_string_equal(b.operators[0], "bob");
    ol_batch_release(&b);
}

/* Whoever may write a key may make something else of it: the others' entries are trained, and its
 * own once it is a stream again. */
static void test_key_of_another_type(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    train_two_operators(w, &b);
    redis_do(w->redis, "SET", "fw:feedback:ann", "no stream");
    push(w, "bob", 20, 2);
    drain_batch(w, &b);
    assert_int_equal(count_of(&b, "bob", OL_TRAINED), 2);
    assert_true(told(w, "redis_lost_data"));
    commit(w, &b);
    tidy(w);
    assert_false(told(w, "trim_failed"));
    assert_int_equal(length_of(w, "fw:feedback:bob"), 0);

    expect_ok(ol_intake_begin(w->in, &w->state)); /* nothing comes for a while, and no fault */
    for (int i = 0; i < 5; i++)
        assert_int_equal(turn(w, false, 1), OL_INTAKE_MORE);

    redis_do(w->redis, "DEL", "fw:feedback:ann");
    push(w, "ann", 30, 2);
    drain_batch(w, &b);
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 2);
    ol_batch_release(&b);
}

/* Another Redis, or the same one gone back in time, may hold entries below our offsets that nobody
 * ever read. */
static void test_never_trims_another_redis(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    char epoch[CM_UUID_TEXT];
    push(w, "ann", 0, 10);
    push(w, "bob", 20, 10);
    drain_batch(w, &b);
    commit(w, &b);
    memcpy(epoch, w->state.epoch, sizeof epoch);

    redis_do(w->redis, "SET", WI_KEY_EPOCH, "another");
    tidy(w);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 10);
    assert_true(told(w, "trim_skipped"));
    redis_do(w->redis, "DEL", WI_KEY_EPOCH);
    tidy(w);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 10);
    redis_do(w->redis, "SET", WI_KEY_EPOCH, epoch);
    redis_do(w->redis, "SET", WI_KEY_OWNER, OTHER);
    tidy(w);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 10);
    redis_do(w->redis, "SET", WI_KEY_OWNER, SELF);

    redis_do(w->redis, "DEL", "fw:feedback:ann"); /* a new stream, of lower ids */
    redis_do(w->redis, "XADD", "fw:feedback:ann", "1-1", "label", "1");
    tidy(w);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 1);
    assert_int_equal(length_of(w, "fw:feedback:bob"), 0); /* which is the one we know */
}

static void test_one_loop_for_one_redis(void **state)
{
    struct world *w = *state;
    redis_do(w->redis, "SET", WI_KEY_OWNER, OTHER);
    expect_ok(ol_intake_begin(w->in, &w->state));
    expect_fault(CM_EMISMATCH, "there:/run", turn_until_fault(w, false));
    redis_do(w->redis, "DEL", WI_KEY_OWNER);
    assert_int_equal(turn(w, true, 500), OL_INTAKE_DRY);
    const struct cm_redis_value *v = redis_do(w->redis, "GET", WI_KEY_OWNER);
    assert_string_equal(v->string, SELF);
    assert_true(ol_queue_same_owner(SELF, "11111111-2222-4333-8444-555555555555 moved:/to"));
}

/* FLUSHALL under a running loop: told, and what comes thereafter is read. */
static void test_flushed(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    push(w, "ann", 0, 5);
    drain_batch(w, &b);
    commit(w, &b);
    redis_do(w->redis, "FLUSHALL");
    push(w, "ann", 0, 7);
    drain_batch(w, &b);
    assert_true(told(w, "redis_lost_data"));
    assert_int_equal(count_of(&b, "ann", OL_DUPLICATE), 5);
    assert_int_equal(count_of(&b, "ann", OL_TRAINED), 2);
    commit(w, &b);
    tidy(w);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 0);
}

/* Another who trims takes what was not read: that is told, once. */
static void test_lost_entries_are_told(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    push(w, "ann", 0, 5);
    drain_batch(w, &b);
    commit(w, &b);
    tidy(w);
    push(w, "ann", 5, 10);
    redis_do(w->redis, "XTRIM", "fw:feedback:ann", "MAXLEN", "6");
    drain_batch(w, &b);
    ol_batch_release(&b);
    assert_true(told(w, "\"entries_lost\""));
    assert_true(told(w, "\"entries\":4"));
    assert_false(told(w, "redis_lost_data"));
}

/* How often Redis was asked for this since it counts. */
static int calls(struct world *w, const char *command)
{
    char key[64];
    snprintf(key, sizeof key, "cmdstat_%s:calls=", command);
    const char *at = strstr(redis_do(w->redis, "INFO", "commandstats")->string, key);
    return at ? (int)strtol(at + strlen(key), NULL, 10) : 0;
}

/* An idle loop looks around all the time, and XINFO STREAM would carry two images each time. */
static void test_looks_cheaply(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    w->cfg.scan_ms = 1;
    push(w, "ann", 0, 10);
    drain_batch(w, &b);
    commit(w, &b);
    tidy(w);
    push(w, "ann", 10, 1);
    expect_ok(ol_intake_begin(w->in, &w->state));
    turn_until_pending(w, 1);
    redis_do(w->redis, "CONFIG", "RESETSTAT");
    for (int i = 0; i < 20; i++)
        assert_int_equal(turn(w, false, 1), OL_INTAKE_MORE);
    assert_true(calls(w, "xinfo|groups") >= 10);
    assert_int_equal(calls(w, "xinfo|stream"), 0);
    push(w, "bob", 20, 1); /* who is new is found all the same */
    turn_until_pending(w, 2);
    for (int i = 0; i < 40; i++) /* and now and then it looks at all there is */
        assert_int_equal(turn(w, false, 1), OL_INTAKE_MORE);
    assert_in_range(calls(w, "xinfo|stream"), 1, 3);
    redis_do(w->redis, "DEL", "fw:feedback:ann"); /* noticed at the next cheap look */
    for (int i = 0; i < 3; i++)
        assert_int_equal(turn(w, false, 1), OL_INTAKE_MORE);
    assert_true(told(w, "redis_lost_data"));
}

static void test_drain_gives_up(void **state)
{
    struct world *w = *state;
    w->cfg.drain_wait_s = 0.1;
    expect_ok(ol_intake_begin(w->in, &w->state));
    redis_fixture_stop(w->redis);
    expect_fault(CM_ECONNECT, "online.drain_wait_s", turn_until_fault(w, true));
    enum ol_intake_said said;
    for (int i = 0; i < 20; i++) /* while a loop without --drain waits on */
        expect_ok(ol_intake_turn(w->in, false, &said));
    redis_fixture_start(w->redis);
    assert_int_equal(turn(w, true, 500), OL_INTAKE_DRY);
}

/* What no waiting heals ends the loop: somebody else who speaks there, and no permission. */
static void test_not_allowed(void **state)
{
    struct world *w = *state;
    redis_do(w->redis, "ACL", "SETUSER", "default", "-xread");
    expect_ok(ol_intake_begin(w->in, &w->state));
    push(w, "ann", 0, 1);
    expect_fault(CM_EUNSUPPORTED, "NOPERM", turn_until_fault(w, false));
    redis_do(w->redis, "ACL", "SETUSER", "default", "+xread", "-info", "-config");
    assert_int_equal(turn(w, true, 500), OL_INTAKE_FULL);
}

/* The rights that README.md names are enough, from claiming to trimming. */
static void test_least_rights(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    bool done;
    char path[CM_PATH];
    redis_do(w->redis, "ACL", "SETUSER", "loop", "on", ">secret", "resetkeys", "~fw:*", "-@all",
             "+client|setname", "+get", "+set", "+scan", "+xread", "+xadd", "+xtrim", "+xinfo",
             "+xgroup", "+hgetall");
    expect_ok(cm_path_join(path, w->redis->dir, "password"));
    expect_ok(cm_file_replace(path, "secret\n", 7));
    snprintf(w->cfg.redis_user, sizeof w->cfg.redis_user, "loop");
    snprintf(w->cfg.redis_password_file, sizeof w->cfg.redis_password_file, "%.200s", path);
    ol_intake_close(&w->in);
    expect_ok(ol_intake_open(&w->in, &w->cfg, w->spec, SELF, NULL, w->events));
    redis_do(w->redis, "XADD", "fw:feedback:ann", "*", "label", "1", "prediction_id",
             "0123456789abcdef0123456789abcdef");
    drain_batch(w, &b);
    assert_int_equal(count_of(&b, "ann", OL_DEAD), 1);
    expect_ok(ol_intake_letters(w->in, &b, true, &done));
    assert_true(done);
    commit(w, &b);
    tidy(w);
    assert_false(told(w, "trim"));
    assert_int_equal(length_of(w, "fw:feedback:ann"), 0);
}

/* Without the permission to trim the loop goes on; it says so each time. */
static void test_not_allowed_to_trim(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    push(w, "ann", 0, 3);
    drain_batch(w, &b);
    commit(w, &b);
    redis_do(w->redis, "ACL", "SETUSER", "default", "-xtrim");
    tidy(w);
    assert_true(told(w, "\"trim_failed\""));
    assert_true(told(w, "xtrim"));
    redis_do(w->redis, "ACL", "SETUSER", "default", "+xtrim");
    tidy(w);
    assert_int_equal(length_of(w, "fw:feedback:ann"), 0);
}

static void test_letters(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    bool done = false;
    for (int i = 0; i < 40; i++)
        redis_do(w->redis, "XADD", "fw:feedback:ann", "*", "label", "nosuch");
    drain_batch(w, &b);
    w->cfg.poll_ms = 0; /* a letter a call */
    expect_ok(ol_intake_letters(w->in, &b, true, &done));
    assert_false(done);
    w->cfg.poll_ms = 20;
    for (int i = 0; i < 100 && !done; i++)
        expect_ok(ol_intake_letters(w->in, &b, true, &done));
    assert_int_equal(length_of(w, WI_KEY_DLQ), 40);
    ol_batch_release(&b);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(test_turns),
        WORLD(test_no_name_starves),
        WORLD(test_slices_change_nothing),
        WORLD(test_quota),
        WORLD(test_time_closes_a_batch),
        WORLD(test_few_good_entries_wait),
        WORLD(test_a_quota_does_not_wait_for_ever),
        WORLD(test_holdout_is_barred),
        WORLD(test_refused_may_be_said_again),
        WORLD(test_trims_behind_a_commit),
        WORLD(test_trims_late),
        WORLD(test_full),
        WORLD(test_full_of_something_else),
        WORLD(test_full_and_not_trimmed),
        WORLD(test_removed_stream),
        WORLD(test_key_of_another_type),
        WORLD(test_never_trims_another_redis),
        WORLD(test_one_loop_for_one_redis),
        WORLD(test_flushed),
        WORLD(test_lost_entries_are_told),
        WORLD(test_looks_cheaply),
        WORLD(test_drain_gives_up),
        WORLD(test_not_allowed),
        WORLD(test_least_rights),
        WORLD(test_not_allowed_to_trim),
        WORLD(test_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
