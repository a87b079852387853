/* eigen.h: A = sum of value v v^T, v orthonormal, values descending; repeated and zero values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "model/eigen.h"

#define N 12

static void check(const double *a, int n)
{
    double work[N * N], value[N], vector[N * N], top = 0;
    memcpy(work, a, sizeof *work * (size_t)(n * n));
    for (int i = 0; i < n * n; i++)
        top = fabs(a[i]) > top ? fabs(a[i]) : top;
    assert_int_equal(nn_eigen_symmetric(work, n, value, vector), CM_OK);
    for (int i = 0; i < n; i++) {
        assert_true(i == 0 || value[i - 1] >= value[i]);
        for (int j = 0; j < n; j++) {
            double dot = 0, sum = 0;
            for (int k = 0; k < n; k++) {
                dot += vector[i * n + k] * vector[j * n + k];
                sum += value[k] * vector[k * n + i] * vector[k * n + j];
            }
            assert_true(fabs(dot - (i == j)) < 1e-13);
            assert_true(fabs(sum - a[i * n + j]) <= 1e-13 * top);
        }
    }
}

static void test_random(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 50; round++) {
        double a[N * N];
        for (uint32_t i = 0; i < N; i++)
            for (uint32_t j = 0; j <= i; j++)
                a[i * N + j] = a[j * N + i] =
                    (double)cm_rng_unit(cm_rng_u32(3, CM_RNG_SYNTHETIC, round, i, j)) - 0.5;
        check(a, N);
    }
}

static void test_special(void **state)
{
    (void)state;
    static const double one[] = {4}, zero[9], swap[] = {0, 1, 1, 0},
                        ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1},
                        wide[] = {1e12, 1, 0, 1, 1, 1e-3, 0, 1e-3, 1e-6};
    check(one, 1);
    check(zero, 3);
    check(swap, 2);
    check(ones, 3);
    check(wide, 3);
}

static void test_not_finite(void **state)
{
    (void)state;
    double a[] = {1, (double)NAN, (double)NAN, 1}, value[2], vector[4];
    assert_int_equal(nn_eigen_symmetric(a, 2, value, vector), CM_ENUMERIC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_special),
                                       cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
