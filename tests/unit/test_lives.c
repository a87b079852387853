/* What a supervisor makes of the lives of a run, and what it writes down. */
#include "launcher/lives.h"

#include <signal.h>

#include "common/mem.h"
#include "launcher/restart.h"
#include "tests/unit/expect.h"

static char dir[CM_PATH];

static void fail_as(int step, const char *who)
{
    char path[CM_PATH], text[128];
    expect_ok(cm_path_join(path, dir, "summary.json"));
    int n = snprintf(text, sizeof text,
                     "{\"failure\": {\"step\": %d, \"what\": \"rank 1: gone\"}%s}", step, who);
    expect_ok(cm_file_replace(path, text, (size_t)n));
}

static void fail_at(int step)
{
    fail_as(step, "");
}

static bool life(struct la_lives *l, int step)
{
    la_lives_begin(l, "job", 0);
    if (step >= 0)
        fail_at(step);
    la_lives_end(l, 1);
    return la_lives_try_again(l, 1);
}

/* An evaluation that dies says nothing of what the training reached. */
static void test_others_leave_nothing(void **state)
{
    struct la_lives *l = *state;
    expect_ok(la_lives_open(&l, dir, "eval"));
    assert_null(l);
}

/* A life that a signal ends. */
static bool killed(struct la_lives *l, int number)
{
    la_lives_begin(l, "job", 0);
    la_lives_end(l, 128 + number);
    return la_lives_try_again(l, 128 + number);
}

static void put_file(const char *name, const char *text)
{
    char path[CM_PATH];
    expect_ok(cm_path_join(path, dir, name));
    expect_ok(cm_file_replace(path, text, strlen(text)));
}

static void put_folder(const char *name)
{
    char path[CM_PATH];
    expect_ok(cm_path_join(path, dir, name));
    expect_ok(cm_dir_make(path));
}

static size_t events_with(const char *text)
{
    char path[CM_PATH], *data;
    size_t size, n = 0;
    expect_ok(cm_path_join(path, dir, "events.jsonl"));
    expect_ok(cm_file_read(&data, &size, path, 1 << 20));
    for (const char *at = data; (at = strstr(at, text)); at++)
        n++;
    cm_free(&data);
    return n;
}

static int setup(void **state)
{
    expect_dir_make(dir);
    struct la_lives *l = NULL;
    if (la_lives_open(&l, dir, "train") != CM_OK)
        return -1;
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    struct la_lives *l = *state;
    la_lives_close(&l);
    la_lives_close(&l);
    expect_dir_remove(dir);
    return 0;
}

/* What a life that was cut off writes late is nobody's. */
static void test_lost_lives(void **state)
{
    struct la_lives *l = *state;
    assert_false(la_lives_is_lost(NULL));
    la_lives_begin(l, "job", 1);
    assert_false(la_lives_is_lost(l));
    const char *others[] = {"", ", \"job\": \"job\", \"life\": 0", ", \"job\": \"x\", \"life\": 1",
                            ", \"job\": \"job\"", ", \"job\": 1, \"life\": 1"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        fail_as(16, others[i]);
        assert_false(la_lives_is_lost(l));
    }
    la_lives_end(l, 1);
    for (int i = 0; i < LA_LIVES_TRIES; i++)
        assert_true(la_lives_try_again(l, 1)); /* nor is its step counted */
    fail_as(16, ", \"job\": \"job\", \"life\": 1");
    assert_true(la_lives_is_lost(l));
    la_lives_begin(l, "job", 2);
    assert_false(la_lives_is_lost(l));
}

static void test_the_same_step_three_times(void **state)
{
    struct la_lives *l = *state;
    assert_true(life(l, 16));
    la_lives_restart(l, 1, 1, 500);
    assert_true(life(l, 16));
    la_lives_restart(l, 2, 1, 1000);
    assert_false(life(l, 16));
    assert_int_equal(events_with("\"event\":\"restart\""), 2);
    assert_int_equal(events_with("\"life\":2,\"code\":1,\"delay_ms\":1000"), 1);
    assert_int_equal(events_with("\"event\":\"gave_up\""), 1);
    assert_int_equal(events_with("\"step\":16,\"times\":3"), 1);
}

