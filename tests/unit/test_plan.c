/* plan.h: whole networks on the ref backend: gradients through a graph with every kind of meeting
 * point, fusion, frozen parts, empty and concurrent shards, and what a plan refuses. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/rng.h"
#include "model/init.h"
#include "model/plan.h"

#define MAX_OPS    64
#define MAX_SHARDS 4
#define MAX_IMAGES 8 /* of a shard */

/* ref with the cpu backend's freedom to fuse. */
static struct nn_backend fusing;

struct net {
    struct nn_spec *spec;
    struct nn_layout *layout;
    struct nn_plan *plan;
    float *weights, *gradients;
    float *dparam[MAX_SHARDS]; /* of one op */
    uint8_t *images;           /* MAX_SHARDS * MAX_IMAGES of them */
    int32_t labels[MAX_SHARDS * MAX_IMAGES];
    struct nn_batch batch[MAX_SHARDS];
    struct nn_result result[MAX_SHARDS];
};

static struct nn_plan_config config(const struct nn_backend *backend, bool training)
{
    static const int batches[] = {2, 3, 4};
    return (struct nn_plan_config){.backend = backend,
                                   .precision = NN_PRECISION_FP32,
                                   .training = training,
                                   .nshards = MAX_SHARDS,
                                   .batches = batches,
                                   .nbatches = 3,
                                   .nlanes = 2,
                                   .threads = 1,
                                   .seed = 11};
}

static void open_net(struct net *net, const char *nodes, const struct nn_plan_config *cfg)
{
    char text[4096];
    struct cm_json *json;
    memset(net, 0, sizeof *net);
    snprintf(text, sizeof text,
             "{\"format\": \"1.0\", \"name\": \"t\", \"input\": {\"channels\": 3, "
             "\"height\": 6, \"width\": 6}, \"preprocess\": {\"mean\": [0.5, 0.5, 0.5], "
             "\"std\": [0.25, 0.25, 0.25]}, \"nodes\": [%s]}",
             nodes);
    assert_int_equal(cm_json_parse(&json, text, strlen(text), "test"), CM_OK);
    if (nn_spec_parse(&net->spec, json, "test") != CM_OK)
        fail_msg("%s", cm_error_text());
    cm_json_close(&json);
    assert_int_equal(nn_layout_open(&net->layout, net->spec), CM_OK);
    size_t n = net->layout->ntotal, image = nn_shape_count(net->spec->input);
    assert_int_equal(cm_alloc(&net->weights, n, sizeof(float), "weights"), CM_OK);
    assert_int_equal(cm_alloc(&net->gradients, n, sizeof(float), "gradients"), CM_OK);
    assert_int_equal(cm_alloc(&net->images, MAX_SHARDS * MAX_IMAGES * image, 1, "images"), CM_OK);
    for (size_t i = 0; i < MAX_SHARDS * MAX_IMAGES * image; i++)
        net->images[i] = (uint8_t)cm_rng_u32(1, CM_RNG_SYNTHETIC, 0, 0, (uint32_t)i);
    for (int i = 0; i < MAX_SHARDS * MAX_IMAGES; i++)
        net->labels[i] = i % net->spec->nclasses;
    assert_int_equal(nn_init_weights(net->weights, net->layout, net->spec, 3, net->images,
                                     MAX_SHARDS * MAX_IMAGES),
                     CM_OK);
    for (int s = 0; s < MAX_SHARDS; s++)
        net->batch[s] = (struct nn_batch){.n = 3,
                                          .images = net->images + (size_t)s * MAX_IMAGES * image,
                                          .labels = net->labels + s * MAX_IMAGES};
    if (nn_plan_open(&net->plan, net->spec, net->layout, cfg) != CM_OK)
        fail_msg("%s", cm_error_text());
    assert_true(nn_plan_nops(net->plan) <= MAX_OPS);
    size_t most = 0;
    for (int op = 0; op < nn_plan_nops(net->plan); op++)
        most = nn_plan_dparam(net->plan, op) > most ? nn_plan_dparam(net->plan, op) : most;
    for (int s = 0; s < MAX_SHARDS; s++)
        assert_int_equal(cm_alloc(&net->dparam[s], most, sizeof(float), "dparam"), CM_OK);
    assert_int_equal(nn_plan_prepare_all(net->plan, net->weights), CM_OK);
}

