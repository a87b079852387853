/* Versions on a device, the host as one: what they answer, that the next one takes an engine over,
 * and what becomes of faults. */
#include "tests/unit/store_fixture.h"

#include "common/lane.h"
#include "model/cuda/gpu.h"
#include "tests/parity/driver_faulty.h"
#include "tests/unit/model_fixture.h"

#include "tests/unit/answer_fixture.h"

#define TIMEOUT_MS 300
#define MOST       4

static const int batches[] = {1, 3, MOST};

struct world {
    struct sv_device *device;
    struct sv_model_config cfg;
    struct model_fixture m;
};

static void open_world(struct world *w, const struct fixture *f, enum nn_precision precision)
{
    struct nn_device *gpu;
    driver_faults = (struct driver_faults){0};
    assert_ok(nn_gpu_open(&gpu, driver_faulty(), 0));
    assert_ok(sv_device_take(&w->device, &gpu, TIMEOUT_MS));
    assert_null(gpu);
    assert_string_equal(sv_device_name(w->device), "cuda:0");
    w->cfg = (struct sv_model_config){.store_dir = f->store,
                                      .engine = {.device = w->device,
                                                 .batches = batches,
                                                 .nbatches = 3,
                                                 .threads = 1,
                                                 .precision = precision},
                                      .max_pixels = 1 << 20};
    w->m = (struct model_fixture){0};
    assert_ok(ps_store_open_writer(&w->m.store, f->store, 'v', NULL));
    assert_ok(model_fixture_take(&w->m, "lenet"));
}

static int64_t publish(struct world *w, uint64_t seed, enum model_kind kind)
{
    int64_t version = 0;
    assert_ok(model_fixture_version(&w->m, seed, kind, &version));
    return version;
}

static void close_world(struct world *w)
{
    ps_store_close(&w->m.store);
    model_fixture_release(&w->m);
    sv_device_close(&w->device);
    assert_int_equal(driver_faults.used, 0);
}

static void expect_answers(struct sv_model *model, const struct model_fixture *m)
{
    for (int n = 1; n <= MOST; n++)
        assert_int_equal(answer_fixture_ask(model, m, (uint32_t)n), n);
}

static void answers_as_the_host(void **state)
{
    struct sv_engine *spare = NULL;
    struct sv_model *model;
    struct world w;
    for (int captured = 0; captured < 2; captured++) {
        open_world(&w, *state, NN_PRECISION_FP32);
        driver_faults.no_capture = !captured; /* which is no reason to fail */
        int64_t version = publish(&w, 5, MODEL_GOOD);
        assert_ok(sv_model_open(&model, version, 0, &w.cfg, &spare));
        assert_int_equal(sv_model_dtype(model), NN_F32);
        expect_answers(model, &w.m);
        sv_model_close(&model);
        version = publish(&w, 6, MODEL_WRONG);
        assert_fails(sv_model_open(&model, version, 0, &w.cfg, &spare), CM_EMISMATCH);
        assert_says("golden");
        sv_engine_close(&spare);
        close_world(&w);
    }
}

/* bf16 where the device has it: other logits, within the tolerance. */
static void computes_in_bf16(void **state)
{
    struct sv_engine *spare = NULL;
    struct sv_model *model;
    struct world w;
    open_world(&w, *state, NN_PRECISION_AUTO);
    assert_ok(sv_model_open(&model, publish(&w, 5, MODEL_GOOD), 0, &w.cfg, &spare));
    assert_int_equal(sv_model_dtype(model), NN_BF16);
    sv_model_close(&model);
    close_world(&w);
}

/* The third version of a network allocates nothing, answers with its own weights, and a refused one
 * in between leaves the engine whole. */
static void takes_an_engine_over(void **state)
{
    struct sv_engine *spare = NULL;
    struct sv_model *model[2];
    struct world w;
    open_world(&w, *state, NN_PRECISION_FP32);
    for (uint64_t i = 0; i < 2; i++)
        assert_ok(sv_model_open(&model[i], publish(&w, 5 + i, MODEL_GOOD), 0, &w.cfg, &spare));
    long made = driver_faults.made;
    spare = sv_model_detach(&model[0]);
    int64_t wrong = publish(&w, 7, MODEL_WRONG);
    assert_fails(sv_model_open(&model[0], wrong, 0, &w.cfg, &spare), CM_EMISMATCH);
    assert_non_null(spare);
    assert_ok(sv_model_open(&model[0], publish(&w, 8, MODEL_GOOD), 0, &w.cfg, &spare));
    expect_answers(model[0], &w.m);
    assert_int_equal(driver_faults.made, made);
    sv_model_close(&model[0]);
    sv_model_close(&model[1]);
    close_world(&w);
}

/* No room for two: the second is refused, saying how much is free; the first serves on, and once it
 * is gone there is room. */
