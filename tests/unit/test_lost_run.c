/* How a run ended, as the next start finds it: each end is told of once, and by its own name. */
#include "trainer/lost_run.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/mem.h"
#include "tests/unit/expect.h"

static char dir[CM_PATH];

static int setup(void **state)
{
    (void)state;
    expect_dir_make(dir);
    unsetenv("FLYWHEEL_JOB");
    unsetenv("FLYWHEEL_LIFE");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    expect_dir_remove(dir);
    return 0;
}

static struct ps_lease_owner owner_of(int64_t generation)
{
    return (struct ps_lease_owner){.generation = generation,
                                   .host = "node-1",
                                   .pid = 100 + generation,
                                   .since_utc_s = cm_utc_now()};
}

static void expect_told(const char *summary, const char *text, bool there)
{
    char path[CM_PATH], *data;
    size_t size;
    expect_ok(cm_path_join(path, dir, summary));
    expect_ok(cm_file_read(&data, &size, path, 1 << 20));
    if ((strstr(data, text) != NULL) != there)
        fail_msg("%s %s '%s': %s", summary, there ? "lacks" : "has", text, data);
    cm_free(&data);
}

static void expect_summary(const char *text, bool there)
{
    expect_told(TR_SUMMARY, text, there);
}

static void lose_rank_1_of(const char *summary, int64_t generation)
{
    struct tr_loss self = {.summary = summary, .generation = generation, .size = 2};
    const struct ar_loss loss = {.rank = 1,
                                 .host = "node-2",
                                 .fault = "gone",
                                 .phase = "step",
                                 .step = 7,
                                 .what = "rank 1 on node-2",
                                 .others = ""};
    snprintf(self.run_dir, sizeof self.run_dir, "%s", dir);
    tr_loss_write(&loss, &self);
}

static void lose_rank_1(int64_t generation)
{
    lose_rank_1_of(TR_SUMMARY, generation);
}

/* The word of the first end is written when the second run has already begun: it is not its own. */
static void test_each_killed_run_is_told_of(void **state)
{
    (void)state;
    struct ps_lease_owner first = owner_of(1), second = owner_of(2);
    tr_loss_write_before(dir, TR_SUMMARY, &first);
    expect_summary("process 101 on node-1 ended without a word", true);
    tr_loss_write_before(dir, TR_SUMMARY, &second);
    expect_summary("process 102 on node-1 ended without a word", true);
    second.pid = 1; /* would show that it is told of again */
    tr_loss_write_before(dir, TR_SUMMARY, &second);
    expect_summary("process 102 ", true);
}

