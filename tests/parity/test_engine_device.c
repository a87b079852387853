/* The engine on a device that is the host (driver_host.h), and on one that refuses memory. */
#include <string.h>

#include "common/log.h"
#include "model/cuda/gpu.h"
#include "tests/parity/driver_host.h"
#include "tests/parity/engine_steps.h"
#include "tests/parity/host_streams.h"
#include "tests/unit/expect.h"

/* ---- a GPU without room ---- */

static struct {
    long left;  /* allocations that succeed */
    long given; /* and were not given back */
} script;

static int counted(int (*fn)(void **, size_t), void **out, size_t nbytes)
{
    *out = NULL;
    if (script.left-- <= 0)
        return driver_host.out_of_memory;
    script.given++;
    return fn(out, nbytes);
}

static int alloc(void **out, size_t nbytes)
{
    return counted(driver_host.alloc, out, nbytes);
}

static int pin(void **out, size_t nbytes)
{
    return counted(driver_host.pin, out, nbytes);
}

static int release(void *p)
{
    script.given--;
    return driver_host.release(p);
}

static int stream_close(void *stream)
{
    script.given--;
    return driver_host.stream_close(stream);
}

static int event_close(void *event)
{
    script.given--;
    return driver_host.event_close(event);
}

static int open_usual(void **out, size_t unused)
{
    (void)unused;
    return driver_host.stream_open(out, false);
}

static int stream_open(void **out, bool urgent)
{
    (void)urgent;
    return counted(open_usual, out, 0);
}

static int open_event(void **out, size_t unused)
{
    (void)unused;
    return driver_host.event_open(out);
}

static int event_open(void **out)
{
    return counted(open_event, out, 0);
}

static int open_timer(void **out, size_t unused)
{
    (void)unused;
    return driver_host.timer_open(out);
}

static int timer_open(void **out)
{
    return counted(open_timer, out, 0);
}

static struct nn_driver scripted_driver(void)
{
    struct nn_driver driver = driver_host;
    driver.alloc = alloc;
    driver.pin = pin;
    driver.release = driver.unpin = release;
    driver.stream_open = stream_open;
    driver.stream_close = stream_close;
    driver.event_open = event_open;
    driver.timer_open = timer_open;
    driver.event_close = event_close;
    return driver;
}

static void no_memory_is_named_and_leaks_nothing(void **state)
{
    static const char *const sets[] = {"train.batch=16", "train.shards=8", "model.precision=fp16",
                                       ""};
    struct nn_driver driver = scripted_driver();
    struct nn_device *device;
    long fails = 0;
    (void)state;
    script.left = 1;
    expect_ok(nn_gpu_open(&device, &driver, 0));
    for (bool done = false; !done; fails++) {
        struct steps *s = steps_prepare(device, sets);
        script.left = fails;
        cm_status st = steps_start(s);
        done = st == CM_OK;
        if (!done && (st != CM_ENOMEM || !strstr(cm_error_text(), "cuda:0")))
            fail_msg("allocation %ld: %s: %s", fails, cm_status_name(st), cm_error_text());
        steps_close(&s);
        if (script.given != 1)
            fail_msg("allocation %ld: %ld are not given back", fails, script.given - 1);
    }
    printf("%ld allocations\n", fails - 1);
    assert_true(fails > 30);
    nn_device_close(&device);
    assert_int_equal(script.given, 0);
}

/* ---- room for a smaller batch ---- */

static size_t most = SIZE_MAX, largest; /* bytes of one allocation */

static int alloc_up_to(void **out, size_t nbytes)
{
    *out = NULL;
    if (nbytes > most)
        return driver_host.out_of_memory;
    largest = nbytes > largest ? nbytes : largest;
    return driver_host.alloc(out, nbytes);
}

static void the_batch_that_fits_is_named(void **state)
{
    static const char *const fits[] = {"train.batch=8", "train.shards=4", ""};
    static const char *const wanted[] = {"train.batch=32", "train.shards=4", ""};
    struct nn_driver driver = driver_host;
    struct nn_device *device;
    (void)state;
    driver.alloc = alloc_up_to;
    expect_ok(nn_gpu_open(&device, &driver, 0));
    struct steps *s = steps_open(device, fits);
    steps_close(&s);
    most = largest;
    s = steps_prepare(device, wanted);
    expect_fault(CM_ENOMEM, "train.batch 32 does not fit, 8 would", steps_start(s));
    expect_fault(CM_ENOMEM, "MiB for", steps_start(s)); /* how much, for what */
    steps_close(&s);
    most = SIZE_MAX;
    nn_device_close(&device);
}

static void bad_labels_are_refused(void **state)
{
    static const char *const sets[] = {""};
    struct steps *s = steps_prepare(*state, sets);
    s->labels[7] = 4;
    expect_fault(CM_EINVAL, "label 4 of image 7", steps_start(s));
    s->labels[7] = -1;
    expect_fault(CM_EINVAL, "label -1 of image 7", steps_start(s));
    s->cfg.samples.nrows = 0;
    expect_fault(CM_EINVAL, "nrows", steps_start(s));
    steps_close(&s);
}

