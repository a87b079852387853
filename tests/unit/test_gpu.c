/* What a GPU's faults become: a driver that follows a script. */
#include "model/cuda/gpu.h"

#include "common/clock.h"
#include "tests/unit/expect.h"

enum { NO_MEMORY = 2, NO_DRIVER = 35, LOST = 700 };

/* What the driver answers next, and what it was asked. The driver table has no context, so this is
 * the test's global. */
static struct {
    int count_code, ngpus, major;
    int alloc_code, launch_code, event_code, idle_code;
    int idle_after; /* questions until a stream is idle; -1: never */
    int open;       /* streams and events not closed */
    int launches;
} script;

static const char *name_of(int code)
{
    return code == LOST ? "cudaErrorIllegalAddress" : "cudaErrorSomething";
}

static const char *text_of(int code)
{
    return code == LOST ? "an illegal memory access" : "something";
}

static int count(int *n)
{
    *n = script.ngpus;
    return script.count_code;
}

static int describe(int ordinal, struct nn_driver_info *info)
{
    (void)ordinal;
    *info = (struct nn_driver_info){
        .name = "Script 9000", .libraries = "cuDNN 9.19.1", .major = script.major};
    return 0;
}

static int use(int ordinal)
{
    (void)ordinal;
    return 0;
}

static int memory(size_t *available, size_t *total)
{
    *available = 3 << 20;
    *total = 8 << 20;
    return 0;
}

static int take(void **out, size_t nbytes)
{
    *out = script.alloc_code ? NULL : malloc(nbytes);
    return script.alloc_code;
}

static int give(void *p)
{
    free(p);
    return 0;
}

static int open_stream(void **out, bool urgent)
{
    (void)urgent;
    script.open++;
    return take(out, 1);
}

static int open_event(void **out)
{
    script.open++;
    return take(out, 1);
}

static int close_thing(void *p)
{
    script.open--;
    return give(p);
}

static int is_idle(void *stream, bool *idle)
{
    (void)stream;
    *idle = script.idle_after == 0;
    if (script.idle_after > 0)
        script.idle_after--;
    return script.idle_code;
}

static int zero(void *stream, void *p, size_t nbytes)
{
    (void)stream;
    memset(p, 0, nbytes);
    return 0;
}

static int copy(void *stream, void *dst, const void *src, size_t nbytes)
{
    (void)stream;
    memcpy(dst, src, nbytes);
    return 0;
}

static int launch(void *stream, int kernel, const struct nn_grid *grid, const void *args)
{
    (void)stream;
    (void)kernel;
    (void)grid;
    (void)args;
    script.launches++;
    return script.launch_code;
}

static int at_event(void *event, void *stream)
{
    (void)event;
    (void)stream;
    return script.event_code;
}

static const struct nn_driver driver = {.library = "CUDA 13.0",
                                        .out_of_memory = NO_MEMORY,
                                        .no_driver = NO_DRIVER,
                                        .name_of = name_of,
                                        .text_of = text_of,
                                        .count = count,
                                        .describe = describe,
                                        .use = use,
                                        .memory = memory,
                                        .alloc = take,
                                        .release = give,
                                        .pin = take,
                                        .unpin = give,
                                        .stream_open = open_stream,
                                        .stream_close = close_thing,
                                        .stream_idle = is_idle,
                                        .zero = zero,
                                        .copy = copy,
                                        .launch = launch,
                                        .event_open = open_event,
                                        .event_close = close_thing,
                                        .event_record = at_event,
                                        .event_wait = at_event,
                                        .event_happened = is_idle};

static struct nn_device *open_gpu(void)
{
    struct nn_device *gpu;
    memset(&script, 0, sizeof script);
    script.ngpus = 2;
    script.major = 9;
    expect_ok(nn_gpu_open(&gpu, &driver, 1));
    return gpu;
}

static void close_gpu(struct nn_device *gpu)
{
    nn_device_close(&gpu);
    assert_int_equal(script.open, 0);
}