static void close_net(struct net *net)
{
    nn_plan_close(&net->plan);
    for (int s = 0; s < MAX_SHARDS; s++)
        cm_free(&net->dparam[s]);
    cm_free(&net->images);
    cm_free(&net->gradients);
    cm_free(&net->weights);
    nn_layout_close(&net->layout);
    nn_spec_close(&net->spec);
}

static double forward(struct net *net, int nshards)
{
    struct nn_plan *plan = net->plan;
    double loss = 0;
    for (int s = 0; s < nshards; s++)
        assert_int_equal(nn_plan_input(plan, s, NULL, 0, &net->batch[s], 5, 100u * (unsigned)s),
                         CM_OK);
    for (int op = 0; op < nn_plan_nops(plan); op++)
        for (int s = 0; s < nshards; s++)
            assert_int_equal(nn_plan_forward(plan, op, s, NULL, 0), CM_OK);
    for (int s = 0; s < nshards; s++) {
        assert_int_equal(nn_plan_loss(plan, s, NULL, 0, &net->result[s]), CM_OK);
        loss += net->result[s].loss;
    }
    return loss;
}

static void add_shards(struct net *net, int op, int nshards)
{
    for (int s = 1; s < nshards; s++)
        for (size_t i = 0; i < nn_plan_dparam(net->plan, op); i++)
            net->dparam[0][i] += net->dparam[s][i];
}

static void backward(struct net *net, int nshards)
{
    struct nn_plan *plan = net->plan;
    for (int op = nn_plan_nops(plan) - 1; op >= 0; op--) {
        for (int s = 0; s < nshards; s++) {
            memset(net->dparam[s], 0x7f, nn_plan_dparam(plan, op) * sizeof(float));
            assert_int_equal(nn_plan_backward(plan, op, s, NULL, 0, net->dparam[s]), CM_OK);
        }
        add_shards(net, op, nshards);
        assert_int_equal(nn_plan_finish(plan, op, NULL, net->dparam[0], net->gradients), CM_OK);
    }
}

#define N(name, op)     "{\"name\": \"" name "\", \"op\": \"" op "\"}"
#define TWO(name, a, b) "{\"name\": \"" name "\", \"op\": \"add\", \"in\": [\"" a "\", \"" b "\"]}"
#define CONV(name, in, more)                                                                       \
    "{\"name\": \"" name "\", \"op\": \"conv\", \"out\": 4, \"kernel\": 3, \"pad\": 1, \"in\": "   \
    "\"" in "\"" more "}"
#define FC(name, more) "{\"name\": \"" name "\", \"op\": \"linear\", \"out\": 5" more "}"

/* A value with three readers, an add of a value to itself, a shortcut, dropout and both pools. */
static const char graph[] =
    CONV("c1", "input", "") "," N("b1", "batchnorm") "," N("g1", "gelu") "," CONV("c2", "g1", "") "," N("b2", "batchnorm") "," TWO(
        "a2", "b2",
        "g1") "," N("t2",
                    "tanh") "," TWO("twice", "t2",
                                    "t2") "," N("d",
                                                "dropout") "," TWO("a3", "d",
                                                                   "g1") "," CONV("s", "a3",
                                                                                  ", \"bias\": "
                                                                                  "false") ","
                                                                                           "{\"name"
                                                                                           "\": "
                                                                                           "\"p\", "
                                                                                           "\"op\":"
                                                                                           " \"avgp"
                                                                                           "ool\", "
                                                                                           "\"kerne"
                                                                                           "l\": "
                                                                                           "2},"
                                                                                           "{\"name"
                                                                                           "\": "
                                                                                           "\"m\", "
                                                                                           "\"op\":"
                                                                                           " \"avgp"
                                                                                           "ool\", "
                                                                                           "\"kerne"
                                                                                           "l\": "
                                                                                           "2, "
                                                                                           "\"strid"
                                                                                           "e\": "
                                                                                           "1},"
                                                                                           "{\"name"
                                                                                           "\": "
                                                                                           "\"x\", "
                                                                                           "\"op\":"
                                                                                           " \"scal"
                                                                                           "e\", "
                                                                                           "\"facto"
                                                                                           "r\": "
                                                                                           "0.5}"
                                                                                           "," N(
                                                                                               "b4",
                                                                                               "bat"
                                                                                               "chn"
                                                                                               "or"
                                                                                               "m") "," N("g4",
                                                                                                          "sigmoid") "," N("f",
                                                                                                                           "flatten") "," FC("fc",
                                                                                                                                             "");

