/* NCCL on this host's first GPU, of which one rank is all that it allows: it meets, sums in place,
 * ends, and is cut short. Says why, and returns 77, where there is no GPU or no NCCL. */
#include "allreduce/pattern.h"
#include "common/log.h"
#include "common/mem.h"
#include "model/device_comm.h"
#include "tests/parity/first_gpu.h"
#include "tests/unit/expect.h"

#define SKIPPED    77
#define TIMEOUT_MS 60000
#define MOST       ((size_t)1 << 22)

static struct nn_device_comm *meet_alone(struct nn_device *device)
{
    struct nn_device_comm *comm;
    unsigned char id[NN_COMM_ID];
    expect_ok(nn_device_comm_id(device, id));
    expect_ok(nn_device_comm_open(&comm, device, id, 0, 1, TIMEOUT_MS));
    expect_ok(nn_device_comm_meet(comm));
    return comm;
}

static void a_sum_of_one_is_itself(void **state)
{
    static const size_t lengths[] = {1, 255, 4096, MOST - 1};
    struct nn_device *device = *state;
    const struct nn_backend *backend = nn_device_backend(device);
    struct nn_device_comm *comm = meet_alone(device);
    struct ln_lane *lane;
    struct ln_event *summed;
    float *want, *got, *buf;
    expect_ok(nn_device_lane_open(device, &lane, "comm", true));
    expect_ok(nn_device_event_open(device, &summed));
    expect_ok(cm_alloc_aligned(&want, MOST, sizeof *want, "test"));
    expect_ok(cm_alloc_aligned(&got, MOST, sizeof *got, "test"));
    expect_ok(backend->alloc(backend, &buf, MOST * sizeof *buf, "test"));
    ar_pattern_integers(want, MOST, 3);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t n = lengths[i];
        expect_ok(nn_device_copy(device, NULL, buf, want, n * sizeof *buf));
        expect_ok(nn_device_comm_sum(comm, lane, buf, n));
        ln_lane_record(lane, summed);
        expect_ok(nn_device_comm_wait(comm, summed, cm_deadline_in_ms(TIMEOUT_MS)));
        expect_ok(nn_device_copy(device, NULL, got, buf, n * sizeof *buf));
        assert_memory_equal(got, want, n * sizeof *got);
    }
    expect_ok(nn_device_comm_finish(comm));
    nn_device_comm_close(&comm);
    assert_null(comm);
    ln_lane_close(&lane);
    ln_event_close(&summed);
    backend->release(backend, &buf);
    cm_free(&want);
    cm_free(&got);
}

static void nothing_is_left_after_an_abort(void **state)
{
    struct nn_device *device = *state;
    const struct nn_backend *backend = nn_device_backend(device);
    struct nn_device_comm *comm = meet_alone(device);
    struct ln_lane *lane;
    float *buf;
    expect_ok(nn_device_lane_open(device, &lane, "comm", true));
    expect_ok(backend->alloc(backend, &buf, sizeof *buf, "test"));
    nn_device_comm_abort(comm);
    nn_device_comm_abort(comm);
    assert_int_not_equal(nn_device_comm_sum(comm, lane, buf, 1), CM_OK);
    nn_device_comm_close(&comm);
    ln_lane_close(&lane);
    backend->release(backend, &buf);
    comm = meet_alone(device); /* the next one is as good as the first */
    expect_ok(nn_device_comm_finish(comm));
    nn_device_comm_close(&comm);
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    int code;
    struct nn_device *device = first_gpu_open(&code);
    if (!device)
        return code;
    if (nn_device_comm_check(device) != CM_OK) {
        printf("skipped: %s\n", cm_error_text());
        nn_device_close(&device);
        return SKIPPED;
    }
    printf("with %s\n", nn_device_comm_library(device));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_sum_of_one_is_itself, device),
        cmocka_unit_test_prestate(nothing_is_left_after_an_abort, device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nn_device_close(&device);
    return failed;
}
