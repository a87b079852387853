/* Names that move: compare and set, history, rollback, races, damage. */
#include <signal.h>

#include "tests/unit/store_fixture.h"

#include "parameter/alias.h"

static int64_t target(const struct fixture *f, const char *name)
{
    struct ps_alias a;
    return ps_alias_get(&a, f->dir, name) == CM_OK ? a.version : -1;
}

static void moves_only_from_what_was_seen(void **state)
{
    struct fixture *f = *state;
    struct ps_alias a;
    assert_fails(ps_alias_get(&a, f->dir, "champion"), CM_ENOTFOUND);
    assert_says("none");
    assert_fails(ps_alias_set(&a, f->dir, "champion", 4, 5, "t", ""), CM_EMISMATCH);
    assert_ok(ps_alias_set(&a, f->dir, "champion", 0, 5, "t", "first"));
    assert_int_equal(a.number, 1);
    assert_fails(ps_alias_set(&a, f->dir, "champion", 0, 6, "t", ""), CM_EMISMATCH);
    assert_says("names version 5, not 0");
    assert_ok(ps_alias_set(&a, f->dir, "champion", 5, 6, "t", ""));
    assert_ok(ps_alias_set(&a, f->dir, "champion", PS_ANY, 9, "t", ""));
    assert_int_equal(target(f, "champion"), 9);
    assert_int_equal(target(f, "previous"), 6);
    assert_fails(ps_alias_get(&a, f->dir, "candidate"), CM_ENOTFOUND);
    assert_says("champion");
}

static void tells_its_history(void **state)
{
    struct fixture *f = *state;
    struct ps_alias *h;
    size_t n;
    assert_ok(ps_alias_set(NULL, f->dir, "champion", 0, 1, "online", "gate passed: +0.3 %"));
    assert_ok(ps_alias_set(NULL, f->dir, "champion", 1, 2, "alice", "\"quoted\"\n"));
    assert_ok(ps_alias_rollback(NULL, f->dir, "champion", "bob", "worse on cats"));
    assert_ok(ps_alias_set(NULL, f->dir, "canary", 0, 2, "alice", ""));
    assert_ok(ps_alias_history(&h, &n, f->dir, "champion"));
    assert_int_equal(n, 3);
    assert_string_equal(h[0].who, "online");
    assert_string_equal(h[1].why, "\"quoted\"\n");
    assert_int_equal(h[2].from, 2);
    assert_int_equal(h[2].version, 1);
    assert_true(h[2].changed_utc_s > 1e9);
    cm_free(&h);
    assert_int_equal(target(f, "previous"), 2);
    assert_ok(ps_alias_list(&h, &n, f->dir));
    assert_int_equal(n, 2);
    assert_string_equal(h[0].name, "canary");
    assert_string_equal(h[1].name, "champion");
    cm_free(&h);
}

static void refuses_bad_names(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",   "../x",     "a/b",    "Champion", "1",  "v000001",
                                      "v1", "previous", "latest", "a.b",      ".x", "é"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(ps_alias_set(NULL, f->dir, bad[i], PS_ANY, 1, "t", ""), CM_EINVAL);
    char longest[PS_NAME + 1];
    memset(longest, 'a', PS_NAME);
    longest[PS_NAME] = '\0';
    assert_fails(ps_alias_set(NULL, f->dir, longest, PS_ANY, 1, "t", ""), CM_EINVAL);
    longest[PS_NAME - 1] = '\0';
    assert_ok(ps_alias_set(NULL, f->dir, longest, PS_ANY, 1, "t", ""));
    assert_int_equal(target(f, longest), 1);
    assert_fails(ps_alias_set(NULL, f->dir, "a", PS_ANY, 0, "t", ""), CM_EINVAL);
    assert_fails(ps_alias_rollback(NULL, f->dir, longest, "t", ""), CM_ENOTFOUND);
    assert_fails(ps_alias_rollback(NULL, f->dir, "none", "t", ""), CM_ENOTFOUND);
}

static void a_damaged_change_is_skipped(void **state)
{
    struct fixture *f = *state;
    char path[CM_PATH];
    for (int i = 0; i < 3; i++)
        assert_ok(ps_alias_set(NULL, f->dir, "champion", i, i + 1, "t", ""));
    snprintf(path, sizeof path, "%s/aliases/champion.000003/change.json", f->dir);
    fixture_flip(path, 40, 2);
    assert_int_equal(target(f, "champion"), 2);
    struct ps_alias a;
    assert_ok(ps_alias_set(&a, f->dir, "champion", 2, 7, "t", ""));
    assert_int_equal(a.number, 4); /* behind the damaged one, so no reader ever goes back to it */
    assert_int_equal(target(f, "champion"), 7);
}