/* Every trained parameter against a central difference of the summed loss. Activations are fp32: at
 * h = 2^-7 their rounding moves the quotient by about 1e-5, the third derivative by 1e-4; a wrong
 * wire moves it by its own size. */
static void check_gradients(struct net *net, int nshards)
{
    double worst = 0, h = 1.0 / 128;
    forward(net, nshards);
    backward(net, nshards);
    for (size_t k = 0; k < net->layout->ntensors; k++) {
        const struct nn_tensor *t = &net->layout->tensors[k];
        double scale = 0.05; /* a bias in front of a norm has no gradient */
        for (size_t i = 0; t->trained && i < t->n; i++)
            scale = fmax(scale, fabs((double)net->gradients[t->offset + i]));
        for (size_t i = 0; t->trained && i < t->n; i++) {
            float *w = &net->weights[t->offset + i], kept = *w;
            *w = kept + (float)h;
            double above = forward(net, nshards);
            *w = kept - (float)h;
            double below = forward(net, nshards);
            *w = kept;
            double off = fabs((above - below) / (2 * h) - (double)net->gradients[t->offset + i]);
            if (off > 5e-3 * scale)
                fail_msg("%s[%zu]: %.6g by differences, %.6g backward", t->name, i,
                         (above - below) / (2 * h), (double)net->gradients[t->offset + i]);
            worst = fmax(worst, off / scale);
        }
    }
    print_message("largest error of a gradient: %.2g of its tensor's largest\n", worst);
}

static void test_gradients(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    struct net net;
    open_net(&net, graph, &cfg);
    net.batch[1].n = 2;
    check_gradients(&net, 2);
    close_net(&net);
}

/* The fused plan gives what the plain one does, up to the roundings of values in between. */
static void test_fused(void **state)
{
    (void)state;
    struct nn_plan_config plain = config(nn_backend_ref(), true), fused = config(&fusing, true);
    struct net a, b;
    open_net(&a, graph, &plain);
    open_net(&b, graph, &fused);
    assert_true(nn_plan_nops(b.plan) < nn_plan_nops(a.plan));
    double loss = forward(&a, 2), other = forward(&b, 2);
    assert_true(fabs(loss - other) < 1e-5 * loss);
    backward(&a, 2);
    backward(&b, 2);
    for (size_t i = 0; i < a.layout->ntotal; i++)
        assert_true(fabs((double)(a.gradients[i] - b.gradients[i])) < 1e-4);
    close_net(&b);
    close_net(&a);
}

/* The ranges of all ops tile the parameters, and close from the front while backward goes on. */
static void test_ranges(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(&fusing, true);
    struct net net;
    open_net(&net, graph, &cfg);
    size_t next = 0;
    for (int op = nn_plan_nops(net.plan) - 1; op >= 0; op--) {
        size_t first, count;
        nn_plan_range(net.plan, op, &first, &count);
        assert_true(count == 0 || first == next);
        next += count;
    }
    assert_int_equal(next, net.layout->nparam);
    close_net(&net);
}

/* Frozen: nothing is computed backward in front of the first trained parameter; a frozen weight
 * with a trained bias costs the bias only; frozen parts of the gradient are zeros. */
static void test_frozen(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    static const char nodes[] =
        CONV("c0", "input", ", \"freeze_weight\": true, \"freeze_bias\": true") "," N("r", "relu") "," CONV(
            "c1", "r",
            ", \"freeze_weight\": true") "," N("g",
                                               "gelu") "," CONV("c2", "g",
                                                                "") "," N("f",
                                                                          "flatten") "," FC("fc",
                                                                                            "");
    struct net net;
    open_net(&net, nodes, &cfg);
    for (int op = 0; op < 2; op++) {
        assert_int_equal(nn_plan_dparam(net.plan, op), 0);
        assert_false(nn_plan_op(net.plan, op)->desc.need_dx);
    }
    assert_false(nn_plan_op(net.plan, 2)->desc.need_dx);
    assert_true(nn_plan_op(net.plan, 2)->desc.freeze_weight);
    assert_true(nn_plan_op(net.plan, 3)->desc.need_dx);
    memset(net.gradients, 0x7f, net.layout->ntotal * sizeof(float));
    check_gradients(&net, 1);
    for (size_t k = 0; k < net.layout->ntensors; k++) {
        const struct nn_tensor *t = &net.layout->tensors[k];
        for (size_t i = 0; !t->trained && i < t->n; i++)
            assert_true(net.gradients[t->offset + i] == 0);
    }
    close_net(&net);
}