static void test_finding(void **state)
{
    (void)state;
    struct nn_device *gpu = open_gpu();
    assert_string_equal(nn_device_describe(gpu), "cuda:1 Script 9000 sm_90, cuDNN 9.19.1");
    close_gpu(gpu);
    expect_fault(CM_EUNSUPPORTED, "no cuda:2: this process sees 2 GPUs",
                 nn_gpu_open(&gpu, &driver, 2));
    assert_null(gpu);
    script.major = 7;
    expect_fault(CM_EUNSUPPORTED, "sm_70; Flywheel's kernels need sm_80",
                 nn_gpu_open(&gpu, &driver, 0));
    script.ngpus = 0;
    expect_fault(CM_EUNSUPPORTED, "no cuda:0: this process sees 0 GPUs",
                 nn_gpu_open(&gpu, &driver, 0));
    script.count_code = NO_DRIVER;
    expect_fault(CM_EUNSUPPORTED, "no NVIDIA driver here, or one too old for CUDA 13.0",
                 nn_gpu_open(&gpu, &driver, 0));
    script.count_code = LOST;
    expect_fault(CM_EIO, "cudaErrorIllegalAddress (700): an illegal memory access",
                 nn_gpu_open(&gpu, &driver, 0));
    assert_int_equal(script.open, 0);
}

static void test_memory(void **state)
{
    (void)state;
    struct nn_device *gpu = open_gpu();
    const struct nn_backend *backend = nn_device_backend(gpu);
    void *p = &script;
    script.alloc_code = NO_MEMORY;
    expect_fault(CM_ENOMEM, "no 5.0 MiB for activations: 3.0 of 8.0 MiB are free (a smaller batch",
                 backend->alloc(backend, &p, 5 << 20, "activations"));
    assert_null(p);
    script.alloc_code = LOST;
    expect_fault(CM_EIO, "weights: cudaErrorIllegalAddress",
                 backend->alloc(backend, &p, 1, "weights"));
    script.alloc_code = 0;
    expect_ok(backend->alloc(backend, &p, 64, "weights"));
    backend->release(backend, &p);
    assert_null(p);
    backend->release(backend, &p);
    /* Calls without a lane are waited for, and tell what failed. */
    script.idle_after = 3;
    expect_ok(backend->settle(backend));
    assert_int_equal(script.idle_after, 0);
    script.idle_code = LOST;
    expect_fault(CM_EIO, "calls without a lane: cudaErrorIllegalAddress", backend->settle(backend));
    expect_fault(CM_EIO, "cudaErrorIllegalAddress", nn_device_copy(gpu, NULL, &p, &p, sizeof p));
    close_gpu(gpu);
}

static cm_status count_runs(void *ctx, int64_t fail, int64_t unused)
{
    (void)unused;
    ++*(int *)ctx;
    return fail ? CM_FAIL(CM_ESHAPE, "task %d", (int)fail) : CM_OK;
}

/* A fault stops the lane until it is told; events still happen. */
static void test_lane_faults(void **state)
{
    (void)state;
    struct nn_device *gpu = open_gpu();
    struct ln_lane *lane;
    struct ln_event *event;
    int runs = 0;
    expect_ok(nn_device_lane_open(gpu, &lane, "lane0", false));
    expect_ok(nn_device_event_open(gpu, &event));
    ln_lane_run(lane, count_runs, &runs, 0, 0);
    ln_lane_run(lane, count_runs, &runs, 1, 0);
    ln_lane_run(lane, count_runs, &runs, 2, 0);
    ln_lane_record(lane, event);
    ln_lane_wait(lane, event);
    assert_int_equal(runs, 2);
    expect_ok(ln_event_sync(event, cm_deadline_in_ms(1000)));
    (void)CM_FAIL(CM_EINVAL, "another one");
    expect_fault(CM_ESHAPE, "task 1", ln_lane_sync(lane, cm_deadline_in_ms(1000)));
    ln_lane_run(lane, count_runs, &runs, 0, 0);
    expect_ok(ln_lane_sync(lane, cm_deadline_in_ms(1000)));
    assert_int_equal(runs, 3);
    script.event_code = LOST;
    ln_lane_record(lane, event);
    script.event_code = 0;
    expect_fault(CM_EIO, "recording an event: cudaErrorIllegalAddress",
                 ln_lane_sync(lane, cm_deadline_in_ms(1000)));
    ln_event_close(&event);
    ln_lane_close(&lane);
    close_gpu(gpu);
}

