/* What the thread that watches the store posts: what the alias names, once; when that is refused
 * and nothing serves, what it named before, one at a time; and nothing that nobody asked for. */
#include "tests/unit/store_fixture.h"

#include <poll.h>

#include "parameter/alias.h"
#include "serve/follower.h"
#include "tests/unit/model_fixture.h"

#define VERSIONS 3
#define LONG_MS  60000
#define NEVER_MS 3600000 /* looks only when it is kicked */

struct watched {
    const struct fixture *f;
    struct sv_mailbox box;
    struct sv_follower *follower;
    struct sv_letter *next; /* taken, and not looked at */
};

static void write_versions(const struct fixture *f)
{
    struct model_fixture m = {0};
    int64_t number = 0;
    assert_ok(ps_store_open_writer(&m.store, f->store, 'v', NULL));
    assert_ok(model_fixture_take(&m, "lenet"));
    for (int i = 1; i <= VERSIONS; i++)
        assert_ok(model_fixture_version(&m, (uint64_t)i, MODEL_GOOD, &number));
    assert_int_equal(number, VERSIONS);
    ps_store_close(&m.store);
    model_fixture_release(&m);
}

static void name(const struct watched *t, int64_t version)
{
    assert_ok(ps_alias_set(NULL, t->f->store, PS_CHAMPION, PS_ANY, version, "test", ""));
}

/* The champion was 1, then 2, then 3. */
static void write_store(struct watched *t, const struct fixture *f)
{
    *t = (struct watched){.f = f};
    write_versions(f);
    for (int i = 1; i <= VERSIONS; i++)
        name(t, i);
}

static void start(struct watched *t, const char *alias)
{
    struct sv_follower_config cfg = {.store_dir = t->f->store,
                                     .alias = alias,
                                     .poll_ms = NEVER_MS,
                                     .retry_ms = 0,
                                     .mailbox = &t->box,
                                     .letter_kind = 7};
    assert_ok(sv_mailbox_init(&t->box));
    assert_ok(sv_follower_start(&t->follower, &cfg));
}

/* The next letter: of this version, readable or not, as what the alias names or as a way back. */
static void expect_letter(struct watched *t, int64_t version, bool readable, bool fell_back,
                          bool anew)
{
    struct pollfd p = {.fd = t->box.fd, .events = POLLIN};
    if (!t->next && poll(&p, 1, LONG_MS) == 1)
        t->next = sv_mailbox_take(&t->box);
    if (!t->next)
        fail_msg("no news of version %d", (int)version);
    struct sv_news *news = (struct sv_news *)t->next;
    t->next = t->next->next;
    assert_int_equal(news->letter.kind, 7);
    assert_int_equal(news->version.number, version);
    assert_int_equal(news->card != NULL, readable);
    assert_int_equal(news->fell_back, fell_back);
    assert_int_equal(news->anew, anew);
    assert_int_equal(news->passing, !readable); /* what these tests hide is gone for the moment */
    assert_int_equal(*news->reason != '\0', !readable);
    if (readable)
        assert_int_equal(news->card->spec->nclasses, 10);
    sv_news_close(&news);
}

static void expect_news(struct watched *t, int64_t version, bool readable, bool fell_back)
{
    expect_letter(t, version, readable, fell_back, !fell_back);
}

/* A look under way ends first, so that all it has to say is in the box. */
static void expect_no_more(struct watched *t)
{
    assert_true(sv_follower_stop(&t->follower, LONG_MS));
    if (!t->next)
        t->next = sv_mailbox_take(&t->box);
    if (t->next)
        fail_msg("news of version %d", (int)((struct sv_news *)t->next)->version.number);
    assert_true(sv_follower_stop(&t->follower, 0));
    sv_mailbox_release(&t->box);
}

/* path[0] is the version's place, path[1] one where no store looks. */
static void move(const struct watched *t, int64_t version, bool back)
{
    char path[2][256];
    snprintf(path[0], sizeof path[0], "%s/v%06d", t->f->store, (int)version);
    snprintf(path[1], sizeof path[1], "%s/hidden%d", t->f->dir, (int)version);
    assert_int_equal(rename(path[back], path[!back]), 0);
}

static void test_what_the_alias_names(void **state)
{
    struct watched t;
    write_store(&t, *state);
    start(&t, PS_CHAMPION);
    expect_news(&t, 3, true, false);
    sv_follower_kick(t.follower); /* nothing is new */
    name(&t, 1);
    sv_follower_kick(t.follower);
    expect_news(&t, 1, true, false);
    expect_no_more(&t);
}

static void test_back_one_by_one(void **state)
{
    struct watched t;
    write_store(&t, *state);
    start(&t, PS_CHAMPION);
    expect_news(&t, 3, true, false);
    sv_follower_fall_back(t.follower, 3, false);
    expect_news(&t, 2, true, true);
    sv_follower_fall_back(t.follower, 2, false);
    expect_news(&t, 1, true, true);
    sv_follower_fall_back(t.follower, 1, false); /* there is no other */
    name(&t, 2);
    sv_follower_kick(t.follower);
    expect_news(&t, 2, true, false); /* a change decides anew */
    expect_no_more(&t);
}