/* A shard without images adds zeros, to gradients and statistics. */
static void test_empty_shard(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    struct net one, two;
    open_net(&one, graph, &cfg);
    open_net(&two, graph, &cfg);
    two.batch[1].n = 0;
    assert_true(forward(&one, 1) == forward(&two, 2));
    assert_int_equal(two.result[1].count, 0);
    backward(&one, 1);
    backward(&two, 2);
    assert_memory_equal(one.gradients, two.gradients, one.layout->ntotal * sizeof(float));
    float logits[5] = {7};
    assert_int_equal(nn_plan_logits(two.plan, 1, NULL, logits), CM_OK);
    assert_true(logits[0] == 7);
    close_net(&two);
    close_net(&one);
}

/* The statistics part of a gradient: sums over shards of images times batch statistics. */
static void test_statistics(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    static const char nodes[] = N("b", "batchnorm") "," N("f", "flatten") "," FC("fc", "");
    struct net net;
    open_net(&net, nodes, &cfg);
    net.batch[1].n = 2;
    forward(&net, 2);
    backward(&net, 2);
    const struct nn_tensor *mean = nn_layout_find(net.layout, "b.running_mean");
    for (int c = 0; c < 3; c++) {
        double sum = 0;
        for (int s = 0; s < 2; s++)
            for (int i = 0; i < net.batch[s].n * 36; i++)
                sum += (net.batch[s].images[i * 3 + c] / 255.0 - 0.5) / 0.25;
        assert_true(fabs((double)net.gradients[mean->offset + (size_t)c] - sum / 36) < 1e-5);
    }
    close_net(&net);
}

/* In inference norms use the arena's statistics and nothing is dropped: an image's logits do not
 * depend on its company, and less memory is taken. */
static void test_inference(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), false);
    struct nn_plan_config training = config(nn_backend_ref(), true);
    struct net net, other;
    float three[15], two[10];
    open_net(&net, graph, &cfg);
    open_net(&other, graph, &training);
    assert_int_equal(nn_plan_infer(net.plan, NULL, &net.batch[0], three), CM_OK);
    net.batch[0].n = 2;
    assert_int_equal(nn_plan_infer(net.plan, NULL, &net.batch[0], two), CM_OK);
    assert_memory_equal(three, two, sizeof two);
    assert_true(nn_plan_nbytes(net.plan) < nn_plan_nbytes(other.plan) / 2);
    const struct nn_tensor *var = nn_layout_find(net.layout, "b4.running_var");
    net.weights[var->offset] = 4;
    assert_int_equal(nn_plan_infer(net.plan, NULL, &net.batch[0], two), CM_OK);
    assert_memory_not_equal(three, two, sizeof two);
    close_net(&other);
    close_net(&net);
}

/* The mask depends on step, sample and node: two dropouts of one half leave a quarter, not a half
 * (108 values of 3 images: 81 expected, deviation 8), the same step drops the same, another one
 * others. */
