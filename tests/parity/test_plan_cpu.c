/* Whole networks: the fused plans of the cpu backend, and of the GPU backend on the host as a GPU
 * (driver_host.h), against ref's plain one: logits, loss and every gradient after one step of two
 * shards.
 *
 * Compared by the length of the difference over the length of the tensor. fp32: each of about ten
 * layers adds a relative 2^-24 sqrt(terms), so 1e-5 is generous. bf16: ref itself, rounding to bf16
 * what it stores, is off by up to 0.11 here (sums over pixels that nearly cancel, relus that flip);
 * a wrong wire is off by 1. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/rng.h"
#include "model/cuda/gpu.h"
#include "model/init.h"
#include "model/plan.h"
#include "tests/parity/driver_host.h"

#define SHARDS 2
#define IMAGES 6 /* of the first shard; the second has 5 */

struct step {
    const struct nn_backend *backend;
    struct nn_plan *plan;
    float *gradients, *dparam[SHARDS], *logits;
    double loss;
};

struct net {
    struct nn_spec *spec;
    struct nn_layout *layout;
    float *weights;
    uint8_t *images;
    int32_t labels[SHARDS * IMAGES];
    struct nn_batch batch[SHARDS];
};

#define HEAD(side)                                                                                 \
    "{\"format\": \"1.0\", \"name\": \"t\", \"input\": {\"channels\": 3, \"height\": " side        \
    ", \"width\": " side "}, \"preprocess\": {\"mean\": [0.5, 0.5, 0.5], "                         \
    "\"std\": [0.25, 0.25, 0.25]}, \"nodes\": ["
#define N(name, op) "{\"name\": \"" name "\", \"op\": \"" op "\"},"
#define CONV(name, in, out, stride)                                                                \
    "{\"name\": \"" name "\", \"op\": \"conv\", \"out\": " out ", \"kernel\": 3, \"pad\": 1, "     \
    "\"stride\": " stride ", \"bias\": false, \"in\": \"" in "\"},"
#define POOL(name)      "{\"name\": \"" name "\", \"op\": \"maxpool\", \"kernel\": 2},"
#define ADD(name, a, b) "{\"name\": \"" name "\", \"op\": \"add\", \"in\": [\"" a "\", \"" b "\"]},"
#define END                                                                                        \
    N("gap", "avgpool") N("f", "flatten") "{\"name\": \"fc\", \"op\": \"linear\", \"out\": 10}]}"

/* speednet's ways: a frozen whitening, pools in front of norms, gelu, a scaled head. */
static const char speedy[] = HEAD(
    "12") "{\"name\": \"w\", \"op\": \"conv\", \"out\": 24, \"kernel\": 2, \"init\": \"whiten\", "
          "\"freeze_weight\": true}," N("g0", "gelu") CONV("c1", "g0", "16", "1") POOL("p1") N(
              "b1", "batchnorm") N("g1", "gelu") CONV("c2", "g1", "32", "1")
              POOL("p2") "{\"name\": \"b2\", \"op\": \"batchnorm\", \"freeze_weight\": true}," N(
                  "g2", "gelu")
                  N("f", "flatten") "{\"name\": \"fc\", \"op\": \"linear\", \"out\": 10, \"bias\": "
                                    "false},"
                                    "{\"name\": \"x\", \"op\": \"scale\", \"factor\": 0.125}]}";

/* resnet's: a shortcut as it is, one through a strided convolution, relu behind the sum. */
static const char residual[] = HEAD("10") CONV("c0", "input", "16", "1") N("b0", "batchnorm")
    N("r0", "relu") CONV("c1", "r0", "16", "1") N("b1", "batchnorm") N("r1", "relu")
        CONV("c2", "r1", "16", "1") N("b2", "batchnorm") ADD("a2", "b2", "r0") N("r2", "relu")
            CONV("d", "r2", "24", "2") N("bd", "batchnorm") CONV("c3", "r2", "24", "2")
                N("b3", "batchnorm") N("r3", "relu") CONV("c4", "r3", "24", "1")
                    N("b4", "batchnorm") ADD("a4", "b4", "bd") N("r4", "relu") END;

/* No norm: the scratch of a lane is what a product needs, which is a multiple of nothing. */
static const char plain[] = HEAD("10") CONV("c0", "input", "17", "1") N("r0", "relu") END;