static void is_out_of_memory(void **state)
{
    struct sv_engine *spare = NULL;
    struct sv_model *first, *second;
    struct world w;
    int64_t version[2];
    open_world(&w, *state, NN_PRECISION_FP32);
    version[0] = publish(&w, 5, MODEL_GOOD);
    version[1] = publish(&w, 5, MODEL_GOOD);
    assert_ok(sv_model_open(&first, version[0], 0, &w.cfg, &spare));
    long one = driver_faults.used;
    /* At every allocation in turn. */
    for (long room = 0, made = -1; made < 0; room += one / 40) {
        driver_faults.limit = one + room;
        if (sv_model_open(&second, version[1], 0, &w.cfg, &spare) == CM_OK) {
            made = room;
            continue;
        }
        assert_null(spare);
        assert_says("cuda:0 (the host): no ");
        assert_says("MiB are free");
        assert_ok(sv_device_check(w.device));
        assert_true(room <= one + one / 4);
    }
    expect_answers(second, &w.m);
    sv_model_close(&second);
    expect_answers(first, &w.m);
    driver_faults.limit = one;
    spare = sv_model_detach(&first);
    assert_ok(sv_model_open(&second, version[1], 0, &w.cfg, &spare));
    expect_answers(second, &w.m);
    sv_model_close(&second);
    close_world(&w);
}

static void lacks_an_op(void **state)
{
    struct sv_engine *spare = NULL;
    struct sv_model *model;
    struct world w;
    open_world(&w, *state, NN_PRECISION_FP32);
    driver_faults.no_products = true;
    int64_t version = publish(&w, 5, MODEL_GOOD);
    assert_fails(sv_model_open(&model, version, 0, &w.cfg, &spare), CM_EUNSUPPORTED);
    assert_says("conv1: forward of 1 images in fp32: no engine");
    assert_says("not by this library");
    assert_ok(sv_device_check(w.device));
    close_world(&w);
}

/* A fault of the GPU, and a GPU that hangs, are told as what they are, whoever meets them. */
static void loses_the_device(void **state)
{
    static const struct {
        bool hangs, loading;
        cm_status st;
        const char *says;
    } cases[] = {{false, false, CM_EIO, "cudaErrorIllegalAddress (700)"},
                 {true, false, CM_ETIMEDOUT, "batches: not done by the deadline"},
                 {false, true, CM_EIO, "cudaErrorIllegalAddress (700)"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sv_engine *spare = NULL;
        struct sv_model *model, *next;
        struct world w;
        open_world(&w, *state, NN_PRECISION_FP32);
        int64_t version = publish(&w, 5, MODEL_GOOD);
        assert_ok(sv_model_open(&model, version, 0, &w.cfg, &spare));
        driver_faults.launch_code = cases[i].hangs ? 0 : DRIVER_LOST;
        driver_faults.hangs = cases[i].hangs;
        if (cases[i].loading) {
            assert_fails(sv_model_open(&next, version, 0, &w.cfg, &spare), cases[i].st);
        } else {
            assert_int_equal(answer_fixture_ask(model, &w.m, MOST), 0);
        }
        assert_fails(sv_device_check(w.device), cases[i].st);
        assert_says("cuda:0 is lost: ");
        assert_says(cases[i].says);
        driver_faults.hangs = false;
        sv_model_close(&model);
        close_world(&w);
    }
}

/* ---- a version is loaded while another one serves ---- */

struct loading {
    struct world *w;
    int64_t version;
    atomic_bool ended;
};

/* On a new engine, on one that it takes over, and on a new one again. */
static cm_status task_load(void *ctx, int64_t unused, int64_t unused2)
{
    struct loading *l = ctx;
    struct sv_engine *spare = NULL;
    struct sv_model *model;
    (void)unused;
    (void)unused2;
    for (int i = 0; i < 3; i++) {
        CM_TRY(sv_model_open(&model, l->version, 0, &l->w->cfg, &spare));
        if (i == 1)
            sv_model_close(&model);
        else
            spare = sv_model_detach(&model);
    }
    sv_engine_close(&spare);
    atomic_store(&l->ended, true);
    return CM_OK;
}

/* Batches are answered while a load goes on, and while its lane does not. */
static void loads_beside_batches(void **state)
{
    struct sv_engine *spare = NULL;
    struct ln_config config = {.name = "load", .core = -1};
    struct ln_lane *loader;
    struct sv_model *model;
    struct world w;
    open_world(&w, *state, NN_PRECISION_FP32);
    struct loading loading = {.w = &w, .version = publish(&w, 6, MODEL_GOOD)};
    assert_ok(sv_model_open(&model, publish(&w, 5, MODEL_GOOD), 0, &w.cfg, &spare));
    assert_ok(ln_lane_open(&loader, &config));
    driver_faults.stuck = driver_faults.newest; /* the last lane to be opened */
    ln_lane_run(loader, task_load, &loading, 0, 0);
    for (int i = 0; i < 10; i++)
        expect_answers(model, &w.m);
    assert_false(atomic_load(&loading.ended));
    driver_faults.stuck = NULL;
    for (int i = 0; i < 10; i++)
        expect_answers(model, &w.m);
    assert_ok(ln_lane_sync(loader, cm_deadline_in_ms(60000)));
    assert_true(atomic_load(&loading.ended));
    ln_lane_close(&loader);
    sv_model_close(&model);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_as_the_host, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(computes_in_bf16, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(takes_an_engine_over, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(is_out_of_memory, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(lacks_an_op, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(loses_the_device, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(loads_beside_batches, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