static void test_dropout(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    static const char nodes[] = N("f", "flatten") "," N("d1", "dropout") "," N("d2", "dropout");
    struct net net;
    float first[324], again[324];
    open_net(&net, nodes, &cfg);
    for (uint32_t step = 0; step < 3; step++) {
        assert_int_equal(nn_plan_input(net.plan, 0, NULL, 0, &net.batch[0], step % 2, 0), CM_OK);
        for (int op = 0; op < nn_plan_nops(net.plan); op++)
            assert_int_equal(nn_plan_forward(net.plan, op, 0, NULL, 0), CM_OK);
        assert_int_equal(nn_plan_logits(net.plan, 0, NULL, again), CM_OK);
        if (step == 1)
            assert_memory_not_equal(first, again, sizeof first);
        if (step == 2)
            assert_memory_equal(first, again, sizeof first);
        if (step == 0)
            memcpy(first, again, sizeof first);
    }
    int kept = 0;
    for (int i = 0; i < 324; i++)
        kept += first[i] != 0;
    assert_in_range(kept, 81 - 32, 81 + 32);
    /* Images of one shard differ in what they lose. */
    int alike = 0;
    for (int i = 0; i < 108; i++)
        alike += (first[i] != 0) == (first[108 + i] != 0);
    assert_true(alike < 100);
    close_net(&net);
}

/* Shards on two lanes at the same time give the bits of shards one after another. */
static cm_status lane_forward(void *ctx, int64_t op, int64_t shard)
{
    struct net *net = ctx;
    if (op < 0)
        return nn_plan_input(net->plan, (int)shard, NULL, (int)shard % 2, &net->batch[shard], 5,
                             100u * (unsigned)shard);
    if (op == nn_plan_nops(net->plan))
        return nn_plan_loss(net->plan, (int)shard, NULL, (int)shard % 2, &net->result[shard]);
    return nn_plan_forward(net->plan, (int)op, (int)shard, NULL, (int)shard % 2);
}

static cm_status lane_backward(void *ctx, int64_t op, int64_t shard)
{
    struct net *net = ctx;
    return nn_plan_backward(net->plan, (int)op, (int)shard, NULL, (int)shard % 2,
                            net->dparam[shard]);
}

static void sync_lanes(struct ln_lane *lanes[2])
{
    for (int k = 0; k < 2; k++)
        if (ln_lane_sync(lanes[k], cm_deadline_in_ms(60000)) != CM_OK)
            fail_msg("%s", cm_error_text());
}

static void run_on_lanes(struct net *net, struct ln_lane *lanes[2])
{
    int nops = nn_plan_nops(net->plan);
    for (int op = -1; op <= nops; op++)
        for (int s = 0; s < MAX_SHARDS; s++)
            ln_lane_run(lanes[s % 2], lane_forward, net, op, s);
    for (int op = nops - 1; op >= 0; op--) {
        for (int s = 0; s < MAX_SHARDS; s++)
            ln_lane_run(lanes[s % 2], lane_backward, net, op, s);
        sync_lanes(lanes);
        add_shards(net, op, MAX_SHARDS);
        assert_int_equal(nn_plan_finish(net->plan, op, NULL, net->dparam[0], net->gradients),
                         CM_OK);
    }
}

static void test_lanes(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    struct ln_lane *lanes[2];
    struct net serial, beside;
    open_net(&serial, graph, &cfg);
    open_net(&beside, graph, &cfg);
    for (int k = 0; k < 2; k++)
        assert_int_equal(ln_lane_open(&lanes[k], &(struct ln_config){.name = "test", .core = -1}),
                         CM_OK);
    forward(&serial, MAX_SHARDS);
    backward(&serial, MAX_SHARDS);
    run_on_lanes(&beside, lanes);
    for (int s = 0; s < MAX_SHARDS; s++)
        assert_true(serial.result[s].loss == beside.result[s].loss);
    assert_memory_equal(serial.gradients, beside.gradients, serial.layout->ntotal * sizeof(float));
    for (int k = 0; k < 2; k++)
        ln_lane_close(&lanes[k]);
    close_net(&beside);
    close_net(&serial);
}

static void test_faults(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    struct net net;
    struct nn_plan *plan = NULL;
    open_net(&net, graph, &cfg);
    net.batch[0].n = 5;
    assert_int_equal(nn_plan_input(net.plan, 0, NULL, 0, &net.batch[0], 0, 0), CM_EINVAL);
    assert_non_null(strstr(cm_error_text(), "5 images"));

    static const int falling[] = {3, 2}, nothing[] = {0, 2};
    struct nn_plan_config bad = cfg;
    bad.batches = falling;
    bad.nbatches = 2;
    assert_int_equal(nn_plan_open(&plan, net.spec, net.layout, &bad), CM_EINVAL);
    bad.batches = nothing;
    assert_int_equal(nn_plan_open(&plan, net.spec, net.layout, &bad), CM_EINVAL);
    bad = cfg;
    bad.nshards = 0;
    assert_int_equal(nn_plan_open(&plan, net.spec, net.layout, &bad), CM_EINVAL);
    assert_null(plan);
    close_net(&net);
}