static void test_waiting_ends(void **state)
{
    (void)state;
    struct nn_device *gpu = open_gpu();
    struct ln_lane *lane;
    struct ln_event *event;
    expect_ok(nn_device_lane_open(gpu, &lane, "lane0", true));
    expect_ok(nn_device_event_open(gpu, &event));
    script.idle_after = 3;
    expect_ok(ln_lane_sync(lane, cm_deadline_in_ms(60000)));
    script.idle_after = -1;
    expect_fault(CM_ETIMEDOUT, "cuda:1: lane0: not done by the deadline",
                 ln_lane_sync(lane, cm_deadline_in_ms(1)));
    expect_fault(CM_ETIMEDOUT, "an event", ln_event_sync(event, cm_deadline_in_ms(1)));
    script.idle_code = LOST; /* a kernel failed: the next question tells */
    expect_fault(CM_EIO, "lane0: cudaErrorIllegalAddress",
                 ln_lane_sync(lane, cm_deadline_in_ms(60000)));
    ln_event_close(&event);
    ln_lane_close(&lane);
    close_gpu(gpu);
}

static void test_launching(void **state)
{
    (void)state;
    struct nn_device *gpu = open_gpu();
    struct nn_cast_args args = {0};
    struct nn_grid none = {.x = 0, .y = 1, .threads = 32};
    expect_ok(nn_gpu_launch(&gpu->backend, NULL, NN_KERNEL_cast, none, &args));
    assert_int_equal(script.launches, 0);
    script.launch_code = LOST;
    expect_fault(CM_EIO, "cuda:1: cast: cudaErrorIllegalAddress",
                 nn_gpu_launch(&gpu->backend, NULL, NN_KERNEL_cast, nn_grid_of(1), &args));
    close_gpu(gpu);
}

/* Every shape is cut into a grid that a GPU takes, and every row belongs to one block. */
static void test_geometry(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 2, 31, 1024, 450000, 100000000};
    static const int channels[] = {1, 3, 8, 24, 64, 67, 256, 2048};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof channels / sizeof *channels; j++) {
            int width = nn_gpu_width((size_t)channels[j]);
            struct nn_columns cut = nn_columns_of(rows[i], channels[j], width);
            struct nn_grid g = nn_columns_grid(&cut, width), fold = nn_fold_grid(channels[j]);
            assert_int_equal(cut.across * cut.down, NN_NORM_THREADS);
            assert_true(g.y * cut.across >= cut.packs && (int)cut.packs * width == channels[j]);
            assert_true(cut.blocks * cut.rows_per_block >= rows[i]);
            assert_true((cut.blocks - 1) * cut.rows_per_block < rows[i]);
            assert_true(cut.blocks <= NN_NORM_BLOCKS && g.y <= 65535);
            assert_true(g.shared <= NN_MAX_SHARED && fold.shared <= NN_MAX_SHARED);
            assert_true(fold.threads <= NN_MAX_THREADS);
        }
    assert_int_equal(nn_grid_of(0).x, 1);
    assert_int_equal(nn_grid_of(257).x, 2);
    assert_int_equal(nn_grid_of((size_t)1 << 40).x, 65535);
    assert_true(nn_loss_grid(2000).x == 250 && nn_loss_grid(1).shared <= NN_MAX_SHARED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finding),     cmocka_unit_test(test_memory),
        cmocka_unit_test(test_lane_faults), cmocka_unit_test(test_waiting_ends),
        cmocka_unit_test(test_launching),   cmocka_unit_test(test_geometry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
