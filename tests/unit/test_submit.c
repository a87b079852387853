/* The batch script: what it asks Slurm for, and what may not get into it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "launcher/submit.h"

static const struct la_job job = {.name = "flywheel",
                                  .program = "/opt/bin/flywheel",
                                  .config = "/data/my run/c.json",
                                  .log = "/data/logs/slurm-%j.log"};

static struct la_cluster cluster_of(const char *partition, const char *time_limit)
{
    struct la_cluster c = {.nodes = 2, .ranks_per_node = 4, .warn_s = 90, .requeues = 7};
    strncpy(c.partition, partition, sizeof c.partition - 1);
    strncpy(c.time_limit, time_limit, sizeof c.time_limit - 1);
    return c;
}

static void test_what_it_asks_for(void **state)
{
    (void)state;
    char *text = NULL;
    struct la_cluster c = cluster_of("gpu", "1-00:00:00");
    c.gpus_per_node = 4;
    c.cpus_per_rank = 6;
    assert_int_equal(la_submit_script(&text, &job, &c), CM_OK);
    assert_int_equal(strncmp(text, "#!/bin/sh\n#SBATCH ", 18), 0);
    assert_non_null(strstr(text, "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=4\n"));
    assert_non_null(strstr(text, "#SBATCH --cpus-per-task=6\n#SBATCH --gres=gpu:4\n"));
    assert_non_null(strstr(text, "\nsrun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=6 "
                                 "'/opt/bin/flywheel' train"));
    assert_non_null(strstr(text, "#SBATCH --partition=gpu\n#SBATCH --time=1-00:00:00\n"));
    assert_non_null(strstr(text, "#SBATCH --signal=B:USR1@90\n"));
    assert_non_null(strstr(text, "'/opt/bin/flywheel' train '/data/my run/c.json' &\n"));
    assert_non_null(strstr(text, "export FLYWHEEL_JOB=\"slurm-$SLURM_JOB_ID\" "
                                 "FLYWHEEL_LIFE=\"${SLURM_RESTART_COUNT:-0}\"\n"));
    assert_non_null(strstr(text, "srun --mpi=list 2>&1 | grep -q pmix || {\n"));
    assert_non_null(strstr(text, "[ $code -ne 75 ] || again=1\n"));
    assert_non_null(strstr(text,
                           "[ \"$FLYWHEEL_LIFE\" -lt 7 ]; then\n    '/opt/bin/flywheel' submit "
                           "--lost '/data/my run/c.json' && again=1\n"));
    assert_non_null(strstr(text, "[ -z \"$again\" ] || scontrol requeue \"$SLURM_JOB_ID\"\n"));
    /* a signal may come first of all */
    assert_true(strstr(text, "trap 'asked=1; ") < strstr(text, "srun --mpi=list"));
    cm_free(&text);
    struct la_job elsewhere = job;
    elsewhere.run = "/data/other";
    c = cluster_of("", "");
    assert_int_equal(la_submit_script(&text, &elsewhere, &c), CM_OK);
    assert_null(strstr(text, "gres"));
    assert_null(strstr(text, "cpus-per-task"));
    assert_null(strstr(text, "partition"));
    assert_null(strstr(text, "time="));
    assert_non_null(strstr(text, "c.json' --run '/data/other' &\n"));
    assert_non_null(strstr(text, "c.json' --run '/data/other' && again=1\n"));
    cm_free(&text);
}

static void test_what_cannot_be_quoted_is_refused(void **state)
{
    (void)state;
    char *text = NULL;
    static const char *const bad[] = {"a'b", "a\"b", "a\nb", "a$b", "a`b", "a\\b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct la_job odd = job;
        odd.config = bad[i];
        struct la_cluster c = cluster_of("", "");
        assert_int_equal(la_submit_script(&text, &odd, &c), CM_ECONFIG);
        c = cluster_of(bad[i], "");
        assert_int_equal(la_submit_script(&text, &job, &c), CM_ECONFIG);
        assert_null(text);
    }
}

/* Or it would be queued again for ever: each life is told to stop as it starts. */
static void test_a_warning_comes_after_the_start(void **state)
{
    (void)state;
    char *text = NULL;
    static const char *const too_short[] = {"1", "1:30", "0:01:30", "0-0:1", "0-0:01:30"};
    static const char *const long_enough[] = {"2",
                                              "1:31",
                                              "0:01:31",
                                              "1-0",
                                              "0-1",
                                              "0-1:0",
                                              "0-0:1:31",
                                              "UNLIMITED",
                                              "9999999999999999999-0",
                                              "99999999999999999999",
                                              "0"};
    for (size_t i = 0; i < sizeof too_short / sizeof *too_short; i++) {
        struct la_cluster c = cluster_of("", too_short[i]);
        assert_int_equal(la_submit_script(&text, &job, &c), CM_ECONFIG);
        assert_null(text);
    }
    for (size_t i = 0; i < sizeof long_enough / sizeof *long_enough; i++) {
        struct la_cluster c = cluster_of("", long_enough[i]);
        assert_int_equal(la_submit_script(&text, &job, &c), CM_OK);
        cm_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_asks_for),
        cmocka_unit_test(test_what_cannot_be_quoted_is_refused),
        cmocka_unit_test(test_a_warning_comes_after_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