/* One image, one pixel: a variance of one value. */
static void test_too_small_for_norm(void **state)
{
    (void)state;
    static const int one[] = {1, 2};
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    static const char nodes[] = N("g", "avgpool") "," N("tiny", "batchnorm") "," FC("fc", "");
    struct net net;
    struct nn_plan *plan;
    open_net(&net, nodes, &cfg);
    cfg.batches = one;
    cfg.nbatches = 2;
    assert_int_equal(nn_plan_open(&plan, net.spec, net.layout, &cfg), CM_ESHAPE);
    assert_non_null(strstr(cm_error_text(), "tiny"));
    assert_null(plan);
    cfg.training = false;
    assert_int_equal(nn_plan_open(&plan, net.spec, net.layout, &cfg), CM_OK);
    nn_plan_close(&plan);
    close_net(&net);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    struct net net;
    struct nn_plan *plan;
    long k = 1;
    open_net(&net, graph, &cfg);
    for (;; k++) {
        cm_mem_fail_at(k);
        cm_status st = nn_plan_open(&plan, net.spec, net.layout, &cfg);
        cm_mem_fail_at(0);
        if (st == CM_OK)
            break;
        assert_int_equal(st, CM_ENOMEM);
        assert_null(plan);
    }
    assert_true(k > 8);
    nn_plan_close(&plan);
    nn_plan_close(&plan);
    close_net(&net);
}

/* bf16 where only emulation has it; the logits come near those of fp32. */
static void test_precision(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), false);
    struct net net, half;
    float exact[15], rounded[15];
    cfg.precision = NN_PRECISION_AUTO;
    open_net(&net, graph, &cfg);
    assert_int_equal(nn_plan_dtype(net.plan), NN_F32);
    cfg.precision = NN_PRECISION_BF16_EMULATED;
    open_net(&half, graph, &cfg);
    assert_int_equal(nn_plan_dtype(half.plan), NN_BF16);
    assert_int_equal(nn_plan_infer(net.plan, NULL, &net.batch[0], exact), CM_OK);
    assert_int_equal(nn_plan_infer(half.plan, NULL, &half.batch[0], rounded), CM_OK);
    assert_memory_not_equal(exact, rounded, sizeof exact);
    for (int i = 0; i < 15; i++)
        assert_true(fabs((double)(exact[i] - rounded[i])) < 0.02);
    close_net(&half);
    close_net(&net);
}

/* airbench94's own count: 0.236 GFLOP an image forward. */
static void test_flops(void **state)
{
    (void)state;
    struct nn_plan_config cfg = config(nn_backend_ref(), true);
    struct nn_spec *spec;
    struct nn_layout *layout;
    struct nn_plan *plan;
    double sum = 0, step = 0;
    setenv("FLYWHEEL_ZOO", FW_SOURCE_DIR "/model/zoo", 1);
    assert_int_equal(nn_spec_load(&spec, "zoo:speednet"), CM_OK);
    assert_int_equal(nn_layout_open(&layout, spec), CM_OK);
    assert_int_equal(nn_plan_open(&plan, spec, layout, &cfg), CM_OK);
    for (int op = 0; op < nn_plan_nops(plan); op++)
        sum += nn_plan_flops(plan, op);
    assert_true(fabs(sum - 0.236e9) < 0.001e9);
    for (int op = 0; op < nn_plan_nops(plan); op++)
        step += nn_plan_step_flops(plan, op);
    const double whiten = 2.0 * 3 * 2 * 2 * 24 * 31 * 31; /* frozen, and it reads the image */
    assert_true(fabs(step - (3 * sum - 2 * whiten)) < 1);
    nn_plan_close(&plan);
    nn_layout_close(&layout);
    nn_spec_close(&spec);
}

int main(void)
{
    fusing = *nn_backend_ref();
    fusing.name = "ref, fusing";
    fusing.fuses = true;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_empty_shard),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_inference),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_too_small_for_norm),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_precision),
        cmocka_unit_test(test_flops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