static void put_file_of(const char *name, double t)
{
    char path[CM_PATH];
    const struct timespec then = {.tv_sec = (time_t)t};
    const struct timespec times[2] = {then, then};
    expect_ok(cm_path_join(path, dir, name));
    expect_ok(cm_file_replace(path, "x", 1));
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void expect_heard_at(const struct ps_lease_owner *before, double t)
{
    char text[64] = "last heard of at ";
    cm_utc_format(text + strlen(text), t);
    tr_loss_write_before(dir, TR_SUMMARY, before);
    expect_summary(text, true);
}

/* Its metrics are its own; events are written by a gateway, too, long after its end. */
static void test_when_it_was_last_heard_of(void **state)
{
    (void)state;
    struct ps_lease_owner before = owner_of(1);
    before.since_utc_s = 1e9;
    put_file_of("events.jsonl", 1e9 + 7200);
    expect_heard_at(&before, 1e9);
    put_file_of("metrics.prom", 1e9 - 60); /* of the run before it */
    before.generation = 2;
    expect_heard_at(&before, 1e9);
    put_file_of("metrics.prom", 1e9 + 3600);
    put_file_of("events.jsonl", 1e9 + 7200);
    before.generation = 3;
    expect_heard_at(&before, 1e9 + 3600);
}

/* Its clock was set back since it began, or is another host's. */
static void test_a_culprit_stays_whatever_the_clocks_say(void **state)
{
    (void)state;
    struct ps_lease_owner before = owner_of(5);
    before.since_utc_s += 3600;
    lose_rank_1(5);
    tr_loss_write_before(dir, TR_SUMMARY, &before);
    expect_summary("rank 1 on node-2", true);
    expect_summary("without a word", false);
}

/* What a training reached stays where it is said, and who trains next believes the loop's word. */
static void test_a_loop_tells_of_its_end_elsewhere(void **state)
{
    (void)state;
    static const char reached[] = "{\"accuracy\": 0.94}";
    char path[CM_PATH];
    struct ps_lease_owner before = owner_of(2);
    expect_ok(cm_path_join(path, dir, TR_SUMMARY));
    expect_ok(cm_file_replace(path, reached, strlen(reached)));
    expect_ok(cm_path_join(path, dir, "online"));
    expect_ok(cm_dir_make(path));
    lose_rank_1_of(TR_LOOP_SUMMARY, 2);
    expect_summary("accuracy", true);
    tr_loss_write_before(dir, TR_SUMMARY, &before);
    expect_summary("accuracy", true);
    expect_ok(cm_path_join(path, dir, TR_LOOP_SUMMARY));
    assert_true(cm_path_exists(path));
}

/* The first loop of a run directory, whose training was killed. */
static void test_a_loop_needs_no_folder_yet(void **state)
{
    (void)state;
    struct ps_lease_owner before = owner_of(1);
    tr_loss_write_before(dir, TR_LOOP_SUMMARY, &before);
    expect_told(TR_LOOP_SUMMARY, "process 101 on node-1 ended without a word", true);
}

static void test_what_a_supervisor_wrote_stays(void **state)
{
    (void)state;
    static const char text[] =
        "{\"failure\": {\"what\": \"signal 11\"}, \"job\": \"j\", \"life\": 2}";
    char path[CM_PATH];
    struct ps_lease_owner before = owner_of(3);
    expect_ok(cm_path_join(path, dir, "summary.json"));
    expect_ok(cm_file_replace(path, text, strlen(text)));
    snprintf(before.job, sizeof before.job, "j");
    before.life = 2;
    tr_loss_write_before(dir, TR_SUMMARY, &before);
    expect_summary("signal 11", true);
    before.life = 3; /* of which it says nothing */
    tr_loss_write_before(dir, TR_SUMMARY, &before);
    expect_summary("without a word", true);
    expect_summary("\"life\": 3", true);
}

/* A life under a supervisor must not pass for the one before it, which nobody had told of a job. */
static void test_an_end_without_a_job_says_so(void **state)
{
    (void)state;
    struct ps_lease_owner before = owner_of(1);
    tr_loss_write_before(dir, TR_SUMMARY, &before);
    expect_summary("\"job\": \"\"", true);
    lose_rank_1(2);
    expect_summary("\"job\"", false);
}

static void test_a_good_end_is_not_told_of(void **state)
{
    (void)state;
    char path[CM_PATH];
    struct ps_lease_owner before = owner_of(1);
    before.released = true;
    tr_loss_write_before(dir, TR_SUMMARY, &before);
    expect_ok(cm_path_join(path, dir, "summary.json"));
    assert_false(cm_path_exists(path));
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_each_killed_run_is_told_of),
        IN_FOLDER(test_when_it_was_last_heard_of),
        IN_FOLDER(test_a_culprit_stays_whatever_the_clocks_say),
        IN_FOLDER(test_a_loop_tells_of_its_end_elsewhere),
        IN_FOLDER(test_a_loop_needs_no_folder_yet),
        IN_FOLDER(test_what_a_supervisor_wrote_stays),
        IN_FOLDER(test_an_end_without_a_job_says_so),
        IN_FOLDER(test_a_good_end_is_not_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