static int failing_launch(void *stream, int kernel, const struct nn_grid *grid, const void *args)
{
    return script.left-- <= 0 ? driver_host.out_of_memory
                              : driver_host.launch(stream, kernel, grid, args);
}

/* A device whose launches fail once script.left of them are done: none for now. *driver stays with
 * the caller, as long as the device. */
static struct nn_device *open_failing(struct nn_driver *driver)
{
    struct nn_device *device;
    *driver = driver_host;
    driver->launch = failing_launch;
    script.left = 1 << 30;
    expect_ok(nn_gpu_open(&device, driver, 0));
    return device;
}

/* Lost in the middle of a step, and in a captured one: an error, and nothing of it is applied. */
static void a_launch_that_fails_changes_nothing(void **state)
{
    static const char *const sets[] = {"train.batch=41", "train.shards=4", "model.precision=fp32",
                                       "train.lr=0.05", ""};
    struct nn_driver driver;
    struct nn_device *device = open_failing(&driver);
    struct tr_outcome outcome;
    (void)state;
    struct steps *twin = steps_open(device, sets);
    for (int64_t before = 0; before < 2; before++) { /* enqueued, then captured */
        struct steps *s = steps_open(device, sets);
        steps_run(s, 0, before);
        script.left = 20;
        expect_fault(CM_ENOMEM, "cuda:0", tr_engine_step(s->engine, before, 0.05, 0, &outcome));
        script.left = 1 << 30;
        steps_run(s, before, 3);
        if (before == 0)
            steps_run(twin, 0, 3);
        assert_true(steps_same(s, twin));
        steps_close(&s);
    }
    steps_close(&twin);
    nn_device_close(&device);
}

/* The step before it ends well, the one behind it is never begun, and both can be run again. */
static void a_step_ahead_that_fails_is_told_at_its_end(void **state)
{
    static const char *const sets[] = {"train.batch=41", "train.shards=4", "model.precision=fp32",
                                       "train.lr=0.05", ""};
    struct nn_driver driver;
    struct nn_device *device = open_failing(&driver);
    struct tr_outcome outcome;
    (void)state;
    struct steps *s = steps_prepare(device, sets), *twin = steps_open(device, sets);
    s->cfg.no_graphs = true;
    expect_ok(steps_start(s));
    steps_run(twin, 0, 4);
    tr_engine_begin(s->engine, 0, 0.05, 0);
    script.left = 20;
    tr_engine_begin(s->engine, 1, 0.05, 0);
    script.left = 1 << 30;
    expect_ok(tr_engine_end(s->engine, &outcome));
    tr_engine_begin(s->engine, 2, 0.05, 0);
    expect_fault(CM_ENOMEM, "cuda:0", tr_engine_end(s->engine, &outcome));
    assert_int_equal(tr_engine_begun(s->engine), 0);
    steps_run(s, 1, 4);
    assert_true(steps_same(s, twin));
    tr_engine_begin(s->engine, 4, 0.05, 0); /* close ends them */
    tr_engine_begin(s->engine, 5, 0.05, 0);
    steps_close(&s);
    steps_close(&twin);
    nn_device_close(&device);
}

/* ---- who waits for whom ---- */

static struct {
    int steps; /* enqueued: by kernels, or as a graph */
    int waits; /* questions of the host whether something is done */
} seen;

static int watched_launch(void *stream, int kernel, const struct nn_grid *grid, const void *args)
{
    seen.steps += kernel == NN_KERNEL_decide && !host_is_capturing();
    return driver_host.launch(stream, kernel, grid, args);
}

static int watched_graph(void *graph, void *stream)
{
    seen.steps++;
    return driver_host.graph_launch(graph, stream);
}

static int watched_idle(void *stream, bool *idle)
{
    seen.waits++;
    return driver_host.stream_idle(stream, idle);
}

static int watched_event(void *event, bool *happened)
{
    seen.waits++;
    return driver_host.event_happened(event, happened);
}

/* The host's streams do nothing until somebody waits: so what is there by then was enqueued without
 * its results. From the first steps on, which run as they are enqueued and are captured. */
static void the_next_step_is_enqueued_before_anybody_waits(void **state)
{
    static const char *const sets[] = {"train.batch=16", "train.shards=4", "model.precision=fp16",
                                       "train.lr=0.05", ""};
    struct nn_driver driver = driver_host;
    struct nn_device *device;
    (void)state;
    driver.launch = watched_launch;
    driver.graph_launch = watched_graph;
    driver.stream_idle = watched_idle;
    driver.event_happened = watched_event;
    expect_ok(nn_gpu_open(&device, &driver, 0));
    for (int graphs = 0; graphs < 2; graphs++) {
        struct steps *s = steps_prepare(device, sets);
        struct tr_outcome outcome;
        s->cfg.no_graphs = !graphs;
        expect_ok(steps_start(s));
        seen.steps = 0;
        tr_engine_begin(s->engine, 0, s->train.lr, 0);
        for (int step = 0; step < 9; step++) {
            seen.waits = 0;
            tr_engine_begin(s->engine, step + 1, s->train.lr, 0);
            assert_int_equal(seen.steps, step + 2);
            assert_int_equal(seen.waits, 0);
            expect_ok(tr_engine_end(s->engine, &outcome));
            assert_int_equal(seen.steps, step + 2);
            assert_true(seen.waits > 0);
        }
        assert_int_equal(tr_engine_graphs(s->engine), graphs ? TR_GRAPHS_ON : TR_GRAPHS_OFF);
        steps_close(&s);
    }
    nn_device_close(&device);
}

