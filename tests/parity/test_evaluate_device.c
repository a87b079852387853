/* Evaluation on a device against the host's: images that stay there and images that are brought,
 * views, several chunks under way. On the host as a GPU (driver_host.h), and on a GPU where there
 * is one. */
#include "trainer/evaluate.h"

#include <math.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "model/backend.h"
#include "model/cuda/gpu.h"
#include "model/init.h"
#include "tests/parity/driver_host.h"
#include "tests/unit/expect.h"

#define PIXELS  (6 * 6 * 3)
#define CLASSES 4
#define MANY    1103 /* five chunks, the last one short */
#define STAY    900

static const char text[] =
    "{\"format\": \"1.0\", \"name\": \"t\", \"input\": {\"channels\": 3, \"height\": 6, \"width\": "
    "6}, \"preprocess\": {\"mean\": [0.5, 0.5, 0.5], \"std\": [0.25, 0.25, 0.25]}, \"nodes\": ["
    "{\"name\": \"conv\", \"op\": \"conv\", \"out\": 5, \"kernel\": 3}, {\"name\": \"act\", "
    "\"op\": \"relu\"}, {\"name\": \"flat\", \"op\": \"flatten\"}, {\"name\": \"fc\", \"op\": "
    "\"linear\", \"out\": 4}]}";

struct bench {
    struct ar_group *group;
    struct nn_spec *spec;
    struct nn_layout *layout;
    float *weights;
    uint8_t images[MANY * PIXELS], others[MANY * PIXELS];
    int32_t labels[MANY];
    uint32_t rows[MANY];
};

static struct bench *open_bench(void)
{
    struct bench *b;
    struct ar_config allreduce;
    struct cm_config *file;
    struct cm_json *json;
    expect_ok(cm_alloc(&b, 1, sizeof *b, "bench"));
    expect_ok(cm_config_open(&file, NULL, NULL, 0));
    expect_ok(cm_config_read(file, &ar_config_section, &allreduce));
    cm_config_close(&file);
    expect_ok(ar_group_open(&b->group, &allreduce));
    expect_ok(cm_json_parse(&json, text, strlen(text), "test"));
    expect_ok(nn_spec_parse(&b->spec, json, "test"));
    cm_json_close(&json);
    expect_ok(nn_layout_open(&b->layout, b->spec));
    for (uint32_t i = 0; i < MANY * PIXELS; i++) {
        b->images[i] = (uint8_t)cm_rng_u32(1, CM_RNG_SYNTHETIC, 0, 0, i);
        b->others[i] = (uint8_t)cm_rng_u32(2, CM_RNG_SYNTHETIC, 0, 0, i);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        b->labels[i] = (int32_t)(i % CLASSES);
        b->rows[i] = MANY - 1 - i;
    }
    expect_ok(cm_alloc_aligned(&b->weights, b->layout->ntotal, sizeof(float), "weights"));
    expect_ok(nn_init_weights(b->weights, b->layout, b->spec, 3, b->images, 10));
    return b;
}

static void close_bench(struct bench *b)
{
    cm_free(&b->weights);
    nn_layout_close(&b->layout);
    nn_spec_close(&b->spec);
    ar_group_close(&b->group);
    cm_free(&b);
}

static struct tr_evaluator *open_evaluator(const struct bench *b, struct nn_device *device,
                                           int nlanes)
{
    struct tr_evaluator *e;
    const struct tr_evaluator_config cfg = {.spec = b->spec,
                                            .layout = b->layout,
                                            .backend = device ? nn_device_backend(device)
                                                              : nn_backend_cpu(),
                                            .precision = NN_PRECISION_FP32,
                                            .group = b->group,
                                            .nlanes = nlanes,
                                            .device = device,
                                            .resident = b->images,
                                            .nresident = STAY};
    expect_ok(tr_evaluator_open(&e, &cfg));
    return e;
}

/* images NULL: the views of those that stay. */
static void compare(const struct bench *b, struct tr_evaluator *host, struct tr_evaluator *gpu,
                    const uint8_t *images, const uint32_t *rows, uint32_t n)
{
    static int32_t want_said[MANY], said[MANY];
    struct tr_score want, got, want_views = {0}, views = {0};
    if (images) {
        expect_ok(tr_evaluate(host, b->weights, images, b->labels, rows, n, want_said, &want));
        expect_ok(tr_evaluate(gpu, b->weights, images, b->labels, rows, n, said, &got));
        assert_memory_equal(said, want_said, n * sizeof *said);
    } else {
        expect_ok(tr_evaluate_views(host, b->weights, b->images, b->labels, n, &want, &want_views));
        expect_ok(tr_evaluate_views(gpu, b->weights, b->images, b->labels, n, &got, &views));
    }
    assert_int_equal(got.correct, want.correct);
    assert_int_equal(views.correct, want_views.correct);
    assert_true(fabs(got.loss - want.loss) < 1e-6 && fabs(views.loss - want_views.loss) < 1e-6);
}

static void scores_are_the_hosts(void **state)
{
    struct bench *b = open_bench();
    struct tr_evaluator *host = open_evaluator(b, NULL, 1);
    for (int nlanes = 1; nlanes <= 4; nlanes += 3) {
        struct tr_evaluator *gpu = open_evaluator(b, *state, nlanes);
        compare(b, host, gpu, b->images, NULL, STAY);
        compare(b, host, gpu, b->others, NULL, MANY); /* none of them stays */
        compare(b, host, gpu, NULL, NULL, STAY);
        compare(b, host, gpu, b->images, NULL, MANY); /* the last ones do not */
        compare(b, host, gpu, b->images, b->rows, MANY);
        compare(b, host, gpu, b->images, NULL, 1);
        b->weights[0] += 1; /* they are taken anew each time */
        compare(b, host, gpu, b->images, NULL, STAY);
        tr_evaluator_close(&gpu);
    }
    tr_evaluator_close(&host);
    close_bench(b);
}

static int run_on(struct nn_device *device)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(scores_are_the_hosts, device)};
    printf("on %s\n", nn_device_describe(device));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nn_device_close(&device);
    return failed;
}

int main(void)
{
    struct nn_device *device;
    cm_log_set_level(CM_LOG_ERROR);
    if (nn_gpu_open(&device, &driver_host, 0) != CM_OK)
        return 1;
    int failed = run_on(device);
    if (nn_device_open(&device, "cuda") == CM_OK)
        failed += run_on(device);
    else
        printf("not on a GPU: %s\n", cm_error_text());
    return failed;
}
