/* Ways of products chosen by timing (engines.h), on a device that is the host and whose library has
 * several: what each takes is scripted, so which is the fastest is known. Then an engine's whole
 * search, with its cache on disk. */
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "model/cuda/gpu.h"
#include "tests/parity/driver_host.h"
#include "tests/parity/engine_steps.h"
#include "tests/unit/expect.h"

#define MOST 12
#define LOST 700

static struct {
    int nways;
    double seconds[MOST][3]; /* of a way's rounds */
    double mixed;            /* times that, where dw is of another type; 0: the same */
    bool fails[MOST];        /* to run */
    bool broken[MOST];       /* named, but cannot be built */
    bool twice;              /* each way is named again at once */
    size_t most;             /* bytes of an allocation; 0: any number */
    int last;                /* the way that is timed passes the search's deadline; -1: none */
    bool lost;               /* no stream gets idle: a fault of the GPU */
    struct nn_engine_search *search;
    int way, round;             /* that ran last; whose time is read next */
    double factor;              /* of that */
    int ntimes, nopened, given; /* runs; ways that were built; what was not given back */
    int nblocks;                /* of memory that were taken */
} script;

static struct nn_driver driver;
static struct nn_device *device;

/* A way is the host's, by another name. */
struct product {
    void *host;
    int way;
    bool mixed;
};

static int product_open(void *stream, const struct nn_product *product, const char *engine,
                        struct nn_product_plan *out)
{
    int way = 0;
    *out = (struct nn_product_plan){.why = "no such way"};
    if (engine && sscanf(engine, "way %d", &way) != 1)
        return LOST;
    script.nopened++;
    if (way >= script.nways || script.broken[way])
        return LOST;
    int code = driver_host.product_open(stream, product, NULL, out);
    struct product *self = code ? NULL : calloc(1, sizeof *self);
    if (!self)
        return code ? code : LOST;
    *self = (struct product){out->handle, way, product->wide && product->dtype != NN_F32};
    out->handle = self;
    snprintf(out->engine, sizeof out->engine, "way %d", way);
    script.given++;
    return 0;
}

static int product_ways(void *stream, const struct nn_product *product,
                        char (*engines)[NN_ENGINE_TEXT], int most)
{
    int times = script.twice ? 2 : 1, all = times * script.nways, n = all < most ? all : most;
    (void)stream;
    (void)product;
    for (int i = 0; i < n; i++)
        snprintf(engines[i], NN_ENGINE_TEXT, "way %d", i / times);
    return n;
}

static void product_close(void *handle)
{
    struct product *self = handle;
    driver_host.product_close(self->host);
    free(self);
    script.given--;
}

static int product_run(void *stream, void *handle, const void *a, const void *b, void *c,
                       void *workspace)
{
    const struct product *self = handle;
    script.way = self->way;
    script.factor = self->mixed && script.mixed > 0 ? script.mixed : 1;
    script.round = 0;
    script.ntimes++;
    if (script.fails[self->way])
        return LOST;
    if (self->way == script.last && script.search)
        script.search->deadline = cm_deadline_in_ms(0);
    return driver_host.product_run(stream, self->host, a, b, c, workspace);
}

static int timer_between(void *from, void *to, double *seconds)
{
    int code = driver_host.timer_between(from, to, seconds);
    *seconds = script.factor * script.seconds[script.way][script.round++ % 3];
    return code;
}

static int timer_open(void **out)
{
    script.given++;
    return driver_host.timer_open(out);
}

static int event_close(void *event)
{
    script.given--;
    return driver_host.event_close(event);
}

static int alloc(void **out, size_t nbytes)
{
    *out = NULL;
    if (script.most > 0 && nbytes > script.most)
        return driver_host.out_of_memory;
    script.given++;
    script.nblocks++;
    return driver_host.alloc(out, nbytes);
}

static int release(void *p)
{
    script.given--;
    return driver_host.release(p);
}

static int stream_idle(void *stream, bool *idle)
{
    return script.lost ? LOST : driver_host.stream_idle(stream, idle);
}

/* ---- one product ---- */

static const struct nn_product product = {.linear = false,
                                          .pass = NN_PRODUCT_FORWARD,
                                          .dtype = NN_F32,
                                          .n = 2,
                                          .x = {3, 6, 6},
                                          .y = {4, 5, 5},
                                          .kernel = 2,
                                          .stride = 1};

