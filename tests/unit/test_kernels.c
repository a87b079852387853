/* Every kernel gives the same bits on every instruction set of this CPU, at sizes that leave
 * partial vectors, and the plain set gives what the contract says where parity with the oracle does
 * not look: NaN, ties, untouched memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "common/vec.h"
#include "model/kernels/kernels.h"

#define ROWS     39 /* two tiles and a part */
#define CHANNELS 53 /* odd: three vectors of 16 and a part */
#define COUNT    (ROWS * CHANNELS)
#define GUARD    0x5a

/* Inputs, and the outputs of one instruction set: compared as bytes. */
struct arrays {
    float x[COUNT], dy[COUNT], residual[COUNT], mean[CHANNELS], scale[CHANNELS], bias[CHANNELS];
    float u[COUNT];
    uint16_t x_bf16[COUNT], dy_bf16[COUNT], residual_bf16[COUNT];
};

struct outputs {
    double sum[CHANNELS], sum_sq[CHANNELS];
    float a[COUNT * 4], b[COUNT * 4];
    uint8_t places[COUNT];
};

/* Normal numbers with a few very large, very small and zero ones among them. */
static void fill(float *x, size_t n, uint32_t stream)
{
    for (size_t i = 0; i < n; i++) {
        struct cm_rng4 r = cm_rng_block(1, CM_RNG_SYNTHETIC, stream, 0, (uint32_t)i);
        x[i] = (float)cm_rng_normal(r.v[0], r.v[1]);
        if (r.v[2] % 32 == 0)
            x[i] *= 30.0f;
        if (r.v[2] % 32 == 1)
            x[i] *= 1e-39f;
        if (r.v[2] % 32 == 2)
            x[i] = 0.0f;
    }
}

static struct arrays *make_arrays(void)
{
    struct arrays *in = test_calloc(1, sizeof *in);
    fill(in->x, COUNT, 1);
    fill(in->dy, COUNT, 2);
    fill(in->residual, COUNT, 3);
    fill(in->mean, CHANNELS, 4);
    fill(in->scale, CHANNELS, 5);
    fill(in->bias, CHANNELS, 6);
    for (size_t i = 0; i < COUNT; i++)
        in->u[i] = cm_rng_unit(cm_rng_u32(1, CM_RNG_SYNTHETIC, 7, 0, (uint32_t)i));
    cm_vec_to_bf16(in->x_bf16, in->x, COUNT);
    cm_vec_to_bf16(in->dy_bf16, in->dy, COUNT);
    cm_vec_to_bf16(in->residual_bf16, in->residual, COUNT);
    return in;
}

typedef void (*exercise)(const struct nn_kernels *k, const struct arrays *in, enum nn_dtype dtype,
                         enum nn_act act, struct outputs *out);

static const void *pick(enum nn_dtype dtype, const float *f32, const uint16_t *bf16)
{
    return dtype == NN_F32 ? (const void *)f32 : (const void *)bf16;
}

static struct nn_norm_rows norm_rows(const struct arrays *in, enum nn_dtype dtype, enum nn_act act)
{
    return (struct nn_norm_rows){.dtype = dtype,
                                 .act = act,
                                 .c = CHANNELS,
                                 .rows = ROWS,
                                 .z = pick(dtype, in->x, in->x_bf16),
                                 .residual = pick(dtype, in->residual, in->residual_bf16),
                                 .mean = in->mean,
                                 .scale = in->scale,
                                 .bias = in->bias};
}

static void norm_forward(const struct nn_kernels *k, const struct arrays *in, enum nn_dtype dtype,
                         enum nn_act act, struct outputs *out)
{
    struct nn_norm_rows rows = norm_rows(in, dtype, act);
    k->norm->sums(dtype, rows.z, ROWS, CHANNELS, in->mean, out->sum, out->sum_sq);
    k->norm->apply(&rows, out->a);
    rows.residual = NULL;
    k->norm->apply(&rows, out->b);
}

static void norm_backward(const struct nn_kernels *k, const struct arrays *in, enum nn_dtype dtype,
                          enum nn_act act, struct outputs *out)
{
    struct nn_norm_rows rows = norm_rows(in, dtype, act);
    k->norm->backward_sums(&rows, pick(dtype, in->dy, in->dy_bf16), out->a, out->sum, out->sum_sq);
    k->norm->backward_apply(&rows, out->a, in->mean, in->bias, out->b);
}

static void map(const struct nn_kernels *k, const struct arrays *in, enum nn_dtype dtype,
                enum nn_act act, struct outputs *out)
{
    const void *x = pick(dtype, in->x, in->x_bf16), *dy = pick(dtype, in->dy, in->dy_bf16);
    k->map->act(dtype, act, x, out->a, COUNT);
    k->map->act_backward(dtype, act, x, dy, out->a + COUNT, COUNT);
    k->map->add(dtype, x, dy, out->a + 2 * COUNT, COUNT);
    k->map->scale(dtype, 0.3f, x, out->a + 3 * COUNT, COUNT);
    k->map->keep(dtype, in->u, 0.25f, 1.0f / 0.75f, x, out->b, COUNT);
}

