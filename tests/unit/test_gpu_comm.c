/* What becomes of a communicator's states: a library of collectives that follows a script. */
#include <pthread.h>
#include <stdatomic.h>

#include "common/clock.h"
#include "common/log.h"
#include "model/cuda/gpu.h"
#include "model/device_comm.h"
#include "tests/unit/expect.h"

enum { LOST = 3, SOON_MS = 30, LATE_MS = 20000 };

/* What the library answers next, and what it was asked. A table has no context, so this is the
 * test's global. */
static struct {
    const char *missing;
    int id_code, open_code, swap_code, sum_code, finish_code;
    int busy; /* answers until the state is `then`; -1: never */
    enum nn_comm_state then;
    bool happened;               /* the event */
    atomic_bool hangs, aborting; /* swap, until aborting */
    atomic_int asked, aborts;
    int swaps, closes, finishes;
} script;

/* ---- the GPU ---- */

static int count(int *n)
{
    *n = 2;
    return 0;
}

static int describe(int ordinal, struct nn_driver_info *info)
{
    (void)ordinal;
    *info = (struct nn_driver_info){.name = "Script 9000", .major = 9};
    return 0;
}

static int use(int ordinal)
{
    (void)ordinal;
    return 0;
}

static int open_thing(void **out, bool urgent)
{
    (void)urgent;
    *out = malloc(1);
    return 0;
}

static int close_thing(void *p)
{
    free(p);
    return 0;
}

static int is_idle(void *stream, bool *idle)
{
    (void)stream;
    *idle = true;
    return 0;
}

static int open_event(void **out)
{
    return open_thing(out, false);
}

static int has_happened(void *event, bool *happened)
{
    (void)event;
    *happened = script.happened;
    return 0;
}

/* ---- the library ---- */

static const char *missing(void)
{
    return script.missing;
}

static const char *library(void)
{
    return "Script 1.2";
}

static const char *text_of(int code)
{
    return code == LOST ? "systemError (3): no route" : "?";
}

static int make_id(unsigned char id[NN_COMM_ID])
{
    memset(id, 7, NN_COMM_ID);
    return script.id_code;
}

static int open_comm(void **out, const unsigned char id[NN_COMM_ID], int rank, int size)
{
    assert_int_equal(id[NN_COMM_ID - 1], 7);
    assert_int_equal(rank, 1);
    assert_int_equal(size, 4);
    *out = &script;
    return script.open_code;
}

static enum nn_comm_state state(void *comm, char why[NN_COMM_WHY])
{
    assert_ptr_equal(comm, &script);
    assert_int_equal(atomic_load(&script.aborts), 0); /* it is gone then */
    script.asked++;
    if (script.busy != 0) {
        script.busy -= script.busy > 0;
        return NN_COMM_BUSY;
    }
    snprintf(why, NN_COMM_WHY, "a word of the library");
    return script.then;
}

static int swap(void *comm, void *stream, const struct nn_comm_part *parts, int n)
{
    (void)comm;
    (void)stream;
    assert_int_equal(n, 1);
    assert_int_equal(parts[0].peer, 3);
    script.swaps++;
    while (atomic_load(&script.hangs) && !atomic_load(&script.aborting))
        cm_sleep_us(100);
    return script.swap_code;
}

static int sum(void *comm, void *stream, float *buf, size_t n)
{
    (void)comm;
    (void)stream;
    (void)buf;
    (void)n;
    return script.sum_code;
}

static int finish(void *comm)
{
    (void)comm;
    script.finishes++;
    return script.finish_code;
}

static void close_comm(void *comm)
{
    (void)comm;
    script.closes++;
}

static void abort_comm(void *comm)
{
    assert_ptr_equal(comm, &script);
    atomic_store(&script.aborting, true);
    script.aborts++;
}

static const struct nn_comm_driver comm_driver = {.missing = missing,
                                                  .library = library,
                                                  .text_of = text_of,
                                                  .make_id = make_id,
                                                  .open = open_comm,
                                                  .state = state,
                                                  .swap = swap,
                                                  .sum = sum,
                                                  .finish = finish,
                                                  .close = close_comm,
                                                  .abort = abort_comm};

static const struct nn_driver bare = {.out_of_memory = 2,
                                      .no_driver = 35,
                                      .count = count,
                                      .describe = describe,
                                      .use = use,
                                      .stream_open = open_thing,
                                      .stream_close = close_thing,
                                      .stream_idle = is_idle,
                                      .event_open = open_event,
                                      .event_close = close_thing,
                                      .event_happened = has_happened};

/* ---- what a test works with ---- */

struct rig {
    struct nn_driver driver;
    struct nn_device *gpu;
    struct ln_lane *lane;
    struct ln_event *event;
    struct nn_device_comm *comm;
    unsigned char id[NN_COMM_ID];
};

