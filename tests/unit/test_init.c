/* init.h: moments of the default, identity, whitened patches, and that it is a function of the
 * seed. */
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

#define SIDE   10
#define IMAGES 300

static const char text[] =
    "{\"format\": \"1.0\", \"name\": \"t\", "
    "\"input\": {\"channels\": 3, \"height\": 10, \"width\": 10}, "
    "\"preprocess\": {\"mean\": [0.5, 0.4, 0.3], \"std\": [0.25, 0.2, 0.3]}, \"nodes\": ["
    "{\"name\": \"white\", \"op\": \"conv\", \"out\": 24, \"kernel\": 2, \"init\": \"whiten\"},"
    "{\"name\": \"dirac\", \"op\": \"conv\", \"out\": 40, \"kernel\": 3, \"init\": \"dirac\"},"
    "{\"name\": \"bn\", \"op\": \"batchnorm\"},"
    "{\"name\": \"bn0\", \"op\": \"batchnorm\", \"init\": \"zero\"},"
    "{\"name\": \"f\", \"op\": \"flatten\"},"
    "{\"name\": \"big\", \"op\": \"linear\", \"out\": 64},"
    "{\"name\": \"head\", \"op\": \"linear\", \"out\": 32, \"init_std\": 2}]}";

struct net {
    struct nn_spec *spec;
    struct nn_layout *layout;
    float *weights, *again;
    uint8_t *images; /* (IMAGES, SIDE, SIDE, 3), neighbours correlated as in photographs */
};

static void make_images(uint8_t *images)
{
    for (uint32_t n = 0; n < IMAGES; n++)
        for (uint32_t i = 0; i < SIDE * SIDE; i++) {
            uint32_t grey = cm_rng_u32(1, CM_RNG_SYNTHETIC, 0, n, i / 3) % 150;
            for (uint32_t c = 0; c < 3; c++)
                images[(n * SIDE * SIDE + i) * 3 + c] =
                    (uint8_t)(grey + cm_rng_u32(1, CM_RNG_SYNTHETIC, 1 + c, n, i) % 100);
        }
}

static int setup(void **state)
{
    static struct net net;
    struct cm_json *json;
    assert_int_equal(cm_json_parse(&json, text, strlen(text), "test"), CM_OK);
    assert_int_equal(nn_spec_parse(&net.spec, json, "test"), CM_OK);
    cm_json_close(&json);
    assert_int_equal(nn_layout_open(&net.layout, net.spec), CM_OK);
    size_t n = net.layout->ntotal;
    assert_int_equal(cm_alloc(&net.weights, n, sizeof(float), "weights"), CM_OK);
    assert_int_equal(cm_alloc(&net.again, n, sizeof(float), "weights"), CM_OK);
    assert_int_equal(cm_alloc(&net.images, IMAGES * SIDE * SIDE * 3, 1, "images"), CM_OK);
    make_images(net.images);
    memset(net.weights, 0xff, n * sizeof(float)); /* gaps must become zeros */
    assert_int_equal(nn_init_weights(net.weights, net.layout, net.spec, 7, net.images, IMAGES),
                     CM_OK);
    *state = &net;
    return 0;
}

static int teardown(void **state)
{
    struct net *net = *state;
    cm_free(&net->images);
    cm_free(&net->again);
    cm_free(&net->weights);
    nn_layout_close(&net->layout);
    nn_spec_close(&net->spec);
    return 0;
}

static const float *tensor(const struct net *net, const char *name, size_t *n)
{
    const struct nn_tensor *t = nn_layout_find(net->layout, name);
    assert_non_null(t);
    *n = t->n;
    return net->weights + t->offset;
}

static void moments(const float *w, size_t n, double *mean, double *std, double *top)
{
    double sum = 0, squares = 0;
    *top = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)w[i];
        squares += (double)w[i] * (double)w[i];
        *top = fabs((double)w[i]) > *top ? fabs((double)w[i]) : *top;
    }
    *mean = sum / (double)n;
    *std = sqrt((squares - sum * *mean) / (double)(n - 1));
}

/* U(-b, b) with b = 1 / sqrt(fan in): mean 0, deviation b / sqrt 3, no value past b. 64 x 1960
 * values, so the mean is good to 3 b / sqrt(3 n) = 0.005 b, the deviation to 0.5 %. */
static void test_default(void **state)
{
    const struct net *net = *state;
    size_t n;
    double mean, std, top, bound = 1 / sqrt(40 * 49);
    const float *w = tensor(net, "big.weight", &n);
    assert_int_equal(n, 64 * 40 * 49);
    moments(w, n, &mean, &std, &top);
    assert_true(fabs(mean) < 0.005 * bound);
    assert_true(fabs(std / (bound / sqrt(3)) - 1) < 0.005);
    assert_true(top <= bound && top > 0.999 * bound);
    moments(tensor(net, "big.bias", &n), 64, &mean, &std, &top);
    assert_true(top <= bound && top > 0.8 * bound && std > 0.4 * bound);
}