/* What cannot be read for a moment is no damage: the change before it is not the newest one. */
static void an_unreadable_change_is_not_skipped(void **state)
{
    struct fixture *f = *state;
    struct ps_alias a, *h;
    size_t n;
    char path[CM_PATH];
    for (int i = 0; i < 2; i++)
        assert_ok(ps_alias_set(NULL, f->dir, "champion", i, i + 1, "t", ""));
    snprintf(path, sizeof path, "%s/aliases/champion.000002/change.json", f->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(target(f, "champion"), 1); /* there is none, and never will be */
    assert_ok(cm_dir_make(path));               /* reading a folder is an input/output error */
    assert_fails(ps_alias_get(&a, f->dir, "champion"), CM_EIO);
    assert_says("champion.000002");
    assert_fails(ps_alias_history(&h, &n, f->dir, "champion"), CM_EIO);
    assert_fails(ps_alias_set(NULL, f->dir, "champion", 1, 5, "t", ""), CM_EIO);
}

/* Asking what an alias names reads its newest change and no other: here an old one would end it. */
static void only_the_newest_change_is_read(void **state)
{
    struct fixture *f = *state;
    static const char newer[] = "{\"format\": \"9.0\"\n,\"xxh3\":\"0123456789abcdef\"}\n";
    struct ps_alias *h;
    size_t n;
    char path[CM_PATH];
    for (int i = 0; i < 3; i++)
        assert_ok(ps_alias_set(NULL, f->dir, "champion", i, i + 1, "t", ""));
    snprintf(path, sizeof path, "%s/aliases/champion.000001/change.json", f->dir);
    assert_ok(cm_file_replace(path, newer, sizeof newer - 1));
    assert_fails(ps_alias_history(&h, &n, f->dir, "champion"), CM_EVERSION);
    assert_int_equal(target(f, "champion"), 3);
    assert_int_equal(target(f, "previous"), 2);
    assert_ok(ps_alias_set(NULL, f->dir, "champion", 3, 4, "t", ""));
    assert_ok(ps_alias_rollback(NULL, f->dir, "champion", "t", ""));
    assert_int_equal(target(f, "champion"), 3);
}

static void a_killed_change_is_nothing(void **state)
{
    struct fixture *f = *state;
    assert_ok(ps_alias_set(NULL, f->dir, "champion", 0, 1, "t", ""));
    pid_t child = fork();
    if (child == 0) {
        setenv("FLYWHEEL_INJECT", "store.alias=kill", 1);
        _exit(ps_alias_set(NULL, f->dir, "champion", 1, 2, "t", ""));
    }
    assert_int_equal(fixture_wait(child), 128 + SIGKILL);
    assert_int_equal(target(f, "champion"), 1);
    setenv("FLYWHEEL_INJECT", "store.alias=enospc", 1);
    assert_fails(ps_alias_set(NULL, f->dir, "champion", 1, 2, "t", ""), CM_ENOSPC);
    unsetenv("FLYWHEEL_INJECT");
    assert_int_equal(target(f, "champion"), 1);
    assert_ok(ps_alias_set(NULL, f->dir, "champion", 1, 3, "t", ""));
    char path[CM_PATH];
    char **names;
    size_t n;
    snprintf(path, sizeof path, "%s/aliases", f->dir);
    assert_ok(cm_dir_list(&names, &n, path));
    assert_int_equal(n, 2); /* the killed claim was removed */
    cm_dir_list_free(&names, n);
}

/* Eight processes that all saw the same state: in each round one sets it and seven are told. */
static void exactly_one_of_many_wins(void **state)
{
    struct fixture *f = *state;
    enum { RACERS = 8, ROUNDS = 20 };
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child[RACERS];
        int won = 0, start[2];
        assert_int_equal(pipe(start), 0);
        int64_t seen = round == 0 ? 0 : target(f, "champion");
        for (int i = 0; i < RACERS; i++) {
            child[i] = fork();
            if (child[i] == 0) {
                char c;
                close(start[1]);
                if (read(start[0], &c, 1) != 0)
                    _exit(99);
                _exit(
                    ps_alias_set(NULL, f->dir, "champion", seen, 1 + round * RACERS + i, "t", ""));
            }
        }
        close(start[0]);
        close(start[1]);
        for (int i = 0; i < RACERS; i++) {
            int code = fixture_wait(child[i]);
            if (code == CM_OK) {
                won++;
                assert_int_equal(target(f, "champion"), 1 + round * RACERS + i);
            } else {
                assert_int_equal(code, CM_EMISMATCH);
            }
        }
        assert_int_equal(won, 1);
    }
    struct ps_alias *h;
    size_t n;
    assert_ok(ps_alias_history(&h, &n, f->dir, "champion"));
    assert_int_equal(n, ROUNDS);
    for (size_t i = 1; i < n; i++)
        assert_int_equal(h[i].from, h[i - 1].version);
    cm_free(&h);
}

/* Nobody compares, so nobody may lose: every change is in the log. */
static void unconditional_changes_are_all_kept(void **state)
{
    struct fixture *f = *state;
    enum { RACERS = 8, EACH = 5 };
    pid_t child[RACERS];
    for (int i = 0; i < RACERS; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            cm_status st = CM_OK;
            for (int k = 0; k < EACH && st == CM_OK; k++)
                st = ps_alias_set(NULL, f->dir, "canary", PS_ANY, 1 + i, "t", "");
            _exit(st);
        }
    }
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(fixture_wait(child[i]), CM_OK);
    struct ps_alias *h;
    size_t n;
    assert_ok(ps_alias_history(&h, &n, f->dir, "canary"));
    assert_int_equal(n, RACERS * EACH);
    cm_free(&h);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(moves_only_from_what_was_seen),
        WITH_FOLDER(tells_its_history),
        WITH_FOLDER(refuses_bad_names),
        WITH_FOLDER(a_damaged_change_is_skipped),
        WITH_FOLDER(an_unreadable_change_is_not_skipped),
        WITH_FOLDER(only_the_newest_change_is_read),
        WITH_FOLDER(a_killed_change_is_nothing),
        WITH_FOLDER(exactly_one_of_many_wins),
        WITH_FOLDER(unconditional_changes_are_all_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
