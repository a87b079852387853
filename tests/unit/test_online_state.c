/* The chain of states: how a batch advances it, that it comes back as it was, and that a damaged
 * newest one is walked past. */
#include <math.h>

#include "common/log.h"
#include "common/mem.h"
#include "online/online_state.h"
#include "tests/unit/online_fixture.h"

static const int32_t predicted[] = {1, 0, 3};

static void advance(struct ol_state *s, int64_t number, enum ol_gate_reason reason)
{
    struct ol_batch b;
    struct ol_gate_verdict v = {.reason = reason,
                                .text = "because",
                                .worst_class = 2,
                                .worse = 3,
                                .candidate_accuracy = 0.75,
                                .update = (double)NAN};
    batch_make(&b, number);
    expect_ok(
        ol_state_advance(s, &b, &v, reason == OL_GATE_PASSED ? 6 : 0, predicted, 0.002, NULL));
    ol_batch_release(&b);
}

static void test_passed(void **state)
{
    (void)state;
    struct ol_state s;
    expect_ok(ol_state_init(&s, 100));
    advance(&s, 1, OL_GATE_PASSED);
    const struct ol_stream *ann = ol_ledger_find(&s.ledger, "ann");
    const struct ol_stream *bob = ol_ledger_find(&s.ledger, "bob");
    assert_int_equal(ann->read, 3);
    assert_int_equal(ann->count.trained, 2);
    assert_int_equal(ann->count.dead, 1);
    assert_int_equal(ann->offset.ms, 13);
    assert_int_equal(bob->count.trained, 1);
    assert_int_equal(bob->count.duplicate, 1);
    assert_int_equal(bob->offset.ms, 14);
    assert_int_equal(s.weights, 6);
    assert_int_equal(s.champion, 4);
    assert_int_equal(s.dedup.n, 6); /* of 3 entries, content and delivery */
    assert_true(ol_dedup_has(&s.dedup, 12 * UINT64_C(1000003)));
    assert_true(ol_dedup_has(&s.dedup, 13 * 7));
    assert_int_equal(s.drift.n, 3);
    assert_int_equal(s.drift.errors, 1); /* bob's 2 was called 0; 13 was answered right */
    ol_state_release(&s);
}

/* A refusal advances offsets just the same. */
static void test_rejected(void **state)
{
    (void)state;
    struct ol_state s;
    expect_ok(ol_state_init(&s, 100));
    advance(&s, 1, OL_GATE_ACCURACY);
    const struct ol_stream *ann = ol_ledger_find(&s.ledger, "ann");
    assert_int_equal(ann->count.trained, 0);
    assert_int_equal(ann->count.rejected, 2);
    assert_int_equal(ann->count.dead, 1);
    assert_int_equal(ann->offset.ms, 13);
    assert_int_equal(s.weights, 0);
    /* What was refused may be said again, but the very same entries do not come again. */
    assert_false(ol_dedup_has(&s.dedup, 12 * UINT64_C(1000003)));
    assert_true(ol_dedup_has(&s.dedup, 13 * 7));
    struct ol_entry twelfth = {.id = {12, 0}, .content = 12 * UINT64_C(1000003)};
    assert_true(ol_dedup_has(&s.dedup, ol_entry_delivery("bob", &twelfth)));
    assert_false(ol_dedup_has(&s.dedup, ol_entry_delivery("ann", &twelfth)));
    assert_int_equal(s.dedup.n, 3);
    ol_state_release(&s);
}

/* So many entries as the config says are remembered, each with both of its keys. */
static void test_window_counts_entries(void **state)
{
    (void)state;
    struct ol_state s;
    expect_ok(ol_state_init(&s, 3));
    advance(&s, 1, OL_GATE_PASSED);
    assert_true(ol_dedup_has(&s.dedup, 10 * UINT64_C(1000003)));
    assert_true(ol_dedup_has(&s.dedup, 13 * UINT64_C(1000003)));
    ol_state_release(&s);
}

/* A stream that is read from before its offset has begun anew. */
static void test_restart(void **state)
{
    (void)state;
    struct ol_state s;
    struct ol_stream *ann;
    expect_ok(ol_state_init(&s, 100));
    expect_ok(ol_ledger_add(&ann, &s.ledger, "ann"));
    ann->offset.ms = 900;
    ann->read = ann->count.trained = 7;
    advance(&s, 1, OL_GATE_PASSED);
    ann = ol_ledger_find(&s.ledger, "ann");
    assert_int_equal(ann->read, 3);
    assert_int_equal(ann->offset.ms, 13);
    assert_int_equal(ann->count.trained, 9);
    ol_state_release(&s);
}