static void test_init_std(void **state)
{
    size_t n;
    double mean, std, top;
    const float *w = tensor(*state, "head.weight", &n);
    moments(w, n, &mean, &std, &top);
    assert_true(fabs(std - 2) < 1e-6);
}

static void test_norm(void **state)
{
    size_t n;
    const float *weight = tensor(*state, "bn.weight", &n), *bias = tensor(*state, "bn.bias", &n);
    const float *mean = tensor(*state, "bn.running_mean", &n);
    const float *var = tensor(*state, "bn.running_var", &n);
    const float *zero = tensor(*state, "bn0.weight", &n);
    for (size_t c = 0; c < n; c++)
        assert_true(weight[c] == 1 && bias[c] == 0 && mean[c] == 0 && var[c] == 1 && zero[c] == 0);
}

/* 24 channels in, 40 out: the first 24 filters pass their channel, the others are random. */
static void test_dirac(void **state)
{
    size_t n;
    const float *w = tensor(*state, "dirac.weight", &n);
    for (size_t o = 0; o < 24; o++)
        for (size_t i = 0; i < 24 * 9; i++)
            assert_true(w[o * 24 * 9 + i] == (i == o * 9 + 4 ? 1.0f : 0.0f));
    double mean, std, top, bound = 1 / sqrt(24 * 9);
    moments(w + 24 * 24 * 9, 16 * 24 * 9, &mean, &std, &top);
    assert_true(top <= bound && fabs(std / (bound / sqrt(3)) - 1) < 0.03);
}

/* The first 12 filters over all patches: mean of (f_a p)(f_b p) is 0 for a != b and
 * l / (l + 5e-4) for a = b, where the eigenvalues l of these images are all above 0.02. */
static void test_whiten(void **state)
{
    const struct net *net = *state;
    size_t n;
    const float *w = tensor(net, "white.weight", &n);
    const struct nn_preprocess *pre = &net->spec->preprocess;
    double moment[12][12] = {{0}}, count = 0;
    assert_int_equal(n, 24 * 12);
    for (int image = 0; image < IMAGES; image++)
        for (int i = 0; i + 1 < SIDE; i++)
            for (int j = 0; j + 1 < SIDE; j++, count++) {
                double out[12] = {0};
                for (int k = 0; k < 12; k++) { /* patch value k: channel, row, column */
                    int c = k / 4, r = i + k % 4 / 2, q = j + k % 2;
                    int byte = net->images[((image * SIDE + r) * SIDE + q) * 3 + c];
                    double x = (byte / 255.0 - (double)pre->mean[c]) / (double)pre->std[c];
                    for (int f = 0; f < 12; f++)
                        out[f] += x * (double)w[f * 12 + k];
                }
                for (int a = 0; a < 12; a++)
                    for (int b = 0; b < 12; b++)
                        moment[a][b] += out[a] * out[b];
            }
    for (int a = 0; a < 12; a++)
        for (int b = 0; b < 12; b++) {
            double m = moment[a][b] / count;
            assert_true(a == b ? m > 0.975 && m < 1.0 : fabs(m) < 1e-5);
        }
    for (size_t i = 0; i < 12 * 12; i++)
        assert_true(w[12 * 12 + i] == -w[i]);
}

static void test_whiten_needs_images(void **state)
{
    struct net *net = *state;
    assert_int_equal(nn_init_weights(net->again, net->layout, net->spec, 7, NULL, 0), CM_ECONFIG);
    assert_non_null(strstr(cm_error_text(), "white"));
}

static void test_seed(void **state)
{
    struct net *net = *state;
    size_t n = net->layout->ntotal;
    assert_int_equal(nn_init_weights(net->again, net->layout, net->spec, 7, net->images, IMAGES),
                     CM_OK);
    assert_memory_equal(net->again, net->weights, n * sizeof(float));
    assert_int_equal(nn_init_weights(net->again, net->layout, net->spec, 8, net->images, IMAGES),
                     CM_OK);
    const struct nn_tensor *t = nn_layout_find(net->layout, "big.weight");
    size_t same = 0;
    for (size_t i = 0; i < t->n; i++)
        same += net->again[t->offset + i] == net->weights[t->offset + i];
    assert_true(same < 10);
    /* Two tensors share no numbers: weight and bias of one shape of draw. */
    const struct nn_tensor *b = nn_layout_find(net->layout, "big.bias");
    assert_memory_not_equal(net->weights + t->offset, net->weights + b->offset,
                            b->n * sizeof(float));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default), cmocka_unit_test(test_init_std),
        cmocka_unit_test(test_norm),    cmocka_unit_test(test_dirac),
        cmocka_unit_test(test_whiten),  cmocka_unit_test(test_whiten_needs_images),
        cmocka_unit_test(test_seed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