static struct rig open_rig(void)
{
    struct rig r = {.driver = bare};
    memset(&script, 0, sizeof script);
    script.then = NN_COMM_READY;
    script.happened = true;
    r.driver.comm = &comm_driver;
    return r;
}

/* The device keeps the driver's address, so r has come to its place. */
static void open_gpu(struct rig *r)
{
    expect_ok(nn_gpu_open(&r->gpu, &r->driver, 1));
    expect_ok(nn_device_lane_open(r->gpu, &r->lane, "nccl", true));
    expect_ok(nn_device_event_open(r->gpu, &r->event));
}

static void open_ready(struct rig *r, int64_t timeout_ms)
{
    open_gpu(r);
    expect_ok(nn_device_comm_id(r->gpu, r->id));
    expect_ok(nn_device_comm_open(&r->comm, r->gpu, r->id, 1, 4, LATE_MS));
    expect_ok(nn_device_comm_meet(r->comm));
    nn_device_comm_set_timeout(r->comm, timeout_ms);
}

static void close_rig(struct rig *r)
{
    nn_device_comm_close(&r->comm);
    assert_null(r->comm);
    ln_lane_close(&r->lane);
    ln_event_close(&r->event);
    nn_device_close(&r->gpu);
}

/* ---- tests ---- */

static void a_missing_library_is_named(void **state_)
{
    (void)state_;
    struct rig r = open_rig();
    open_gpu(&r);
    expect_ok(nn_device_comm_check(r.gpu));
    assert_string_equal(nn_device_comm_library(r.gpu), "Script 1.2");
    script.missing = "libnccl.so.2: cannot open";
    expect_fault(CM_EUNSUPPORTED, "cuda:1: no NCCL: libnccl.so.2: cannot open",
                 nn_device_comm_check(r.gpu));
    r.driver.comm = NULL;
    expect_fault(CM_EUNSUPPORTED, "no library of collectives", nn_device_comm_check(r.gpu));
    close_rig(&r);
}

static void opening_waits_for_all(void **state_)
{
    (void)state_;
    struct rig r = open_rig();
    script.busy = 3000; /* through the pauses */
    open_ready(&r, LATE_MS);
    assert_int_equal(script.busy, 0);
    expect_ok(nn_device_comm_finish(r.comm));
    close_rig(&r);
    assert_int_equal(script.closes, 1);
    assert_int_equal(script.aborts, 0);
}

static void opening_ends_at_its_deadline(void **state_)
{
    (void)state_;
    struct rig r = open_rig();
    open_gpu(&r);
    script.busy = -1;
    memset(r.id, 7, sizeof r.id);
    expect_ok(nn_device_comm_open(&r.comm, r.gpu, r.id, 1, 4, SOON_MS));
    expect_fault(CM_ETIMEDOUT,
                 "cuda:1: Script 1.2: rank 1 of 4: meeting the other ranks: not done after 0.0 s",
                 nn_device_comm_meet(r.comm));
    nn_device_comm_abort(r.comm);
    close_rig(&r);
    assert_int_equal(script.aborts, 1);
    assert_int_equal(script.finishes + script.closes, 0);
}

static void errors_of_opening_are_told(void **state_)
{
    (void)state_;
    struct rig r = open_rig();
    open_gpu(&r);
    script.id_code = LOST;
    expect_fault(CM_EIO, "Script 1.2: an id for the ranks: systemError (3): no route",
                 nn_device_comm_id(r.gpu, r.id));
    script.open_code = LOST;
    expect_fault(CM_EIO, "rank 1 of 4: opening: systemError (3): no route",
                 nn_device_comm_open(&r.comm, r.gpu, r.id, 1, 4, SOON_MS));
    assert_null(r.comm);
    script.open_code = 0;
    script.busy = 5;
    script.then = NN_COMM_FAILED;
    expect_ok(nn_device_comm_open(&r.comm, r.gpu, r.id, 1, 4, LATE_MS));
    expect_fault(CM_EIO, "meeting the other ranks: a word of the library",
                 nn_device_comm_meet(r.comm));
    close_rig(&r); /* what failed cannot be finished */
    assert_int_equal(script.aborts, 1);
    assert_int_equal(script.closes, 0);
}