/* nways of the same second each. */
static void set_script(int nways)
{
    memset(&script, 0, sizeof script);
    script.nways = nways;
    script.last = -1;
    for (int i = 0; i < MOST; i++)
        for (int k = 0; k < 3; k++)
            script.seconds[i][k] = 1;
}

static void set_times(int way, double a, double b, double c)
{
    script.seconds[way][0] = a;
    script.seconds[way][1] = b;
    script.seconds[way][2] = c;
}

/* The way that is found; nothing is left behind. */
static int find(struct nn_engine_search *search)
{
    struct nn_product_plan plan;
    double seconds;
    int code, way = -1;
    script.search = search;
    expect_ok(nn_gpu_search(device, &product, "key", search, &plan, &seconds, &code));
    assert_int_equal(code, 0);
    assert_int_equal(sscanf(plan.engine, "way %d", &way), 1);
    driver.product_close(plan.handle);
    assert_int_equal(script.given, 0);
    return way;
}

static struct nn_engine_search without_end(void)
{
    return (struct nn_engine_search){.deadline = cm_deadline_in_ms(-1)};
}

static void the_fastest_is_taken(void **state)
{
    struct nn_engine_search search = without_end();
    (void)state;
    set_script(3);
    set_times(0, 0.3, 0.3, 0.3);
    set_times(1, 9, 0.2, 0.1); /* the median counts */
    set_times(2, 0.1, 0.25, 0.25);
    assert_int_equal(find(&search), 1);
    assert_int_equal(search.ntimed, 1);
    assert_int_equal(script.ntimes, 3 * 4);
    assert_string_equal(nn_engines_find(&search.found, "key")->name, "way 1");
    assert_int_equal(find(&search), 1); /* as it is known, without a look at the others */
    assert_int_equal(script.ntimes, 3 * 4);
    assert_int_equal(search.nknown, 1);
    nn_engines_release(&search.found);
}

static void of_equals_the_first_is_taken_and_some_are_enough(void **state)
{
    struct nn_engine_search search = without_end();
    (void)state;
    set_script(MOST);
    set_times(8, 0.1, 0.1, 0.1); /* the ninth */
    assert_int_equal(find(&search), 0);
    assert_int_equal(script.nopened, 8); /* each once */
    assert_int_equal(script.nblocks, 2); /* operands, and a workspace that serves them all */
    nn_engines_release(&search.found);
}

/* It counts for nothing: the ninth that works is not among the first eight. */
static void what_cannot_be_built_is_passed_over(void **state)
{
    struct nn_engine_search search = without_end();
    (void)state;
    set_script(MOST);
    script.broken[1] = script.broken[2] = true;
    set_times(9, 0.1, 0.1, 0.1);
    set_times(10, 0.05, 0.05, 0.05);
    assert_int_equal(find(&search), 9);
    assert_int_equal(script.ntimes, 8 * 4);
    assert_int_equal(search.ntimed, 1);
    nn_engines_release(&search.found);
}

static void what_is_named_twice_is_built_once(void **state)
{
    struct nn_engine_search search = without_end();
    (void)state;
    set_script(MOST);
    script.twice = true;
    set_times(7, 0.1, 0.1, 0.1); /* the eighth, the last that is timed */
    assert_int_equal(find(&search), 7);
    assert_int_equal(script.nopened, 8);
    nn_engines_release(&search.found);
}

static void what_does_not_run_is_passed_over(void **state)
{
    struct nn_engine_search search = without_end();
    (void)state;
    set_script(3);
    set_times(1, 0.1, 0.1, 0.1);
    script.fails[0] = script.fails[1] = true;
    assert_int_equal(find(&search), 2);
    assert_int_equal(search.ntimed, 1);
    nn_engines_release(&search.found);
    search = without_end();
    script.most = 64; /* no room to time any: the first, and the next run may look again */
    assert_int_equal(find(&search), 0);
    assert_int_equal(search.nleft, 1);
    assert_int_equal(search.found.n, 0);
}

static void the_deadline_ends_it(void **state)
{
    struct nn_engine_search search = without_end();
    (void)state;
    set_script(4);
    set_times(1, 0.5, 0.5, 0.5);
    set_times(2, 0.1, 0.1, 0.1);
    script.last = 1;
    assert_int_equal(find(&search), 1); /* the best by then */
    assert_int_equal(search.nleft, 1);
    assert_int_equal(search.ntimed, 0);
    assert_int_equal(search.found.n, 0);
    script.ntimes = script.nopened = script.nblocks = 0;
    assert_int_equal(find(&search), 0); /* it has passed: the library's first, not timed */
    assert_int_equal(script.ntimes, 0);
    assert_int_equal(script.nopened, 1);
    assert_int_equal(script.nblocks, 0);
    assert_int_equal(search.nleft, 2);
}

