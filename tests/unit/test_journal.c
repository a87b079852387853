/* The folder of logged batches: what is recovered, what is read from Redis again, what goes. */
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "online/journal.h"
#include "tests/unit/online_fixture.h"

#define NUMBER 45

struct world {
    char dir[CM_PATH], path[CM_PATH];
    char classes[4][NN_NAME];
    struct nn_spec spec;
    struct ps_lease *lease;
    struct ol_journal journal;
    struct ol_batch batch;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    cm_log_set_level(CM_LOG_ERROR);
    expect_dir_make(w->dir);
    for (int c = 0; c < 4; c++)
        snprintf(w->classes[c], sizeof w->classes[c], "class %d", c);
    w->spec =
        (struct nn_spec){.input = {.c = 3, .h = 2, .w = 2}, .nclasses = 4, .classes = w->classes};
    expect_ok(ps_lease_acquire(&w->lease, w->dir, "", false));
    expect_ok(ol_journal_open(&w->journal, w->dir, &w->spec, w->lease));
    expect_ok(ol_batch_path(w->path, w->journal.dir, NUMBER));
    batch_make(&w->batch, NUMBER);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    ol_batch_release(&w->batch);
    ps_lease_release(&w->lease);
    expect_dir_remove(w->dir);
    free(w);
    return 0;
}

static bool recovers(struct world *w)
{
    struct ol_batch b = {0};
    bool there;
    expect_ok(ol_journal_recover(&w->journal, &b, NUMBER, &there));
    assert_int_equal(b.nentries > 0, there);
    ol_batch_release(&b);
    return there;
}

static void test_there_and_back(void **state)
{
    struct world *w = *state;
    assert_false(recovers(w));
    expect_ok(ol_journal_save(&w->journal, &w->batch));
    assert_true(recovers(w));
}

static void rewrite(const struct world *w, const char *from, const char *to)
{
    char *bytes, *at;
    size_t n;
    assert_int_equal(strlen(from), strlen(to));
    expect_ok(cm_file_read(&bytes, &n, w->path, 1 << 20));
    at = memmem(bytes, n, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    expect_ok(cm_file_replace(w->path, bytes, n));
    cm_free(&bytes);
}

/* Another's, or damaged: Redis still has its entries. */
static void test_read_from_redis_again(void **state)
{
    struct world *w = *state;
    expect_ok(ol_journal_save(&w->journal, &w->batch));
    w->classes[3][0] = 'g';
    assert_false(recovers(w));
    w->classes[3][0] = 'c';
    w->spec.input.h = 3;
    assert_false(recovers(w));
    w->spec.input.h = 2;
    assert_true(recovers(w));
    rewrite(w, "\\\"number\\\":45", "\\\"number\\\":46");
    assert_false(recovers(w));
    expect_ok(cm_file_replace(w->path, "", 0));
    assert_false(recovers(w));
}

/* A newer build logged it, and may have moved the alias: it is not read from Redis as if it were
 * damaged. Nor is one that cannot be read now. */
static void test_what_decides_nothing(void **state)
{
    struct world *w = *state;
    struct ol_batch b;
    bool there;
    expect_ok(ol_journal_save(&w->journal, &w->batch));
    rewrite(w, "\\\"1.1\\\"", "\\\"9.1\\\"");
    expect_fault(CM_EVERSION, "9.1", ol_journal_recover(&w->journal, &b, NUMBER, &there));
    assert_int_equal(unlink(w->path), 0);
    expect_ok(cm_dir_make(w->path));
    expect_fault(CM_EIO, "b000045", ol_journal_recover(&w->journal, &b, NUMBER, &there));
}

static void touch(const struct world *w, const char *name)
{
    char path[CM_PATH];
    expect_ok(cm_path_join(path, w->journal.dir, name));
    expect_ok(cm_file_replace(path, "x", 1));
}

static void expect_names(const struct world *w, const char *want)
{
    char **names, all[256] = "";
    size_t n, at = 0;
    expect_ok(cm_dir_list(&names, &n, w->journal.dir));
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(all + at, sizeof all - at, "%s ", names[i]);
    assert_string_equal(all, want);
    cm_dir_list_free(&names, n);
}

static void test_clean(void **state)
{
    struct world *w = *state;
    touch(w, "b000001.safetensors");
    touch(w, "b000002.safetensors");
    touch(w, "b000003.safetensors");
    touch(w, "b000003.safetensors.tmp-7-0");
    touch(w, "b3.safetensors");
    touch(w, "notes.txt");
    expect_ok(ol_journal_clean(&w->journal, 2));
    expect_names(w, "b000003.safetensors b3.safetensors notes.txt ");
}

/* Whoever takes over opens the journal: what another is just writing never gets its name. */
static void test_taken_over(void **state)
{
    struct world *w = *state;
    struct ol_journal next;
    struct ps_lease *lease;
    touch(w, "b000045.safetensors.tmp-7-0");
    expect_ok(ps_lease_acquire(&lease, w->dir, "", true));
    expect_ok(ol_journal_open(&next, w->dir, &w->spec, lease));
    expect_names(w, "");
    expect_fault(CM_EFENCED, "taken over", ol_journal_save(&w->journal, &w->batch));
    expect_names(w, "");
    expect_ok(ol_journal_save(&next, &w->batch));
    assert_true(recovers(w));
    ps_lease_release(&lease);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(test_there_and_back),       WORLD(test_read_from_redis_again),
        WORLD(test_what_decides_nothing), WORLD(test_clean),
        WORLD(test_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
