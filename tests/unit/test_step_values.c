#include "model/step.h"

#include <math.h>

#include "model/cuda/number.h"
#include "tests/unit/expect.h"

static void decide(struct nn_step_values *v, double loss, double squares, double statistics)
{
    const struct nn_step_rule rule = {.mean = 1, .clip_norm = 0};
    nn_step_decide(v, &rule, (double[]){loss, 3, 8}, (double[]){squares, statistics});
}

static void test_mean_and_clip(void **state)
{
    (void)state;
    struct nn_step_values v = {.in = {.step = 7}};
    struct nn_step_rule rule = {.mean = 1, .clip_norm = 0};
    nn_step_decide(&v, &rule, (double[]){2, 3, 8}, (double[]){64, 0});
    assert_true(v.out.step == 7 && v.out.correct == 3 && v.out.count == 8 && !v.out.skip);
    assert_true(v.out.norm == 1 && v.out.scale == 0.125f);
    rule.clip_norm = 0.5;
    nn_step_decide(&v, &rule, (double[]){2, 3, 8}, (double[]){64, 0});
    assert_true(v.out.norm == 1 && v.out.scale == 0.0625f);
    rule = (struct nn_step_rule){.mean = 0, .clip_norm = 100};
    nn_step_decide(&v, &rule, (double[]){2, 3, 8}, (double[]){64, 0});
    assert_true(v.out.norm == 8 && v.out.scale == 1);
}

/* Without a loss scale a number that is not finite ends the run: the weights stay as they were. */
static void test_not_finite_stops(void **state)
{
    (void)state;
    const double bad[3][3] = {
        {(double)NAN, 1, 1}, {1, (double)INFINITY, 1}, {1, 1, -(double)INFINITY}};
    for (int i = 0; i < 3; i++) {
        struct nn_step_values v = {0};
        decide(&v, bad[i][0], bad[i][1], bad[i][2]);
        assert_true(v.out.skip && v.state.stopped);
        decide(&v, 1, 1, 1);
        assert_true(v.out.skip && v.state.stopped);
    }
}

static void test_scale_halves_and_grows(void **state)
{
    (void)state;
    struct nn_step_values v = {.state = {.loss_scale = NN_SCALE_FIRST}};
    decide(&v, 1, (double)NAN, 1);
    assert_true(v.out.skip && !v.state.stopped && v.state.skipped == 1);
    assert_true(v.state.loss_scale == NN_SCALE_FIRST / 2 && v.state.clean == 0);
    for (int i = 0; i < NN_SCALE_GROWTH - 1; i++)
        decide(&v, 1, 1, 1);
    assert_true(v.state.loss_scale == NN_SCALE_FIRST / 2);
    decide(&v, 1, 1, 1);
    assert_true(v.state.loss_scale == NN_SCALE_FIRST && v.state.clean == 0 && !v.out.skip);
    /* The update is with the scale that the gradients were made with. */
    assert_true(v.out.scale == 1 / (8 * NN_SCALE_FIRST / 2));
}

static void test_scale_has_bounds(void **state)
{
    (void)state;
    struct nn_step_values v = {.state = {.loss_scale = 2}};
    decide(&v, 1, (double)NAN, 1);
    assert_true(v.state.loss_scale == 1 && v.out.skip && !v.state.stopped); /* 1 is tried, too */
    decide(&v, 1, (double)NAN, 1);
    assert_true(v.state.loss_scale == 1 && v.out.skip && v.state.stopped);
    v = (struct nn_step_values){.state = {.loss_scale = 64}};
    decide(&v, (double)NAN, 1, 1); /* no scale mends a loss */
    decide(&v, 1, (double)NAN, 1); /* nor does a step behind it change one */
    assert_true(v.out.skip && v.state.stopped);
    assert_true(v.state.loss_scale == 64 && v.state.skipped == 0);
    v = (struct nn_step_values){0};
    v.state.loss_scale = NN_SCALE_MOST;
    v.state.clean = NN_SCALE_GROWTH - 1;
    decide(&v, 1, 1, 1);
    assert_true(v.state.loss_scale == NN_SCALE_MOST);
}

/* Every fp16 there and back; and rounding to nearest even between neighbours. */
static void test_fp16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = nn_f16_to_f32((uint16_t)h);
        if ((h & 0x7fff) > 0x7c00)
            assert_true(isnan(f) && isnan(nn_f16_to_f32(nn_f32_to_f16(f))));
        else
            assert_int_equal(nn_f32_to_f16(f), h);
        if ((h & 0x7fff) >= 0x7bff)
            continue;
        float next = nn_f16_to_f32((uint16_t)(h + 1)), middle = f + (next - f) / 2;
        assert_int_equal(nn_f32_to_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(nn_f32_to_f16(nextafterf(middle, f)), h);
        assert_int_equal(nn_f32_to_f16(nextafterf(middle, next)), h + 1);
    }
    assert_true(nn_f16_to_f32(1) == 0x1p-24f && nn_f16_to_f32(0x3c00) == 1);
    assert_int_equal(nn_f32_to_f16(65520), 0x7c00);
    assert_int_equal(nn_f32_to_f16(65519), 0x7bff);
    assert_int_equal(nn_f32_to_f16(-INFINITY), 0xfc00);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean_and_clip),
        cmocka_unit_test(test_not_finite_stops),
        cmocka_unit_test(test_scale_halves_and_grows),
        cmocka_unit_test(test_scale_has_bounds),
        cmocka_unit_test(test_fp16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
