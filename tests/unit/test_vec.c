#include "common/vec.h"

#include <math.h>

#include "common/mem.h"
#include "common/rng.h"
#include "tests/unit/expect.h"

#define N (5 * CM_VEC_BLOCK + 37)

static const size_t lengths[] = {
    0, 1, 7, 15, 16, 17, 33, CM_VEC_BLOCK - 1, CM_VEC_BLOCK, CM_VEC_BLOCK + 1, N};
#define NLENGTHS (sizeof lengths / sizeof *lengths)

static float *x, *y, *z; /* (N) */

static float number(uint32_t i)
{
    return cm_rng_unit(cm_rng_u32(5, CM_RNG_SYNTHETIC, 0, 0, i)) - 0.5f;
}

static int setup(void **state)
{
    (void)state;
    expect_ok(cm_alloc_aligned(&x, N, sizeof *x, "x"));
    expect_ok(cm_alloc_aligned(&y, N, sizeof *y, "y"));
    expect_ok(cm_alloc_aligned(&z, N, sizeof *z, "z"));
    for (uint32_t i = 0; i < N; i++) {
        x[i] = number(i);
        y[i] = number(N + i);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cm_free(&x);
    cm_free(&y);
    cm_free(&z);
    return 0;
}

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* volatile: one operation at a time, whatever the compiler would like to contract or vectorise. */
static void test_elementwise(void **state)
{
    (void)state;
    for (size_t k = 0; k < NLENGTHS; k++) {
        size_t n = lengths[k];
        for (int op = 0; op < 3; op++) {
            memcpy(z, y, N * sizeof *z);
            if (op == 0)
                cm_vec_add(z, x, n);
            else if (op == 1)
                cm_vec_sum2(z, x, y, n);
            else
                cm_vec_axpby(z, 0.3f, x, 0.7f, n);
            for (size_t i = 0; i < N; i++) {
                volatile float a = 0.3f * x[i], b = 0.7f * y[i];
                volatile float expected = op == 2 ? a + b : x[i] + y[i];
                assert_int_equal(bits(z[i]), bits(i < n ? expected : y[i]));
            }
        }
    }
}

static void test_bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    const struct {
        uint32_t in;
        uint16_t out;
    } list[] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81},
                {0x3f818000, 0x3f82}, {0x3f817fff, 0x3f81}, {0x80000000, 0x8000},
                {0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80},
                {0x00000001, 0x0000}, {0x00018000, 0x0002}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        assert_int_equal(cm_f32_to_bf16(from_bits(list[i].in)), list[i].out);
    /* Every NaN stays one, also those whose payload is in the lower half. */
    const uint32_t nans[] = {0x7f800001, 0x7fffffff, 0xff800001, 0xffc00000};
    for (size_t i = 0; i < 4; i++)
        assert_true(isnan(cm_bf16_to_f32(cm_f32_to_bf16(from_bits(nans[i])))));
    for (uint32_t h = 0; h < 65536; h++) {
        float f = cm_bf16_to_f32((uint16_t)h);
        if (!isnan(f))
            assert_int_equal(cm_f32_to_bf16(f), h);
    }
}

static void test_bf16_arrays(void **state)
{
    (void)state;
    uint16_t *h;
    expect_ok(cm_alloc(&h, N, sizeof *h, "h"));
    cm_vec_to_bf16(h, x, N);
    cm_vec_from_bf16(z, h, N);
    memcpy(y, x, N * sizeof *y);
    cm_vec_round_bf16(y, N);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(h[i], cm_f32_to_bf16(x[i]));
        assert_int_equal(bits(z[i]), (uint32_t)h[i] << 16);
        assert_int_equal(bits(y[i]), bits(z[i]));
    }
    cm_free(&h);
}

/* The order as the header draws it, recursively: a tree over blocks whose left half is the largest
 * power of two; in a block 16 lanes, folded by halves. */
static double block_tree(const float *v, size_t n)
{
    double lane[16] = {0};
    for (size_t i = 0; i < n; i++) {
        volatile double term = (double)v[i] * (double)v[i];
        lane[i % 16] += term;
    }
    for (int half = 8; half > 0; half /= 2) {
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    }
    return lane[0];
}

static double drawn_tree(const float *v, size_t n)
{
    if (n <= CM_VEC_BLOCK)
        return block_tree(v, n);
    size_t nblocks = (n + CM_VEC_BLOCK - 1) / CM_VEC_BLOCK, left = 1;
    while (2 * left < nblocks)
        left *= 2;
    return drawn_tree(v, left * CM_VEC_BLOCK) +
           drawn_tree(v + left * CM_VEC_BLOCK, n - left * CM_VEC_BLOCK);
}

static void test_sums_follow_the_drawn_tree(void **state)
{
    (void)state;
    for (size_t k = 0; k < NLENGTHS; k++) {
        double squares = cm_vec_sum_squares(x, lengths[k]);
        assert_true(squares == drawn_tree(x, lengths[k]));
    }
    for (size_t nblocks = 1; nblocks <= 5; nblocks++)
        assert_true(cm_vec_sum_squares(x, nblocks * CM_VEC_BLOCK) ==
                    drawn_tree(x, nblocks * CM_VEC_BLOCK));
}

static void test_sums_need_double(void **state)
{
    (void)state;
    float big[3] = {4096.0f, 1.0f, 1.0f}; /* 2^24 squared: a float sum would lose the ones */
    assert_true(cm_vec_sum_squares(big, 3) == 16777218.0);
}

static void test_abs_max_and_finite(void **state)
{
    (void)state;
    for (size_t k = 0; k < NLENGTHS; k++) {
        size_t n = lengths[k];
        float expected = 0;
        for (size_t i = 0; i < n; i++)
            expected = fmaxf(expected, fabsf(x[i]));
        assert_true(cm_vec_abs_max(x, n) == expected);
        assert_true(cm_vec_finite(x, n));
    }
    const size_t places[] = {0, 1, 16, CM_VEC_BLOCK - 1, CM_VEC_BLOCK, N - 1};
    const float bad[] = {(float)INFINITY, -(float)INFINITY, (float)NAN, -(float)NAN};
    memcpy(z, x, N * sizeof *z);
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        for (int b = 0; b < 4; b++) {
            z[places[p]] = bad[b];
            assert_false(cm_vec_finite(z, N));
            float max = cm_vec_abs_max(z, N);
            assert_true(b < 2 ? max == (float)INFINITY : (bool)isnan(max));
            z[places[p]] = x[places[p]];
        }
    }
    z[3] = -7;
    assert_true(cm_vec_abs_max(z, N) == 7);
}

static void test_median(void **state)
{
    double one[] = {3}, odd[] = {9, -1, 4}, even[] = {8, 1, 2, 100};
    (void)state;
    assert_true(cm_vec_median(one, 1) == 3);
    assert_true(cm_vec_median(odd, 3) == 4);
    assert_true(cm_vec_median(even, 4) == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise),      cmocka_unit_test(test_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_bf16_arrays),      cmocka_unit_test(test_sums_follow_the_drawn_tree),
        cmocka_unit_test(test_sums_need_double), cmocka_unit_test(test_abs_max_and_finite),
        cmocka_unit_test(test_median),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