struct chain {
    char dir[CM_PATH];
    struct ps_store *store;
};

static int setup(void **state)
{
    struct chain *c = calloc(1, sizeof *c);
    cm_log_set_level(CM_LOG_ERROR);
    expect_dir_make(c->dir);
    expect_ok(ps_store_open_writer(&c->store, c->dir, 's', NULL));
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct chain *c = *state;
    ps_store_close(&c->store);
    expect_dir_remove(c->dir);
    free(c);
    return 0;
}

static void assert_same(const struct ol_state *a, const struct ol_state *b)
{
    assert_int_equal(a->batch, b->batch);
    assert_string_equal(a->epoch, b->epoch);
    assert_int_equal(a->champion, b->champion);
    assert_int_equal(a->weights, b->weights);
    assert_int_equal(a->ledger.n, b->ledger.n);
    assert_memory_equal(a->ledger.stream, b->ledger.stream, a->ledger.n * sizeof *a->ledger.stream);
    assert_int_equal(a->dedup.n, b->dedup.n);
    for (size_t i = 0; i < a->dedup.n; i++)
        assert_true(ol_dedup_has(&b->dedup, a->dedup.hash[i]));
    assert_memory_equal(&a->drift, &b->drift, sizeof a->drift);
    assert_int_equal(a->anchor.n, b->anchor.n);
    assert_true(a->anchor.holdout == b->anchor.holdout);
    if (a->anchor.n)
        assert_memory_equal(a->anchor.answer, b->anchor.answer,
                            (size_t)a->anchor.n * sizeof *a->anchor.answer);
    assert_int_equal(a->verdict.reason, b->verdict.reason);
    assert_string_equal(a->verdict.text, b->verdict.text);
    assert_int_equal(a->verdict.worst_class, b->verdict.worst_class);
    assert_true(isnan(b->verdict.update));
}

static void test_there_and_back(void **state)
{
    struct chain *c = *state;
    struct ol_state s, back;
    int64_t version;
    expect_ok(ol_state_init(&s, 100));
    expect_ok(ol_state_init(&back, 100));
    expect_ok(ol_state_load(&back, &version, c->store));
    assert_int_equal(version, 0);
    assert_int_equal(back.batch, 0);
    advance(&s, 1, OL_GATE_RECALL);
    expect_ok(ol_state_commit(&s, &version, c->store, 0, "run"));
    assert_int_equal(version, 1);
    expect_ok(ol_state_load(&back, &version, c->store));
    assert_same(&s, &back);
    static const int32_t answers[] = {3, 1, 4, 1, 5};
    expect_ok(ol_anchor_set(&s.anchor, answers, 3, 1)); /* of another holdout before */
    expect_ok(ol_anchor_set(&s.anchor, answers, 5, UINT64_MAX - 7));
    expect_ok(ol_state_commit(&s, &version, c->store, 1, "run"));
    expect_ok(ol_state_load(&back, &version, c->store));
    assert_same(&s, &back);
    ol_state_release(&s);
    ol_state_release(&back);
}

static void test_damaged_newest(void **state)
{
    struct chain *c = *state;
    struct ol_state s, back;
    int64_t version;
    char dir[CM_PATH], path[CM_PATH];
    expect_ok(ol_state_init(&s, 100));
    expect_ok(ol_state_init(&back, 100));
    advance(&s, 1, OL_GATE_PASSED);
    expect_ok(ol_state_commit(&s, &version, c->store, 0, "run"));
    advance(&s, 2, OL_GATE_PASSED);
    expect_ok(ol_state_commit(&s, &version, c->store, 1, "run"));
    assert_int_equal(version, 2);
    expect_ok(cm_path_join(dir, c->dir, "s000002"));
    expect_ok(cm_path_join(path, dir, "online.json"));
    char *text;
    size_t n;
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    text[n / 2] ^= 1;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    cm_free(&text);
    expect_ok(ol_state_load(&back, &version, c->store));
    assert_int_equal(version, 1);
    assert_int_equal(back.batch, 1);
    /* and the next commit takes a number that was never used */
    expect_ok(ol_state_commit(&back, &version, c->store, 1, "run"));
    assert_int_equal(version, 3);
    ol_state_release(&s);
    ol_state_release(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passed),
        cmocka_unit_test(test_rejected),
        cmocka_unit_test(test_window_counts_entries),
        cmocka_unit_test(test_restart),
        cmocka_unit_test_setup_teardown(test_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_newest, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