static void test_back_by_number(void **state)
{
    struct watched t;
    write_store(&t, *state);
    name(&t, 1);
    start(&t, "latest");
    expect_news(&t, 3, true, false);
    sv_follower_fall_back(t.follower, 3, false);
    expect_news(&t, 2, true, true);
    expect_no_more(&t);
}

/* 3 was refused while 2 served, which the follower need not know; then nobody has 2 any more. */
static void test_back_from_what_was_offered_before(void **state)
{
    struct watched t;
    write_store(&t, *state);
    start(&t, PS_CHAMPION);
    expect_news(&t, 3, true, false);
    sv_follower_fall_back(t.follower, 2, false);
    expect_news(&t, 3, true, true);
    sv_follower_fall_back(t.follower, 3, false);
    expect_news(&t, 1, true, true);
    expect_no_more(&t);
}

/* 3 is readable at last: it is offered again, and not what stood in for it. */
static void test_readable_again(void **state)
{
    struct watched t;
    write_store(&t, *state);
    move(&t, 3, false);
    start(&t, PS_CHAMPION);
    expect_news(&t, 3, false, false);
    sv_follower_fall_back(t.follower, 3, false);
    expect_news(&t, 2, true, true);
    move(&t, 3, true);
    sv_follower_kick(t.follower);
    expect_news(&t, 3, true, false);
    expect_no_more(&t);
}

/* What was only out of reach is offered again, without lifting a quarantine; what was refused is
 * not. */
static void test_again_what_was_put_off(void **state)
{
    struct watched t;
    write_store(&t, *state);
    start(&t, PS_CHAMPION);
    expect_news(&t, 3, true, false);
    sv_follower_fall_back(t.follower, 3, true);
    expect_news(&t, 2, true, true);
    sv_follower_fall_back(t.follower, 2, false);
    expect_news(&t, 1, true, true);
    sv_follower_fall_back(t.follower, 1, true); /* there is no other */
    sv_follower_retry(t.follower);
    expect_letter(&t, 3, true, false, false);
    sv_follower_fall_back(t.follower, 3, false); /* no good, now that it is read */
    expect_news(&t, 1, true, true);
    sv_follower_fall_back(t.follower, 1, true);
    sv_follower_retry(t.follower);
    expect_news(&t, 1, true, true); /* the champion is refused: what stands in for it */
    expect_no_more(&t);
}

/* Nothing was left to fall back to, which the next offer ends. */
static void test_again_once(void **state)
{
    struct watched t;
    write_store(&t, *state);
    start(&t, PS_CHAMPION);
    expect_news(&t, 3, true, false);
    for (int version = 3; version > 1; version--) {
        sv_follower_fall_back(t.follower, version, true);
        expect_news(&t, version - 1, true, true);
    }
    sv_follower_fall_back(t.follower, 1, true);
    sv_follower_retry(t.follower);
    expect_letter(&t, 3, true, false, false);
    expect_no_more(&t);
}

/* The champion cannot be read, which is tried at every look; a former one is worth another try. */
static void test_again_behind_an_unreadable_one(void **state)
{
    struct watched t;
    write_store(&t, *state);
    move(&t, 3, false);
    start(&t, PS_CHAMPION);
    expect_news(&t, 3, false, false);
    sv_follower_fall_back(t.follower, 3, true);
    expect_news(&t, 2, true, true);
    sv_follower_fall_back(t.follower, 2, true);
    expect_news(&t, 1, true, true);
    sv_follower_fall_back(t.follower, 1, true);
    sv_follower_retry(t.follower);
    expect_news(&t, 3, false, true);
    sv_follower_fall_back(t.follower, 3, true);
    expect_news(&t, 2, true, true);
    expect_no_more(&t);
}

static void test_store_appears(void **state)
{
    struct watched t = {.f = *state};
    start(&t, PS_CHAMPION);
    write_versions(t.f);
    name(&t, 2);
    sv_follower_kick(t.follower);
    expect_news(&t, 2, true, false);
    expect_no_more(&t);
}

#define FOLLOWER_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOLLOWER_TEST(test_what_the_alias_names),
        FOLLOWER_TEST(test_back_one_by_one),
        FOLLOWER_TEST(test_back_by_number),
        FOLLOWER_TEST(test_back_from_what_was_offered_before),
        FOLLOWER_TEST(test_readable_again),
        FOLLOWER_TEST(test_again_what_was_put_off),
        FOLLOWER_TEST(test_again_once),
        FOLLOWER_TEST(test_again_behind_an_unreadable_one),
        FOLLOWER_TEST(test_store_appears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