static void a_way_that_is_gone_is_searched_anew(void **state)
{
    static const char *const gone[] = {"way 7", "of another library"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct nn_engine_search search = without_end();
        struct nn_engine engine = {.key = "key"};
        snprintf(engine.name, sizeof engine.name, "%s", gone[i]);
        expect_ok(nn_engines_add(&search.found, &engine));
        set_script(2);
        set_times(1, 0.1, 0.1, 0.1);
        assert_int_equal(find(&search), 1);
        assert_int_equal(search.ntimed, 1);
        assert_string_equal(nn_engines_find(&search.found, "key")->name, "way 1");
        nn_engines_release(&search.found);
    }
}

static void faults_are_told_and_leave_nothing(void **state)
{
    struct nn_engine_search search = without_end();
    struct nn_product_plan plan;
    double seconds;
    int code;
    (void)state;
    set_script(0);
    expect_ok(nn_gpu_search(device, &product, "key", &search, &plan, &seconds, &code));
    assert_int_equal(code, LOST); /* no way at all: the caller's to tell */
    assert_int_equal(script.given, 0);
    set_script(2);
    script.lost = true;
    expect_fault(CM_EIO, "calls without a lane",
                 nn_gpu_search(device, &product, "key", &search, &plan, &seconds, &code));
    driver.product_close(plan.handle); /* as the op does */
    assert_int_equal(script.given, 0);
    assert_int_equal(search.found.n, 0);
}

/* ---- an engine ---- */

static const char *const fast[] = {"train.batch=16", "train.lr=0.05", "allreduce.order=fast",
                                   "model.precision=fp32", ""};

/* How many times a product ran while the engine opened; all took this way. */
static int open_engine(const char *const *sets, const char *way)
{
    struct steps *s = steps_prepare(device, sets);
    script.ntimes = 0;
    expect_ok(steps_start(s));
    int ntimes = script.ntimes;
    const struct nn_engines *engines = tr_engine_engines(s->engine);
    assert_true(engines->n > 6);
    assert_null(engines->search);
    for (size_t i = 0; i < engines->n; i++)
        assert_string_equal(engines->engine[i].name, way);
    steps_run(s, 0, 2);
    steps_close(&s);
    return ntimes;
}

static char folder[CM_PATH], file[CM_PATH];

