/* A group of one: the contract holds without MPI. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "allreduce/group.h"
#include "common/log.h"
#include "common/mem.h"

static struct ar_config config(const char *const *sets, size_t nsets)
{
    struct cm_config *file;
    struct ar_config cfg;
    assert_int_equal(cm_config_open(&file, NULL, sets, nsets), CM_OK);
    assert_int_equal(cm_config_read(file, &ar_config_section, &cfg), CM_OK);
    cm_config_close(&file);
    return cfg;
}

static struct ar_group *open_group(const char *set)
{
    struct ar_config cfg = config(&set, set ? 1 : 0);
    struct ar_group *g;
    assert_int_equal(ar_group_open(&g, &cfg), CM_OK);
    return g;
}

static void test_one_rank(void **state)
{
    (void)state;
    struct ar_group *g = open_group(NULL);
    assert_int_equal(ar_group_rank(g), 0);
    assert_int_equal(ar_group_size(g), 1);
    assert_int_equal(ar_group_local_rank(g), 0);
    assert_int_equal(ar_group_local_size(g), 1);

    float x[3] = {1, 2.00001f, -3}, want[3] = {1, 2.00001f, -3};
    double d = 0.1;
    int all = 0, mine = 7;
    assert_int_equal(ar_group_sum_f32(g, x, 3), CM_OK);
    assert_memory_equal(x, want, sizeof x);
    assert_int_equal(ar_group_sum_f32(g, NULL, 0), CM_OK);
    assert_int_equal(ar_group_sum_f64(g, &d, 1), CM_OK);
    assert_true(d == 0.1);
    assert_int_equal(ar_group_gather(g, &mine, sizeof mine, &all), CM_OK);
    assert_int_equal(all, 7);
    assert_int_equal(ar_group_broadcast(g, &mine, sizeof mine, 0), CM_OK);
    assert_int_equal(ar_group_same(g, "text", "anything", "none"), CM_OK);
    assert_int_equal(ar_group_agree(g, CM_OK, "x"), CM_OK);
    assert_int_equal(ar_group_agree(g, CM_FAIL(CM_EIO, "bad disk"), "x"), CM_EIO);
    assert_string_equal(cm_error_text(), "bad disk");

    assert_int_equal(ar_group_broadcast(g, &mine, sizeof mine, 1), CM_EINVAL);
    assert_int_equal(ar_group_sum_f64(g, &d, AR_SUM_F64_MAX + 1), CM_EINVAL);
    ar_group_close(&g);
    assert_null(g);
    ar_group_close(&g);
}

static cm_status write_third(void *ctx, int64_t n, int64_t unused)
{
    (void)unused;
    cm_sleep_us(2000);
    for (int64_t i = 0; i < n; i++)
        ((float *)ctx)[i] = 1.0f / 3.0f;
    return CM_OK;
}

static void note_last(void *ctx, void *buf, size_t n)
{
    *(float *)ctx = ((float *)buf)[n - 1];
}

/* The rounding must come after the lane has written, also without peers. */
static void test_step_waits_for_lanes_and_rounds(void **state)
{
    (void)state;
    struct ar_group *g = open_group("allreduce.compress=true");
    struct ln_lane *lane;
    struct ln_event *ready;
    float buf[100] = {0};
    assert_int_equal(ln_lane_open(&lane, &(struct ln_config){.name = "t", .core = -1}), CM_OK);
    assert_int_equal(ln_event_open(&ready), CM_OK);
    ar_step_begin(g, 1);
    ln_lane_run(lane, write_third, buf, 100, 0);
    ln_lane_record(lane, ready);
    float summed = 0;
    ar_step_bucket_then(g, buf, 100, ready, note_last, &summed);
    struct ar_tail tail = {.sum = {1.5}, .bits = 6};
    assert_int_equal(ar_step_end(g, &tail), CM_OK);
    for (int i = 0; i < 100; i++)
        assert_true(buf[i] == 0.333984375f); /* 0x3eab0000, the bf16 nearest to 1/3 */
    assert_true(summed == buf[99]);          /* and told of, once it was there */
    assert_true(tail.sum[0] == 1.5 && tail.bits == 6);
    assert_true(ar_step_times(g).exposed_s > 0);
    assert_int_equal(ar_step_times(g).nbytes, 0);
    ar_group_close(&g);
    ln_lane_close(&lane);
    ln_event_close(&ready);
}