static void open_net(struct net *net, const char *text)
{
    struct cm_json *json;
    memset(net, 0, sizeof *net);
    if (strncmp(text, "zoo:", 4) == 0) {
        assert_int_equal(nn_spec_load(&net->spec, text), CM_OK);
    } else {
        assert_int_equal(cm_json_parse(&json, text, strlen(text), "test"), CM_OK);
        if (nn_spec_parse(&net->spec, json, "test") != CM_OK)
            fail_msg("%s", cm_error_text());
        cm_json_close(&json);
    }
    size_t image = nn_shape_count(net->spec->input), n = SHARDS * IMAGES;
    assert_int_equal(nn_layout_open(&net->layout, net->spec), CM_OK);
    assert_int_equal(cm_alloc_aligned(&net->weights, net->layout->ntotal, 4, "weights"), CM_OK);
    assert_int_equal(cm_alloc(&net->images, n * image, 1, "images"), CM_OK);
    for (size_t i = 0; i < n * image; i++)
        net->images[i] = (uint8_t)cm_rng_u32(2, CM_RNG_SYNTHETIC, 0, 0, (uint32_t)i);
    for (size_t i = 0; i < n; i++)
        net->labels[i] = (int32_t)(i * 7 % 10);
    for (int s = 0; s < SHARDS; s++)
        net->batch[s] = (struct nn_batch){.n = IMAGES - s,
                                          .images = net->images + (size_t)s * IMAGES * image,
                                          .labels = net->labels + s * IMAGES};
    assert_int_equal(
        nn_init_weights(net->weights, net->layout, net->spec, 5, net->images, (int64_t)n), CM_OK);
}

static void close_net(struct net *net)
{
    cm_free(&net->images);
    cm_free(&net->weights);
    nn_layout_close(&net->layout);
    nn_spec_close(&net->spec);
}

static void open_step(struct step *step, const struct net *net, const struct nn_backend *backend,
                      enum nn_precision precision)
{
    static const int batches[] = {IMAGES - 1, IMAGES};
    const struct nn_plan_config cfg = {.backend = backend,
                                       .precision = precision,
                                       .training = true,
                                       .nshards = SHARDS,
                                       .batches = batches,
                                       .nbatches = 2,
                                       .nlanes = SHARDS,
                                       .threads = 1,
                                       .label_smoothing = 0.1};
    size_t most = 0;
    memset(step, 0, sizeof *step);
    step->backend = backend;
    if (nn_plan_open(&step->plan, net->spec, net->layout, &cfg) != CM_OK)
        fail_msg("%s", cm_error_text());
    for (int op = 0; op < nn_plan_nops(step->plan); op++)
        most = nn_plan_dparam(step->plan, op) > most ? nn_plan_dparam(step->plan, op) : most;
    for (int s = 0; s < SHARDS; s++)
        assert_int_equal(cm_alloc_aligned(&step->dparam[s], most, 4, "dparam"), CM_OK);
    assert_int_equal(cm_alloc_aligned(&step->gradients, net->layout->ntotal, 4, "grad"), CM_OK);
    assert_int_equal(
        cm_alloc(&step->logits, SHARDS * IMAGES * (size_t)net->spec->nclasses, 4, "logits"), CM_OK);
    assert_int_equal(nn_plan_prepare_all(step->plan, net->weights), CM_OK);
}

static void close_step(struct step *step)
{
    nn_plan_close(&step->plan);
    for (int s = 0; s < SHARDS; s++)
        cm_free(&step->dparam[s]);
    cm_free(&step->gradients);
    cm_free(&step->logits);
}

/* A GPU has only been given its work when a call returns. */
static void settle(const struct step *step)
{
    if (step->backend->settle)
        assert_int_equal(step->backend->settle(step->backend), CM_OK);
}