/* A life that a signal ended could not say so; one that could has the word. */
static void test_killed_lives(void **state)
{
    struct la_lives *l = *state;
    char path[CM_PATH], *text;
    size_t n;
    expect_ok(cm_path_join(path, dir, "summary.json"));
    la_lives_end(NULL, 128 + SIGSEGV);
    la_lives_begin(l, "job", 3);
    la_lives_end(l, 0);
    la_lives_end(l, 1);
    la_lives_end(l, 205); /* mpirun's own */
    assert_false(cm_path_exists(path));
    la_lives_end(l, 128 + SIGSEGV);
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    assert_non_null(strstr(text, "\"what\": \"ended by signal 11 (Segmentation fault)\""));
    assert_non_null(strstr(text, "\"job\": \"job\""));
    assert_non_null(strstr(text, "\"life\": 3"));
    assert_non_null(strstr(text, "\"t\": "));
    cm_free(&text);
    assert_int_equal(events_with("\"event\":\"failed\""), 1);
    assert_true(la_lives_is_lost(l));                  /* and over: nobody waits for it */
    assert_true(la_lives_try_again(l, 128 + SIGSEGV)); /* in which step is not known */
    la_lives_restart(l, 4, 128 + SIGSEGV, 500);
    assert_int_equal(events_with("\"code\":139,\"delay_ms\":500,\"what\":\"ended by signal 11"), 1);

    la_lives_begin(l, "job", 4);
    fail_at(7);
    la_lives_end(l, 128 + SIGKILL);
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    assert_non_null(strstr(text, "rank 1: gone"));
    cm_free(&text);
}

/* In whichever step: no further than before is enough. */
static void test_faults_without_progress(void **state)
{
    struct la_lives *l = *state;
    assert_true(killed(l, SIGSEGV)); /* before it has a config */
    put_file("config.json", "{\"store\": {\"dir\": \"there/versions\"}}");
    assert_true(killed(l, SIGABRT));
    put_folder("checkpoints/v000001"); /* not the store's folder */
    put_folder("there/versions/v000001");
    put_folder("there/versions/.tmp-g000002-x");
    put_folder("there/versions/vnext");
    put_file("there/versions/latest", "v000001");
    assert_true(killed(l, SIGSEGV));
    assert_true(killed(l, SIGBUS));
    put_folder("there/versions/v000002");
    assert_true(killed(l, SIGSEGV));
    assert_true(killed(l, SIGSEGV));
    assert_true(life(l, -1)); /* says nothing, and ends no row */
    assert_int_equal(events_with("gave_up"), 0);
    assert_false(killed(l, SIGSEGV));
    assert_int_equal(events_with("\"event\":\"gave_up\""), 1);
    assert_int_equal(events_with("\"newest\":\"v000002\",\"times\":3,\"code\":139,\"what\":"
                                 "\"ended by signal 11 (Segmentation fault)\""),
                     1);
}

/* Ranks that see one of them fall say in which step they were, and not always in the same one. */
static void test_faults_in_changing_steps(void **state)
{
    struct la_lives *l = *state;
    for (int i = 0; i < LA_LIVES_TRIES; i++) {
        la_lives_begin(l, "job", i);
        fail_at(16 + i);
        la_lives_end(l, 128 + SIGSEGV);
        assert_int_equal(la_lives_try_again(l, 128 + SIGSEGV), i + 1 < LA_LIVES_TRIES);
    }
}

/* A person, the kernel, a batch system: not a fault of the run. */
static void test_kills_are_no_faults(void **state)
{
    struct la_lives *l = *state;
    for (int i = 0; i < 3 * LA_LIVES_TRIES; i++)
        assert_true(killed(l, i % 2 ? SIGKILL : SIGTERM));
}