static cm_status hang(void *ctx, int64_t fd, int64_t unused)
{
    char byte;
    (void)ctx, (void)unused;
    return read((int)fd, &byte, 1) == 0 ? CM_OK : CM_EIO;
}

/* A lane that does not come is a fault of this rank: told by ar_step_end, and by all that follows.
 */
static void test_a_lane_that_hangs_has_a_deadline(void **state)
{
    (void)state;
    static const char *const sets[] = {"allreduce.collective_timeout_ms=100",
                                       "allreduce.heartbeat_ms=10"};
    struct ar_config cfg = config(sets, 2);
    struct ar_group *g;
    struct ln_lane *lane;
    struct ln_event *ready;
    float x = 1;
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    assert_int_equal(ar_group_open(&g, &cfg), CM_OK);
    assert_int_equal(ln_lane_open(&lane, &(struct ln_config){.name = "t", .core = -1}), CM_OK);
    assert_int_equal(ln_event_open(&ready), CM_OK);
    ar_step_begin(g, 1);
    ln_lane_run(lane, hang, NULL, gate[0], 0);
    ln_lane_record(lane, ready);
    ar_step_bucket(g, &x, 1, ready);
    struct ar_tail tail = {0};
    assert_int_equal(ar_step_end(g, &tail), CM_ETIMEDOUT);
    assert_int_equal(ar_group_sum_f32(g, &x, 1), CM_ETIMEDOUT);
    ar_group_close(&g);
    close(gate[1]); /* the lane comes after all */
    ln_lane_close(&lane);
    ln_event_close(&ready);
    close(gate[0]);
}

static void test_bad_configs(void **state)
{
    (void)state;
    struct ar_group *g = NULL;
    static const char *const compressed_fast[] = {"allreduce.order=fast",
                                                  "allreduce.compress=true"};
    struct ar_config cfg = config(compressed_fast, 2);
    assert_int_equal(ar_group_open(&g, &cfg), CM_ECONFIG);
    assert_null(g);
    static const char *const hasty[] = {"allreduce.collective_timeout_ms=1000",
                                        "allreduce.heartbeat_ms=500"};
    cfg = config(hasty, 2);
    assert_int_equal(ar_group_open(&g, &cfg), CM_ECONFIG);
    assert_null(g);
}

/* srun without PMIx would silently train W times alone. */
static void test_slurm_without_pmix_is_refused(void **state)
{
    (void)state;
    struct ar_config cfg = config(NULL, 0);
    struct ar_group *g = NULL;
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    assert_int_equal(ar_group_open(&g, &cfg), CM_ECONFIG);
    assert_non_null(strstr(cm_error_text(), "--mpi=pmix"));
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    assert_int_equal(ar_group_open(&g, &cfg), CM_OK);
    ar_group_close(&g);
    unsetenv("SLURM_STEP_ID");
    unsetenv("SLURM_STEP_NUM_TASKS");
}

static void test_open_without_memory(void **state)
{
    (void)state;
    struct ar_config cfg = config(NULL, 0);
    struct ar_group *g;
    cm_mem_fail_at(0);
    assert_int_equal(ar_group_open(&g, &cfg), CM_OK);
    long calls = cm_mem_fail_at(0);
    assert_true(calls > 0);
    ar_group_close(&g);
    for (long k = 1; k <= calls; k++) {
        cm_mem_fail_at(k);
        assert_int_equal(ar_group_open(&g, &cfg), CM_ENOMEM);
        assert_null(g);
    }
    cm_mem_fail_at(0);
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    /* This process is a group of one whoever started it. */
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("PMIX_RANK");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_rank),
        cmocka_unit_test(test_step_waits_for_lanes_and_rounds),
        cmocka_unit_test(test_a_lane_that_hangs_has_a_deadline),
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_slurm_without_pmix_is_refused),
        cmocka_unit_test(test_open_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
