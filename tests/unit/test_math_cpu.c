/* Our own exp, normal distribution, sigmoid and tanh against the C library in double, over the
 * floats of each range. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/kernels/math_cpu.h"
#include "model/math64.h"

/* Distance in units of the last place of the float nearest to want. */
static double ulps(float got, double want)
{
    int exponent;
    (void)frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1.0, exponent - 24 < -149 ? -149 : exponent - 24);
}

static float first_lane(nn_vf v)
{
    return v[0];
}

static float our_exp(float x)
{
    return first_lane(nn_exp(nn_splat(x)));
}

static float our_cdf(float x)
{
    nn_vf gauss;
    return first_lane(nn_normal_cdf(nn_splat(x), &gauss));
}

static float our_gauss(float x)
{
    nn_vf gauss;
    (void)nn_normal_cdf(nn_splat(x), &gauss);
    return first_lane(gauss);
}

static float our_sigmoid(float x)
{
    return first_lane(nn_sigmoid(nn_splat(x)));
}

static float our_tanh(float x)
{
    return first_lane(nn_tanh(nn_splat(x)));
}

static double cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

static double gauss(double x)
{
    return exp(-0.5 * x * x);
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* Largest error, in units of the last place, over steps of low .. high and over small magnitudes of
 * both signs. */
static double worst_ulps(const char *name, float (*f)(float), double (*want)(double), double low,
                         double high)
{
    const int steps = 400000;
    double worst = 0.0;
    for (int i = 0; i <= steps; i++) {
        float x = (float)(low + (high - low) * i / steps);
        worst = fmax(worst, ulps(f(x), want((double)x)));
    }
    for (float x = 1.0f; x > 1e-30f; x *= 0.9f) {
        worst = fmax(worst, ulps(f(x), want((double)x)));
        worst = fmax(worst, ulps(f(-x), want((double)-x)));
    }
    printf("%s on [%g, %g]: %.2f ulp\n", name, low, high, worst);
    return worst;
}

static void test_exp(void **state)
{
    (void)state;
    assert_true(worst_ulps("exp", our_exp, exp, -87.3, 88.7) < 1.1);
    assert_true(worst_ulps("exp, subnormal", our_exp, exp, -103.0, -87.3) < 1.1);
    assert_true(our_exp(0.0f) == 1.0f);
    assert_true(our_exp(-INFINITY) == 0.0f);
    assert_true(our_exp(-1e30f) == 0.0f);
    assert_true(our_exp(88.8f) == INFINITY);
    assert_true(our_exp(INFINITY) == INFINITY);
    assert_true(isnan(our_exp(NAN)));
}

/* In the tail exp(-x^2 / 2) multiplies the rounding of x^2 by x^2 / 2: so relative precision is
 * asked for near 0, and beside it what matters to a sum, the absolute error. */
static void test_normal(void **state)
{
    (void)state;
    double worst = 0.0;
    for (int i = -1500000; i <= 1500000; i++) {
        float x = (float)i * 1e-5f;
        worst = fmax(worst, fabs((double)our_cdf(x) - cdf((double)x)));
    }
    printf("normal cdf on [-15, 15]: %.2g\n", worst);
    assert_true(worst < 0x1p-22);
    assert_true(worst_ulps("normal cdf", our_cdf, cdf, -1.0, 15.0) < 5.0);
    assert_true(worst_ulps("gauss", our_gauss, gauss, -1.0, 1.0) < 2.0);
    assert_true(our_cdf(0.0f) == 0.5f);
    assert_true(our_cdf(20.0f) == 1.0f);
    assert_true(our_cdf(-20.0f) == 0.0f);
    assert_true(our_cdf(INFINITY) == 1.0f);
    assert_true(our_cdf(-1e30f) == 0.0f);
    assert_true(isnan(our_cdf(NAN)));
}

static void test_sigmoid_tanh(void **state)
{
    (void)state;
    assert_true(worst_ulps("sigmoid", our_sigmoid, sigmoid, -87.0, 40.0) < 2.5);
    assert_true(worst_ulps("tanh", our_tanh, tanh, -12.0, 12.0) < 2.0);
    assert_true(our_sigmoid(-INFINITY) == 0.0f && our_sigmoid(INFINITY) == 1.0f);
    assert_true(our_tanh(-INFINITY) == -1.0f && our_tanh(INFINITY) == 1.0f);
    assert_true(signbit(our_tanh(-0.0f)) != 0);
    assert_true(isnan(our_tanh(NAN)) && isnan(our_sigmoid(NAN)));
}

static void test_activations_keep_nan(void **state)
{
    (void)state;
    nn_vf nan = nn_splat(NAN), one = nn_splat(1.0f);
    for (enum nn_act act = NN_ACT_NONE; act <= NN_ACT_TANH; act++) {
        assert_true(isnan(first_lane(nn_act_forward(nan, act))));
        assert_true(isnan(first_lane(nn_act_backward(one, nan, act))));
    }
    assert_true(first_lane(nn_act_backward(nn_splat(0.0f), one, NN_ACT_RELU)) == 0.0f);
}

static void test_bf16_rounds_to_even(void **state)
{
    (void)state;
    const float in[] = {1.0f, 0x1.01p0f, 0x1.03p0f, 0x1.010002p0f, -0x1.01p0f, 0x1.ffp127f};
    const float want[] = {1.0f, 1.0f, 0x1.04p0f, 0x1.02p0f, -1.0f, INFINITY};
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++)
        assert_true(first_lane((nn_vf)nn_round_bf16(nn_splat(in[i]))) == want[i]);
    assert_true(isnan(first_lane((nn_vf)nn_round_bf16(nn_splat(NAN)))));
}

static double ulps64(double got, double want)
{
    int exponent;
    (void)frexp(want, &exponent);
    return fabs(got - want) / ldexp(1.0, exponent - 53);
}

static void test_math64(void **state)
{
    (void)state;
    double worst_exp = 0.0, worst_log = 0.0;
    for (int i = 0; i <= 200000; i++) {
        double x = -700.0 + 1409.0 * i / 200000, y = exp(-50.0 + 100.0 * i / 200000);
        worst_exp = fmax(worst_exp, ulps64(nn_exp64(x), exp(x)));
        worst_log = fmax(worst_log, ulps64(nn_log64(y), log(y)));
    }
    for (double y = 0.5; y <= 2.0; y += 1e-5)
        worst_log = fmax(worst_log, fabs(nn_log64(y) - log(y)) / 0x1p-53);
    printf("exp64 %.2f ulp, log64 %.2f ulp\n", worst_exp, worst_log);
    assert_true(worst_exp < 2.0 && worst_log < 3.0);
    assert_true(nn_exp64(0.0) == 1.0 && nn_log64(1.0) == 0.0);
    assert_true(nn_exp64(-1000.0) == 0.0 && nn_exp64(1000.0) == (double)INFINITY);
    assert_true(isnan(nn_exp64((double)NAN)) && isnan(nn_log64((double)NAN)));
    assert_true(isnan(nn_log64(-1.0)) && isnan(nn_log64(0.0)));
    assert_true(nn_log64((double)INFINITY) == (double)INFINITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_sigmoid_tanh),
        cmocka_unit_test(test_activations_keep_nan),
        cmocka_unit_test(test_bf16_rounds_to_even),
        cmocka_unit_test(test_math64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