static int set_up(void **state)
{
    (void)state;
    expect_dir_make(folder);
    expect_ok(cm_path_join(file, folder, "flywheel/engines.json"));
    setenv("XDG_CACHE_HOME", folder, 1);
    set_script(3);
    set_times(2, 0.1, 0.1, 0.1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    expect_dir_remove(folder);
    return 0;
}

static void what_was_found_is_kept(void **state)
{
    (void)state;
    assert_true(open_engine(fast, "way 2") > 0);
    assert_int_equal(open_engine(fast, "way 2"), 0);
    /* Another batch has another last shard or two: those are timed, the rest is kept beside them.
     */
    static const char *const other[] = {"train.batch=13", "allreduce.order=fast",
                                        "model.precision=fp32", ""};
    set_times(1, 0.05, 0.05, 0.05);
    assert_true(open_engine(other, "way 1") > 0);
    assert_int_equal(open_engine(other, "way 1"), 0);
    assert_int_equal(open_engine(fast, "way 2"), 0);
}

/* Filter gradients of an engine in fp16 that are computed in fp32, and that are widened. */
struct kinds {
    int wide, narrower;
};

static struct kinds open_fp16(double mixed, int *ntimes)
{
    static const char *const fp16[] = {"train.batch=8", "allreduce.order=fast",
                                       "model.precision=fp16", ""};
    struct steps *s = steps_prepare(device, fp16);
    struct kinds kinds = {0, 0};
    script.mixed = mixed;
    script.ntimes = 0;
    expect_ok(steps_start(s));
    *ntimes = script.ntimes;
    const struct nn_engines *engines = tr_engine_engines(s->engine);
    for (size_t i = 0; i < engines->n; i++) {
        bool narrower = strcmp(engines->engine[i].name, "narrower") == 0;
        bool wide = strstr(engines->engine[i].key, "fp16 to fp32") != NULL;
        if (!narrower)
            assert_string_equal(engines->engine[i].name, "way 2");
        assert_true(wide || !narrower);
        bool largest = strstr(engines->engine[i].key, " n8 ") != NULL; /* it decides */
        kinds.narrower += narrower && largest;
        kinds.wide += wide && largest && !narrower;
    }
    steps_run(s, 0, 2);
    steps_close(&s);
    return kinds;
}

/* One timing decides, and is kept. */
static void dw_is_widened_where_that_is_faster(void **state)
{
    int ntimes;
    struct kinds kinds = open_fp16(2, &ntimes);
    (void)state;
    assert_int_equal(kinds.wide, 0);
    assert_int_equal(kinds.narrower, 3); /* two convolutions, a linear layer */
    assert_true(ntimes > 0);
    kinds = open_fp16(0.5, &ntimes);
    assert_int_equal(kinds.narrower, 3);
    assert_int_equal(ntimes, 0);
}

static void dw_is_fp32_where_widening_gains_little(void **state)
{
    int ntimes;
    struct kinds kinds = open_fp16(1.05, &ntimes); /* the cast comes on top */
    (void)state;
    assert_int_equal(kinds.wide, 3);
    assert_int_equal(kinds.narrower, 0);
}

/* As a rank does with rank 0's table, which says so and nothing of the ways. */
static void a_table_says_that_dw_is_widened(void **state)
{
    static const int batches[] = {2};
    struct nn_op_desc d = {.kind = NN_OP_LINEAR,
                           .name = "fc",
                           .x = {8, 1, 1},
                           .y = {4, 1, 1},
                           .dtype = NN_F16,
                           .training = true,
                           .nlanes = 1,
                           .threads = 1,
                           .batches = batches,
                           .nbatches = 1};
    size_t scratch[2];
    (void)state;
    for (int told = 0; told < 2; told++) {
        struct nn_engines table = {0};
        struct nn_op op;
        d.engines = &table;
        if (told)
            expect_ok(nn_engines_read(
                &table,
                "fc filter gradient n2 8x1x1 to 4x1x1 k1 s1 p0 fp16 to fp32\tnarrower\t0\n"));
        expect_ok(nn_op_open(&op, nn_device_backend(device), &d));
        scratch[told] = op.needs.scratch;
        assert_int_equal(table.n, told ? 3 : 2); /* forward, and dw's in fp16 */
        nn_op_close(&op);
        nn_engines_release(&table);
    }
    assert_int_equal(scratch[1], scratch[0] + 8 * 4 * 2); /* of dw in fp16 */
}

static void two_layers_of_one_shape_are_timed_once(void **state)
{
    char *text;
    size_t n;
    (void)state;
    open_engine(fast, "way 2");
    expect_ok(cm_file_read(&text, &n, file, 1 << 20));
    assert_non_null(strstr(text, "conv forward n16 3x8x8 to 8x8x8")); /* not conv1 */
    assert_null(strstr(text, "conv1"));
    cm_free(&text);
}

static void fixed_never_times(void **state)
{
    static const char *const fixed[] = {"train.batch=16", "model.precision=fp32", ""};
    static const char *const none[] = {"train.batch=16", "model.precision=fp32",
                                       "allreduce.order=fast", "model.engine_search_s=0", ""};
    (void)state;
    assert_int_equal(open_engine(fixed, "way 0"), 0);
    assert_int_equal(open_engine(none, "way 0"), 0);
    assert_false(cm_path_exists(file));
    open_engine(fast, "way 2");
    assert_int_equal(open_engine(fixed, "way 0"), 0); /* nor takes what others have found */
}

/* Each is survived, and replaced by one that holds. */
static void a_bad_cache_is_no_error(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"format\": \"2.0\", \"devices\": {}}",
        "{\"format\": 1}",
        "{\"format\": \"1.0\", \"devices\": []}",
        "{\"format\": \"1.0\", \"devices\": {\"the host sm_80, no CUDA, driver 13000\": 3}}",
        "{\"format\": \"1.0\", \"devices\": {\"the host sm_80, no CUDA, driver 13000\": "
        "{\"engines\": \"x\"}}}",
        "{\"format\": \"1.0\", \"devices\": {\"the host sm_80, no CUDA, driver 13000\": "
        "{\"engines\": \"x\", \"xxh64\": \"0\"}}}"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        open_engine(fast, "way 2");
        expect_ok(cm_file_replace(file, bad[i], strlen(bad[i])));
        if (open_engine(fast, "way 2") == 0)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(open_engine(fast, "way 2"), 0);
    }
    char *text, *flip;
    size_t n;
    expect_ok(cm_file_read(&text, &n, file, 1 << 20));
    flip = strstr(text, "way 2");
    assert_non_null(flip);
    flip[4] = '1';
    expect_ok(cm_file_replace(file, text, n));
    assert_true(open_engine(fast, "way 2") > 0);
    cm_free(&text);
}