static void run_step(struct step *step, const struct net *net)
{
    struct nn_plan *plan = step->plan;
    int nops = nn_plan_nops(plan);
    step->loss = 0;
    for (int s = 0; s < SHARDS; s++) {
        struct nn_result result;
        assert_int_equal(nn_plan_input(plan, s, NULL, s, &net->batch[s], 1, 0), CM_OK);
        for (int op = 0; op < nops; op++)
            assert_int_equal(nn_plan_forward(plan, op, s, NULL, s), CM_OK);
        assert_int_equal(
            nn_plan_logits(plan, s, NULL, step->logits + s * IMAGES * net->spec->nclasses), CM_OK);
        assert_int_equal(nn_plan_loss(plan, s, NULL, s, &result), CM_OK);
        settle(step);
        step->loss += result.loss;
    }
    for (int op = nops - 1; op >= 0; op--) {
        for (int s = 0; s < SHARDS; s++)
            assert_int_equal(nn_plan_backward(plan, op, s, NULL, s, step->dparam[s]), CM_OK);
        settle(step);
        for (size_t i = 0; i < nn_plan_dparam(plan, op); i++)
            step->dparam[0][i] += step->dparam[1][i];
        assert_int_equal(nn_plan_finish(plan, op, NULL, step->dparam[0], step->gradients), CM_OK);
        settle(step);
    }
}

/* |a - b| / |b|; 0 for two zero vectors. */
static double distance(const float *a, const float *b, size_t n)
{
    double off = 0, length = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        length += (double)b[i] * (double)b[i];
    }
    return off == 0 ? 0 : sqrt(off / length);
}

static void compare(const struct nn_backend *backend, const char *text, const char *title,
                    enum nn_precision precision, double limit)
{
    struct net net;
    struct step fused, ref;
    open_net(&net, text);
    open_step(&fused, &net, backend, precision);
    open_step(&ref, &net, nn_backend_ref(), NN_PRECISION_FP32);
    assert_true(nn_plan_nops(fused.plan) <= nn_plan_nops(ref.plan));
    run_step(&fused, &net);
    run_step(&ref, &net);
    double worst =
        distance(fused.logits, ref.logits, (size_t)(SHARDS * IMAGES * net.spec->nclasses));
    double loss = fabs(fused.loss - ref.loss) / ref.loss;
    const char *what = "logits";
    for (size_t k = 0; k < net.layout->ntensors; k++) {
        const struct nn_tensor *t = &net.layout->tensors[k];
        double off = distance(fused.gradients + t->offset, ref.gradients + t->offset, t->n);
        if (!(off <= worst)) {
            worst = off;
            what = t->name;
        }
    }
    print_message("%s, %s: %d ops for %d; loss off by %.2g, %s by %.2g (limit %.2g)\n", title,
                  nn_precision_names[precision], nn_plan_nops(fused.plan), nn_plan_nops(ref.plan),
                  loss, what, worst, limit);
    assert_true(worst <= limit && loss <= limit);
    close_step(&ref);
    close_step(&fused);
    close_net(&net);
}

static void compare_nets(const struct nn_backend *backend, enum nn_precision precision,
                         double limit)
{
    compare(backend, "zoo:lenet", "lenet", precision, limit);
    compare(backend, plain, "of one convolution", precision, limit);
    compare(backend, speedy, "like speednet", precision, limit);
    compare(backend, residual, "like resnet", precision, limit);
}

static void test_fp32(void **state)
{
    (void)state;
    compare_nets(nn_backend_cpu(), NN_PRECISION_FP32, 1e-5);
}

static void test_bf16(void **state)
{
    (void)state;
    compare_nets(nn_backend_cpu(), NN_PRECISION_BF16_EMULATED, 0.25);
}

/* The host's memory is this GPU's, so the step's plain arrays serve it too. fp16 has three bits
 * more than bf16, but a relu that flips counts as much (0.044 here). */
static void test_gpu(void **state)
{
    (void)state;
    struct nn_device *gpu;
    assert_int_equal(nn_gpu_open(&gpu, &driver_host, 0), CM_OK);
    compare_nets(nn_device_backend(gpu), NN_PRECISION_FP32, 1e-5);
    compare_nets(nn_device_backend(gpu), NN_PRECISION_BF16, 0.25);
    compare_nets(nn_device_backend(gpu), NN_PRECISION_FP16, 0.1);
    nn_device_close(&gpu);
}

int main(void)
{
    setenv("FLYWHEEL_ZOO", FW_SOURCE_DIR "/model/zoo", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fp32), cmocka_unit_test(test_bf16),
                                       cmocka_unit_test(test_gpu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
