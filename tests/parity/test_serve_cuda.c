/* Versions on this host's first GPU: golden images and answers in each precision, engines that are
 * taken over; and, printed, what a load costs the batches beside it. Says why, and returns 77,
 * where there is no GPU. */
#include "tests/unit/store_fixture.h"

#include "common/clock.h"
#include "common/lane.h"
#include "tests/parity/first_gpu.h"
#include "tests/unit/model_fixture.h"

#include "tests/unit/answer_fixture.h"

#define TIMEOUT_MS 30000
#define MOST       8
#define BATCHES    400 /* that are timed, of one image */
#define LOADS      4   /* beside them */

static const int batches[] = {1, 2, 4, MOST};

struct world {
    struct sv_device *device;
    struct sv_model_config cfg;
    struct model_fixture m;
    int64_t version[2];
};

static void open_world(struct world *w, const struct fixture *f, const char *network,
                       enum nn_precision precision)
{
    assert_ok(sv_device_open(&w->device, "cuda", 0, TIMEOUT_MS));
    w->cfg = (struct sv_model_config){.store_dir = f->store,
                                      .engine = {.device = w->device,
                                                 .batches = batches,
                                                 .nbatches = 4,
                                                 .threads = 1,
                                                 .precision = precision},
                                      .max_pixels = 1 << 20};
    w->m = (struct model_fixture){0};
    assert_ok(ps_store_open_writer(&w->m.store, f->store, 'v', NULL));
    assert_ok(model_fixture_take(&w->m, network));
    for (uint64_t i = 0; i < 2; i++)
        assert_ok(model_fixture_version(&w->m, 5 + i, MODEL_GOOD, &w->version[i]));
}

static void close_world(struct world *w)
{
    ps_store_close(&w->m.store);
    model_fixture_release(&w->m);
    sv_device_close(&w->device);
}

static void answers_as_the_host(void **state)
{
    static const char *const networks[] = {"lenet", "resnet18"};
    for (int i = 0; i < 2; i++) {
        struct sv_engine *spare = NULL;
        struct sv_model *model;
        struct world w;
        open_world(&w, *state, networks[i], NN_PRECISION_FP32);
        assert_ok(sv_model_open(&model, w.version[0], 0, &w.cfg, &spare));
        spare = sv_model_detach(&model);
        assert_ok(sv_model_open(&model, w.version[1], 0, &w.cfg, &spare));
        for (uint32_t n = 1; n <= MOST; n++)
            assert_int_equal(answer_fixture_ask(model, &w.m, n), n);
        sv_model_close(&model);
        close_world(&w);
    }
}

/* Shorter numbers pass by the golden images' tolerance. */
static void passes_in_other_precisions(void **state)
{
    static const enum nn_precision precisions[] = {NN_PRECISION_BF16, NN_PRECISION_FP16};
    for (int i = 0; i < 2; i++) {
        struct sv_engine *spare = NULL;
        struct sv_model *model;
        struct world w;
        open_world(&w, *state, "lenet", precisions[i]);
        assert_ok(sv_model_open(&model, w.version[0], 0, &w.cfg, &spare));
        assert_int_equal(sv_model_dtype(model), i == 0 ? NN_BF16 : NN_F16);
        sv_model_close(&model);
        close_world(&w);
    }
}

/* ---- what a load costs ---- */

struct loads {
    struct world *w;
    int64_t ns[LOADS];
};

/* The first opens an engine, the others take it over. */
static cm_status task_load(void *ctx, int64_t unused, int64_t unused2)
{
    struct loads *loads = ctx;
    struct sv_engine *spare = NULL;
    struct sv_model *model;
    (void)unused;
    (void)unused2;
    for (int i = 0; i < LOADS; i++) {
        int64_t began_ns = cm_now_ns();
        CM_TRY(sv_model_open(&model, loads->w->version[1], 0, &loads->w->cfg, &spare));
        loads->ns[i] = cm_now_ns() - began_ns;
        spare = sv_model_detach(&model);
    }
    sv_engine_close(&spare);
    return CM_OK;
}

static int compare(const void *a, const void *b)
{
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static void time_batches(struct sv_model *model, const struct model_fixture *m, const char *when)
{
    int64_t ns[BATCHES];
    for (int i = 0; i < BATCHES; i++) {
        int64_t began_ns = cm_now_ns();
        int good = answer_fixture_ask(model, m, 1);
        ns[i] = cm_now_ns() - began_ns;
        assert_int_equal(good, 1);
    }
    qsort(ns, BATCHES, sizeof *ns, compare);
    printf("%s: a batch of 1 takes %lld us, 99 %%: %lld, at most %lld\n", when,
           (long long)ns[BATCHES / 2] / 1000, (long long)ns[BATCHES * 99 / 100] / 1000,
           (long long)ns[BATCHES - 1] / 1000);
}

static void loads_beside_batches(void **state)
{
    struct ln_config config = {.name = "load", .core = -1};
    struct sv_engine *spare = NULL;
    struct ln_lane *loader;
    struct sv_model *model;
    struct world w;
    open_world(&w, *state, "resnet18", NN_PRECISION_FP32);
    struct loads loads = {.w = &w};
    /* m's logits are those of the second version. */
    assert_ok(sv_model_open(&model, w.version[1], 0, &w.cfg, &spare));
    assert_ok(ln_lane_open(&loader, &config));
    time_batches(model, &w.m, "alone");
    ln_lane_run(loader, task_load, &loads, 0, 0);
    time_batches(model, &w.m, "beside loads");
    assert_ok(ln_lane_sync(loader, cm_deadline_in_ms(120000)));
    for (int i = 0; i < LOADS; i++)
        printf("load %d: %.1f ms\n", i, (double)loads.ns[i] * 1e-6);
    ln_lane_close(&loader);
    sv_model_close(&model);
    close_world(&w);
}

int main(void)
{
    int code;
    struct nn_device *device = first_gpu_open(&code);
    if (!device)
        return code;
    nn_device_close(&device);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_as_the_host, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(passes_in_other_precisions, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(loads_beside_batches, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