static void exchanges_connect_and_fail(void **state_)
{
    (void)state_;
    struct rig r = open_rig();
    float x[4] = {0};
    struct nn_comm_part part = {.peer = 3, .out = x, .in = x + 2, .nout = 8, .nin = 8};
    open_ready(&r, LATE_MS);
    expect_ok(nn_device_comm_swap(r.comm, r.lane, &(struct nn_comm_part){.peer = 3}, 1));
    expect_ok(nn_device_comm_sum(r.comm, r.lane, x, 0));
    assert_int_equal(script.swaps, 0);
    script.busy = 20;
    expect_ok(nn_device_comm_swap(r.comm, r.lane, &part, 1));
    assert_int_equal(script.busy, 0);
    script.swap_code = LOST;
    expect_fault(CM_EIO, "exchanging: systemError", nn_device_comm_swap(r.comm, r.lane, &part, 1));
    script.sum_code = LOST;
    expect_fault(CM_EIO, "all-reduce: systemError", nn_device_comm_sum(r.comm, r.lane, x, 4));
    script.swap_code = 0;
    script.busy = -1;
    nn_device_comm_set_timeout(r.comm, SOON_MS);
    expect_fault(CM_ETIMEDOUT, "rank 1 of 4: exchanging: not done",
                 nn_device_comm_swap(r.comm, r.lane, &part, 1));
    close_rig(&r); /* nor can what hangs */
    assert_int_equal(script.aborts, 1);
}

static void waiting_tells_what_failed_where(void **state_)
{
    (void)state_;
    struct rig r = open_rig();
    open_ready(&r, LATE_MS);
    struct cm_deadline late = cm_deadline_in_ms(LATE_MS);
    expect_ok(nn_device_comm_wait(r.comm, r.event, late));
    script.happened = false;
    expect_fault(CM_ETIMEDOUT, "rank 1 of 4: summing: not done",
                 nn_device_comm_wait(r.comm, r.event, cm_deadline_in_ms(SOON_MS)));
    script.busy = 10;
    script.then = NN_COMM_PEER_FAILED;
    expect_fault(CM_EPEER, "rank 1 of 4: summing: a word of the library",
                 nn_device_comm_wait(r.comm, r.event, late));
    script.then = NN_COMM_FAILED;
    expect_fault(CM_EIO, "summing", nn_device_comm_wait(r.comm, r.event, late));
    nn_device_comm_abort(r.comm);
    nn_device_comm_abort(r.comm);
    expect_fault(CM_EPEER, "was aborted", nn_device_comm_wait(r.comm, r.event, late));
    expect_fault(CM_EPEER, "was aborted", nn_device_comm_sum(r.comm, r.lane, NULL, 1));
    close_rig(&r);
    assert_int_equal(script.aborts, 1);
    assert_int_equal(script.finishes + script.closes, 0);
}

static void *abort_it(void *comm)
{
    while (atomic_load(&script.asked) < 100 && !atomic_load(&script.hangs))
        cm_sleep_us(100);
    nn_device_comm_abort(comm);
    return NULL;
}

/* While this thread waits for the GPU, and while it is inside a call that hangs. */
static void another_thread_can_abort(void **state_)
{
    (void)state_;
    for (int hangs = 0; hangs < 2; hangs++) {
        struct rig r = open_rig();
        pthread_t thread;
        float x[4] = {0};
        struct nn_comm_part part = {.peer = 3, .out = x, .in = x + 2, .nout = 8, .nin = 8};
        open_ready(&r, LATE_MS);
        script.happened = false;
        atomic_store(&script.asked, 0);
        atomic_store(&script.hangs, hangs);
        assert_int_equal(pthread_create(&thread, NULL, abort_it, r.comm), 0);
        struct cm_deadline late = cm_deadline_in_ms(LATE_MS);
        expect_fault(CM_EPEER, "was aborted",
                     hangs ? nn_device_comm_swap(r.comm, r.lane, &part, 1)
                           : nn_device_comm_wait(r.comm, r.event, late));
        pthread_join(thread, NULL);
        assert_int_equal(script.aborts, 1);
        close_rig(&r);
    }
}

static void what_is_not_finished_is_aborted(void **state_)
{
    static const cm_status want[] = {CM_OK, CM_EIO, CM_ETIMEDOUT};
    (void)state_;
    for (int how = 0; how < 3; how++) { /* in good times; an error; never done */
        struct rig r = open_rig();
        open_ready(&r, how == 2 ? SOON_MS : LATE_MS);
        script.busy = how == 2 ? -1 : 5;
        script.finish_code = how == 1 ? LOST : 0;
        assert_int_equal(nn_device_comm_finish(r.comm), want[how]);
        close_rig(&r);
        assert_int_equal(script.finishes, 1);
        assert_int_equal(script.closes, how == 0);
        assert_int_equal(script.aborts, how != 0);
    }
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_library_is_named),
        cmocka_unit_test(opening_waits_for_all),
        cmocka_unit_test(opening_ends_at_its_deadline),
        cmocka_unit_test(errors_of_opening_are_told),
        cmocka_unit_test(exchanges_connect_and_fail),
        cmocka_unit_test(waiting_tells_what_failed_where),
        cmocka_unit_test(another_thread_can_abort),
        cmocka_unit_test(what_is_not_finished_is_aborted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