static void test_progress_of_a_loop(void **state)
{
    (void)state;
    struct la_lives *l = NULL;
    char path[CM_PATH];
    expect_ok(la_lives_open(&l, dir, "online"));
    assert_true(killed(l, SIGSEGV)); /* before it has made its folder */
    expect_ok(cm_path_join(path, dir, "online/summary.json"));
    assert_true(cm_path_exists(path));
    put_folder("online/s000044");
    put_folder("online/log");
    assert_true(killed(l, SIGSEGV));
    assert_true(killed(l, SIGSEGV));
    put_folder("online/s000045");
    assert_true(killed(l, SIGSEGV));
    assert_true(killed(l, SIGSEGV));
    assert_false(killed(l, SIGSEGV));
    la_lives_close(&l);
}

/* What Slurm's batch script asks, in a process of its own. */
static void test_lives_that_go_on(void **state)
{
    (void)state;
    static const struct {
        const char *summary;
        bool lost;
    } cases[] = {
        {"{\"failure\": {\"fault\": \"silent\", \"what\": \"rank 1\"}, \"job\": \"j\", \"life\": "
         "2}",
         true},
        {"{\"failure\": {\"fault\": \"failed\", \"what\": \"rank 1\"}, \"job\": \"j\", \"life\": "
         "2}",
         false},
        {"{\"failure\": {\"fault\": \"gone\", \"what\": \"rank 1\"}, \"job\": \"j\", \"life\": 1}",
         false},
        {"{\"failure\": {\"fault\": \"gone\", \"what\": \"rank 1\"}, \"job\": \"k\", \"life\": 2}",
         false},
        {"{\"failure\": {\"fault\": \"gone\", \"what\": \"rank 1\"}}", false},
        {"{\"failure\": {\"fault\": 1}, \"job\": \"j\", \"life\": 2}", false},
        {"{\"job\": \"j\", \"life\": 2}", false},
        {"{", false},
    };
    char what[512];
    assert_false(la_lives_go_on(dir, "j", 2, what));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_file("summary.json", cases[i].summary);
        assert_int_equal(la_lives_go_on(dir, "j", 2, what), cases[i].lost);
        assert_string_equal(what, cases[i].lost ? "rank 1" : "");
    }
}

static bool loses_a_rank(const char *job, int number, int step)
{
    char text[160], what[512];
    snprintf(text, sizeof text,
             "{\"failure\": {\"fault\": \"gone\", \"what\": \"rank 1\", \"step\": %d}, \"job\": "
             "\"%s\", \"life\": %d}",
             step, job, number);
    put_file("summary.json", text);
    return la_lives_go_on(dir, job, number, what);
}

/* Each asks in a process of its own, so the row is in a file. */
static void test_a_job_that_loses_a_rank_in_one_step(void **state)
{
    (void)state;
    assert_true(loses_a_rank("j", 0, 16));
    assert_true(loses_a_rank("j", 1, 16));
    assert_true(loses_a_rank("j", 2, 17));
    assert_true(loses_a_rank("j", 3, 16));
    assert_true(loses_a_rank("j", 4, 16));
    assert_false(loses_a_rank("j", 5, 16));
    assert_int_equal(events_with("\"event\":\"gave_up\""), 1);
    assert_true(loses_a_rank("k", 0, 16));
    static const char *const bad[] = {
        "",
        "{",
        "{\"job\": \"k\", \"step\": 16, \"times\": 2}",
        "{\"format\": \"2.0\", \"job\": \"k\", \"step\": 16, \"times\": 2}",
        "{\"format\": \"1.0\", \"job\": \"k\"}",
        "{\"format\": \"1.0\", \"job\": \"k\", \"step\": 16, \"times\": 0}",
        "{\"format\": \"1.0\", \"job\": \"k\", \"step\": -1, \"times\": 2}",
        "{\"format\": \"1.0\", \"job\": \"k\", \"step\": 16, \"times\": \"2\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file("lives.json", bad[i]);
        assert_true(loses_a_rank("k", 1, 16));
        assert_true(loses_a_rank("k", 2, 16));
        assert_false(loses_a_rank("k", 3, 16));
    }
}