/* ---- captures that fail ---- */

static int refuse_capture(void *stream, void **graph)
{
    if (driver_host.capture_end(stream, graph) == 0)
        (void)driver_host.graph_close(*graph);
    *graph = NULL;
    return 901;
}

static int refuse_to_begin(void *stream)
{
    (void)stream;
    return 900;
}

/* The run goes on, step by step as it is enqueued, with the same bits. */
static void a_capture_that_fails_is_left_out(void **state)
{
    static const char *const sets[] = {"train.batch=16", "train.shards=4", "model.precision=fp32",
                                       "train.lr=0.05", ""};
    struct steps *graphs = steps_open(*state, sets);
    steps_run(graphs, 0, 7);
    assert_int_equal(tr_engine_graphs(graphs->engine), TR_GRAPHS_ON);
    for (int i = 0; i < 2; i++) {
        struct nn_driver driver = driver_host;
        struct nn_device *device;
        if (i == 0)
            driver.capture_begin = refuse_to_begin;
        else
            driver.capture_end = refuse_capture;
        expect_ok(nn_gpu_open(&device, &driver, 0));
        struct steps *s = steps_open(device, sets);
        steps_run(s, 0, 1);
        assert_int_equal(tr_engine_graphs(s->engine), TR_GRAPHS_ON);
        steps_run(s, 1, 7);
        assert_int_equal(tr_engine_graphs(s->engine), TR_GRAPHS_FAILED);
        assert_true(steps_same(graphs, s));
        steps_close(&s);
        nn_device_close(&device);
    }
    steps_close(&graphs);
}

/* In whatever order streams get on, events make the same bits of it: enqueued, captured, with
 * shards of several sizes. */
static void the_order_of_streams_changes_no_bit(void **state)
{
    static const char *const sets[] = {"train.batch=16",          "train.shards=8",
                                       "model.precision=fp16",    "train.lr=0.05",
                                       "allreduce.compress=true", ""};
    host_streams_seed(0);
    struct steps *usual = steps_open(*state, sets);
    steps_run(usual, 0, 6);
    for (uint64_t seed = 1; seed <= 24; seed++) {
        host_streams_seed(seed);
        struct steps *s = steps_prepare(*state, sets);
        s->cfg.no_graphs = seed % 2;
        expect_ok(steps_start(s));
        steps_run(s, 0, 6);
        if (!steps_same(usual, s))
            fail_msg("order %d, %s: other bits", (int)seed, seed % 2 ? "enqueued" : "captured");
        steps_close(&s);
    }
    steps_close(&usual);
}

int main(void)
{
    struct nn_device *device;
    cm_log_set_level(CM_LOG_ERROR);
    if (nn_gpu_open(&device, &driver_host, 0) != CM_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_losses_and_weights_are_the_cpus, device),
        cmocka_unit_test_prestate(test_updates_are_the_cpus, device),
        cmocka_unit_test_prestate(test_look_aheads_are_the_cpus, device),
        cmocka_unit_test_prestate(test_weights_are_scored_in_place, device),
        cmocka_unit_test_prestate(test_graphs_change_no_bit, device),
        cmocka_unit_test_prestate(test_steps_ahead_change_no_bit, device),
        cmocka_unit_test_prestate(test_what_stopped_is_named_with_a_step_behind_it, device),
        cmocka_unit_test_prestate(test_reruns_and_resumes_change_no_bit, device),
        cmocka_unit_test_prestate(test_fp16_skips_and_grows, device),
        cmocka_unit_test_prestate(test_a_bad_weight_is_named, device),
        cmocka_unit_test_prestate(test_fast_is_the_cpus, device),
        cmocka_unit_test_prestate(test_drawn_samples_are_the_callers, device),
        cmocka_unit_test_prestate(the_order_of_streams_changes_no_bit, device),
        cmocka_unit_test_prestate(a_capture_that_fails_is_left_out, device),
        cmocka_unit_test_prestate(bad_labels_are_refused, device),
        cmocka_unit_test(a_launch_that_fails_changes_nothing),
        cmocka_unit_test(a_step_ahead_that_fails_is_told_at_its_end),
        cmocka_unit_test(the_next_step_is_enqueued_before_anybody_waits),
        cmocka_unit_test(no_memory_is_named_and_leaks_nothing),
        cmocka_unit_test(the_batch_that_fits_is_named),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nn_device_close(&device);
    return failed;
}