/* 39 rows of channels are an image of 3 x 13 pixels. */
static void pool(const struct nn_kernels *k, const struct arrays *in, enum nn_dtype dtype,
                 enum nn_act act, struct outputs *out)
{
    (void)act;
    const struct nn_window windows[] = {{CHANNELS, 3, 13, 1, 6, 2, 2, 0, 0.25f},
                                        {CHANNELS, 3, 13, 3, 13, 3, 1, 1, 1.0f / 9.0f},
                                        {CHANNELS, 3, 13, 1, 4, 3, 3, 0, 1.0f / 9.0f},
                                        {CHANNELS, 3, 13, 2, 7, 2, 2, 1, 0.25f}};
    const void *x = pick(dtype, in->x, in->x_bf16), *dy = pick(dtype, in->dy, in->dy_bf16);
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        float *a = out->a + i % 2 * 2 * COUNT, *b = out->b + i % 2 * 2 * COUNT;
        k->pool->max(&windows[i], dtype, x, a, out->places);
        k->pool->max_backward(&windows[i], dtype, dy, out->places, a + COUNT);
        k->pool->average(&windows[i], dtype, x, b);
        k->pool->average_backward(&windows[i], dtype, dy, b + COUNT);
    }
}

static void run(exercise fn, const struct nn_kernels *k, const struct arrays *in,
                enum nn_dtype dtype, enum nn_act act, struct outputs *out)
{
    memset(out, GUARD, sizeof *out);
    memset(out->sum, 0, sizeof out->sum);
    memset(out->sum_sq, 0, sizeof out->sum_sq);
    fn(k, in, dtype, act, out);
}

static void assert_same_bits(exercise fn)
{
    struct arrays *in = make_arrays();
    struct outputs *want = test_malloc(sizeof *want), *got = test_malloc(sizeof *got);
    for (int i = 1; i < NN_KERNELS_COUNT; i++) {
        if (!nn_kernels_all[i].supported()) {
            printf("no %s on this CPU: not compared\n", nn_kernels_all[i].isa);
            continue;
        }
        for (enum nn_act act = NN_ACT_NONE; act <= NN_ACT_TANH; act++)
            for (enum nn_dtype dtype = NN_F32; dtype <= NN_BF16; dtype++) {
                run(fn, &nn_kernels_all[0], in, dtype, act, want);
                run(fn, &nn_kernels_all[i], in, dtype, act, got);
                assert_memory_equal(got, want, sizeof *want);
            }
    }
    test_free(in);
    test_free(want);
    test_free(got);
}

static void test_norm_forward(void **state)
{
    (void)state;
    assert_same_bits(norm_forward);
}

static void test_norm_backward(void **state)
{
    (void)state;
    assert_same_bits(norm_backward);
}

static void test_map(void **state)
{
    (void)state;
    assert_same_bits(map);
}

static void test_pool(void **state)
{
    (void)state;
    assert_same_bits(pool);
}

/* A kernel must not touch what lies behind its last element, also where that element is in a
 * partial vector. */
static void test_nothing_past_the_end(void **state)
{
    (void)state;
    float x[40], y[40];
    fill(x, 40, 8);
    for (int i = 0; i < NN_KERNELS_COUNT; i++)
        for (size_t n = 0; n < 36 && nn_kernels_all[i].supported(); n++) {
            uint8_t guard[sizeof y];
            memset(y, GUARD, sizeof y);
            memset(guard, GUARD, sizeof guard);
            nn_kernels_all[i].map->scale(NN_F32, 2.0f, x, y, n);
            for (size_t k = 0; k < n; k++)
                assert_true(y[k] == 2.0f * x[k]);
            assert_memory_equal(y + n, guard, sizeof y - n * sizeof *y);
            memset(y, GUARD, sizeof y);
            nn_kernels_all[i].map->scale(NN_BF16, 2.0f, x, y, n);
            assert_memory_equal((uint16_t *)y + n, guard, sizeof y - n * 2);
        }
}

static void test_max_takes_the_first_and_nan(void **state)
{
    (void)state;
    const struct nn_window g = {.c = 1, .h = 2, .w = 4, .oh = 1, .ow = 2, .kernel = 2, .stride = 2};
    const float x[] = {3.0f, 3.0f, 1.0f, NAN, 3.0f, 2.0f, 9.0f, NAN};
    const float dy[] = {5.0f, 7.0f}, want[] = {5.0f, 0.0f, 0.0f, 7.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 0; i < NN_KERNELS_COUNT; i++) {
        float y[2], dx[8];
        uint8_t places[2];
        if (!nn_kernels_all[i].supported())
            continue;
        nn_kernels_all[i].pool->max(&g, NN_F32, x, y, places);
        assert_true(y[0] == 3.0f && isnan(y[1]));
        assert_int_equal(places[0], 0);
        assert_int_equal(places[1], 1);
        nn_kernels_all[i].pool->max_backward(&g, NN_F32, dy, places, dx);
        assert_memory_equal(dx, want, sizeof want);
    }
}

/* The variance of values far from zero: sums of squares alone would lose it. */
static void test_sums_do_not_cancel(void **state)
{
    (void)state;
    enum { rows = 4099 };
    float *x = test_malloc(rows * sizeof *x);
    double sum = 0.0, sum_sq = 0.0, mean = 0.0, squares = 0.0;
    for (int i = 0; i < rows; i++)
        x[i] = 1000.0f + (float)(i % 7);
    for (int i = 0; i < rows; i++)
        mean += (double)x[i] / rows;
    for (int i = 0; i < rows; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    nn_kernels_best()->norm->sums(NN_F32, x, rows, 1, x, &sum, &sum_sq);
    assert_true(fabs((double)x[0] + sum / rows - mean) < 1e-9);
    assert_true(fabs((sum_sq - sum * sum / rows) / squares - 1.0) < 1e-6);
    test_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm_forward),
        cmocka_unit_test(test_norm_backward),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_nothing_past_the_end),
        cmocka_unit_test(test_max_takes_the_first_and_nan),
        cmocka_unit_test(test_sums_do_not_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