/* What no restart mends is said in an event, in the life's own words when it left some. */
static void test_giving_up_at_once(void **state)
{
    struct la_lives *l = *state;
    la_lives_give_up(NULL, LA_EXIT_UNFIT);
    la_lives_begin(l, "job", 0);
    la_lives_end(l, LA_EXIT_UNFIT);
    la_lives_give_up(l, LA_EXIT_UNFIT);
    assert_int_equal(
        events_with("\"event\":\"gave_up\",\"rank\":-1,\"code\":78,\"what\":\"no restart"), 1);
    la_lives_begin(l, "job", 1);
    fail_at(16);
    la_lives_end(l, LA_EXIT_USAGE);
    la_lives_give_up(l, LA_EXIT_USAGE);
    assert_int_equal(events_with("\"code\":2,\"what\":\"rank 1"), 1);
}

static void test_progress_begins_anew(void **state)
{
    struct la_lives *l = *state;
    assert_true(life(l, 16));
    assert_true(life(l, 16));
    assert_true(life(l, 17));
    assert_true(life(l, 17));
    assert_true(life(l, 16));
}

/* An old failure is no new one, and a life that says nothing is no proof of anything. */
static void test_lives_that_say_nothing(void **state)
{
    struct la_lives *l = *state;
    assert_true(life(l, 16));
    for (int i = 0; i < 5; i++)
        assert_true(life(l, -1));
    assert_true(life(l, 16));
    assert_false(life(l, 16));
}

static void test_summaries_that_cannot_be_read(void **state)
{
    struct la_lives *l = *state;
    char path[CM_PATH];
    expect_ok(cm_path_join(path, dir, "summary.json"));
    const char *bad[] = {"",
                         "[]",
                         "{}",
                         "{\"failure\": 3}",
                         "{\"failure\": {\"step\": -1}}",
                         "{\"failure\": {\"step\": 1.5, \"what\": \"x\"}}",
                         "{\"failure\": {\"step\": 1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int times = 0; times < 4; times++) {
            la_lives_begin(l, "job", 0);
            expect_ok(cm_file_replace(path, bad[i], strlen(bad[i])));
            assert_true(la_lives_try_again(l, 1));
        }
}

static void test_without_a_run_directory(void **state)
{
    (void)state;
    struct la_lives *l = NULL;
    la_lives_begin(NULL, "job", 0);
    assert_true(la_lives_try_again(NULL, 1));
    la_lives_restart(NULL, 1, 1, 1);
    expect_ok(la_lives_open(&l, "/nonexistent/run", "train"));
    la_lives_begin(l, "job", 0);
    assert_true(la_lives_try_again(l, 1));
    la_lives_restart(l, 1, 1, 1);
    la_lives_close(&l);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_the_same_step_three_times),
        IN_FOLDER(test_lost_lives),
        IN_FOLDER(test_killed_lives),
        IN_FOLDER(test_faults_without_progress),
        IN_FOLDER(test_faults_in_changing_steps),
        IN_FOLDER(test_kills_are_no_faults),
        IN_FOLDER(test_progress_of_a_loop),
        IN_FOLDER(test_lives_that_go_on),
        IN_FOLDER(test_a_job_that_loses_a_rank_in_one_step),
        IN_FOLDER(test_giving_up_at_once),
        IN_FOLDER(test_progress_begins_anew),
        IN_FOLDER(test_lives_that_say_nothing),
        IN_FOLDER(test_summaries_that_cannot_be_read),
        IN_FOLDER(test_others_leave_nothing),
        cmocka_unit_test(test_without_a_run_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
