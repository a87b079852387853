/* Evaluation on a device against the host's: images that stay there and images that are brought,
 * views, several chunks under way. On the host as a GPU (driver_host.h), and on a GPU where there
 * is one. */
#include "trainer/evaluate.h"

#include <math.h>

#include "common/log.h"
#include "model/backend.h"
#include "tests/parity/first_gpu.h"
#include "tests/unit/evaluate_fixture.h"

#define MANY 1103 /* five chunks, the last one short */
#define STAY 900

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
    struct bench *b = bench_open(MANY);
    static uint8_t others[MANY * PIXELS];
    struct tr_evaluator *host = open_evaluator(b, NULL, 1);
    model_fixture_bytes(others, sizeof others, 2);
    for (int nlanes = 1; nlanes <= 4; nlanes += 3) {
        struct tr_evaluator *gpu = open_evaluator(b, *state, nlanes);
        compare(b, host, gpu, b->images, NULL, STAY);
        compare(b, host, gpu, others, NULL, MANY); /* none of them stays */
        compare(b, host, gpu, NULL, NULL, STAY);
        compare(b, host, gpu, b->images, NULL, MANY); /* the last ones do not */
        compare(b, host, gpu, b->images, b->rows, MANY);
        compare(b, host, gpu, b->images, NULL, 1);
        b->weights[0] += 1; /* they are taken anew each time */
        compare(b, host, gpu, b->images, NULL, STAY);
        tr_evaluator_close(&gpu);
    }
    tr_evaluator_close(&host);
    bench_close(b);
}

static int run_on(struct nn_device *device)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(scores_are_the_hosts, device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    return on_host_and_gpu(run_on);
}