/* What is another device's stays, and is not taken. */
static void other_devices_are_let_be(void **state)
{
    static const char text[] = "{\"format\": \"1.1\", \"devices\": {\"a GPU\": {\"engines\": "
                               "\"key\\tway 1\\t3\\n\", \"xxh64\": \"0\", \"new\": 1}}}";
    char *after, parent[CM_PATH];
    size_t n;
    (void)state;
    expect_ok(cm_path_join(parent, folder, "flywheel"));
    expect_ok(cm_dir_make(parent));
    expect_ok(cm_file_replace(file, text, sizeof text - 1));
    assert_true(open_engine(fast, "way 2") > 0);
    expect_ok(cm_file_read(&after, &n, file, 1 << 20));
    assert_non_null(strstr(after, "a GPU"));
    assert_non_null(strstr(after, "key\\u0009way 1\\u00093"));
    cm_free(&after);
}

/* No place, none that can be written, a full disk: the run goes on, and times again. */
static void without_a_place_nothing_is_kept(void **state)
{
    char *home = getenv("HOME"), kept[CM_PATH];
    (void)state;
    snprintf(kept, sizeof kept, "%s", home ? home : "");
    unsetenv("HOME");
    setenv("XDG_CACHE_HOME", "here/not-absolute", 1);
    assert_true(open_engine(fast, "way 2") > 0);
    assert_true(open_engine(fast, "way 2") > 0);
    assert_false(cm_path_exists("here"));
    setenv("HOME", folder, 1);
    assert_true(open_engine(fast, "way 2") > 0);
    assert_int_equal(open_engine(fast, "way 2"), 0);
    char path[CM_PATH];
    expect_ok(cm_path_join(path, folder, ".cache/flywheel/engines.json"));
    assert_true(cm_path_exists(path));
    setenv("HOME", kept, 1);
    setenv("XDG_CACHE_HOME", path, 1); /* a file, not a folder */
    assert_true(open_engine(fast, "way 2") > 0);
    setenv("XDG_CACHE_HOME", folder, 1);
    setenv("FLYWHEEL_INJECT", "file.write=enospc@*", 1);
    assert_true(open_engine(fast, "way 2") > 0);
    unsetenv("FLYWHEEL_INJECT");
    assert_false(cm_path_exists(file));
}

int main(void)
{
    driver = driver_host;
    driver.product_open = product_open;
    driver.product_ways = product_ways;
    driver.product_close = product_close;
    driver.product_run = product_run;
    driver.timer_open = timer_open;
    driver.timer_between = timer_between;
    driver.event_close = event_close;
    driver.alloc = alloc;
    driver.release = release;
    driver.stream_idle = stream_idle;
    cm_log_set_level(CM_LOG_ERROR);
    if (nn_gpu_open(&device, &driver, 0) != CM_OK)
        return 1;
#define WITH_CACHE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_is_taken),
        cmocka_unit_test(of_equals_the_first_is_taken_and_some_are_enough),
        cmocka_unit_test(what_cannot_be_built_is_passed_over),
        cmocka_unit_test(what_is_named_twice_is_built_once),
        cmocka_unit_test(what_does_not_run_is_passed_over),
        cmocka_unit_test(the_deadline_ends_it),
        cmocka_unit_test(a_way_that_is_gone_is_searched_anew),
        cmocka_unit_test(faults_are_told_and_leave_nothing),
        WITH_CACHE(a_table_says_that_dw_is_widened),
        WITH_CACHE(dw_is_widened_where_that_is_faster),
        WITH_CACHE(dw_is_fp32_where_widening_gains_little),
        WITH_CACHE(what_was_found_is_kept),
        WITH_CACHE(two_layers_of_one_shape_are_timed_once),
        WITH_CACHE(fixed_never_times),
        WITH_CACHE(a_bad_cache_is_no_error),
        WITH_CACHE(other_devices_are_let_be),
        WITH_CACHE(without_a_place_nothing_is_kept),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nn_device_close(&device);
    return failed;
}
