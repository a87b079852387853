/* Every gradient of every ref op against central differences of its forward pass, in fp64.
 *
 * L = sum over i of dy[i] y[i] (for a loss: the loss). With step h = 2^-14 the difference quotient
 * is off by h^2 / 6 times the third derivative (below 1e-8 of the values here) and by 2^-53 L / h
 * (below 1e-9); parameter gradients are stored as fp32 (6e-8). So 1e-6 of the largest gradient of
 * the tensor is generous to rounding and strict to mistakes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/mem.h"
#include "tests/parity/ops.h"

#define STEP      (1.0 / 16384)
#define TOLERANCE 1e-6

static double objective(struct op_run *run)
{
    double sum = 0;
    assert_int_equal(op_run_forward(run), CM_OK);
    if (run->op.desc.kind == NN_OP_LOSS)
        return run->result.loss;
    for (size_t i = 0; i < run->ny; i++)
        sum += op_get(run, run->dy, i) * op_get(run, run->y, i);
    return sum;
}

static double difference_x(struct op_run *run, int k, size_t i)
{
    double x = op_get(run, run->x[k], i);
    op_put(run, run->x[k], i, x + STEP);
    double above = objective(run);
    op_put(run, run->x[k], i, x - STEP);
    double below = objective(run);
    op_put(run, run->x[k], i, x);
    return (above - below) / (2 * STEP);
}

static double difference_param(struct op_run *run, int role, size_t i)
{
    float *p = &run->param[role][i], w = *p; /* w +- STEP is exact in fp32 */
    *p = w + (float)STEP;
    double above = objective(run);
    *p = w - (float)STEP;
    double below = objective(run);
    *p = w;
    return (above - below) / (2 * STEP);
}

static double difference(struct op_run *run, enum op_out out, size_t i)
{
    if (out == OUT_DX0 || out == OUT_DX1)
        return difference_x(run, out == OUT_DX1, i);
    return difference_param(run, out - OUT_WEIGHT, i);
}

/* The largest error of one gradient, as a share of its largest element. */
static double worst_error(struct op_run *run, enum op_out out)
{
    size_t n = op_out_count(run, out);
    double error = 0, scale = 0, *gradient;
    /* Copied first: a loss writes its gradient in every forward pass. */
    assert_int_equal(cm_alloc(&gradient, n, sizeof *gradient, "gradient"), CM_OK);
    for (size_t i = 0; i < n; i++)
        gradient[i] = op_out_value(run, out, i);
    for (size_t i = 0; i < n; i++) {
        double off = fabs(gradient[i] - difference(run, out, i));
        error = off > error ? off : error;
        scale = fabs(gradient[i]) > scale ? fabs(gradient[i]) : scale;
    }
    cm_free(&gradient);
    /* A norm of two values is flat: its gradient is nothing but what eps leaves. */
    return error / (scale > 1e-3 ? scale : 1e-3);
}

/* relu behind a norm: no value may be so near to zero that a step of an input crosses it. */
static void assert_off_kinks(const struct op_case *c)
{
    struct op_case linear = *c;
    struct op_run run;
    if (c->desc.kind != NN_OP_NORM || c->desc.act != NN_ACT_RELU)
        return;
    linear.desc.act = NN_ACT_NONE;
    assert_int_equal(
        op_run_open(&run, nn_backend_ref(), &linear, (struct op_options){.dtype = NN_F64}), CM_OK);
    objective(&run);
    for (size_t i = 0; i < run.ny; i++)
        assert_true(fabs(op_get(&run, run.y, i)) > 8 * STEP);
    op_run_close(&run);
}

static void test_differences(void **state)
{
    (void)state;
    double worst = 0;
    for (size_t i = 0; i < op_ncases; i++) {
        const struct op_case *c = &op_cases[i];
        struct op_run run;
        if (c->large || c->desc.kind == NN_OP_INPUT)
            continue;
        assert_off_kinks(c);
        assert_int_equal(
            op_run_open(&run, nn_backend_ref(), c, (struct op_options){.dtype = NN_F64}), CM_OK);
        objective(&run);
        assert_int_equal(op_run_backward(&run), CM_OK);
        for (enum op_out out = OUT_DX0; out <= OUT_BIAS; out++) {
            double error = worst_error(&run, out);
            if (!(error <= TOLERANCE))
                print_error("%s: %s is off by %.3g\n", c->name, op_out_names[out], error);
            assert_true(error <= TOLERANCE);
            worst = error > worst ? error : worst;
        }
        op_run_close(&run);
    }
    print_message("largest error of a gradient: %.2g of its largest element (limit %.2g)\n", worst,
                  TOLERANCE);
}

/* The two last parts of a norm's dparam: n mean, n unbiased variance, of the pooled input. */
static void test_statistics(void **state)
{
    (void)state;
    static const struct op_case c = {
        "norm", {.kind = NN_OP_NORM, .x = {3, 4, 2}, .eps = 1e-5, .need_dx = true}, 3, false};
    struct op_run run;
    assert_int_equal(op_run_open(&run, nn_backend_ref(), &c, (struct op_options){.dtype = NN_F64}),
                     CM_OK);
    assert_int_equal(op_run_forward(&run), CM_OK);
    assert_int_equal(op_run_backward(&run), CM_OK);
    for (size_t channel = 0; channel < 3; channel++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < 24; i++)
            sum += op_get(&run, run.x[0], i * 3 + channel);
        for (size_t i = 0; i < 24; i++)
            squares += pow(op_get(&run, run.x[0], i * 3 + channel) - sum / 24, 2);
        assert_true(fabs(op_out_value(&run, OUT_MEAN, channel) - 3 * sum / 24) < 1e-6);
        assert_true(fabs(op_out_value(&run, OUT_VAR, channel) - 3 * squares / 23) < 1e-5);
    }
    op_run_close(&run);
}

static void test_frozen(void **state)
{
    (void)state;
    for (size_t i = 0; i < op_ncases; i++) {
        struct op_case c = op_cases[i];
        struct op_run run;
        c.desc.freeze_weight = c.desc.freeze_bias = true;
        assert_int_equal(
            op_run_open(&run, nn_backend_ref(), &c, (struct op_options){.dtype = NN_F32}), CM_OK);
        assert_int_equal(op_run_forward(&run), CM_OK);
        assert_int_equal(op_run_backward(&run), CM_OK);
        for (enum op_out out = OUT_WEIGHT; out <= OUT_BIAS; out++)
            for (size_t k = 0; k < op_out_count(&run, out); k++)
                assert_true(op_out_value(&run, out, k) == 0);
        op_run_close(&run);
    }
}

static void test_loss_faults(void **state)
{
    (void)state;
    static const struct op_case c = {"loss", {.kind = NN_OP_LOSS, .x = {4, 1, 1}}, 2, false};
    for (int32_t label = -1; label <= 4; label += 5) {
        struct op_run run;
        int32_t labels[2] = {0, label};
        assert_int_equal(
            op_run_open(&run, nn_backend_ref(), &c, (struct op_options){.dtype = NN_F32}), CM_OK);
        const int32_t *own = run.batch.labels;
        run.batch.labels = labels;
        assert_int_equal(op_run_forward(&run), CM_EINVAL);
        run.batch.labels = own;
        op_run_close(&run);
    }
}

/* correct: ties go to the lower class, a NaN is never the top, and shows in the loss. */
static void test_top_class(void **state)
{
    (void)state;
    static const struct op_case c = {"loss", {.kind = NN_OP_LOSS, .x = {3, 1, 1}}, 4, false};
    static const double z[] = {1, 1, 0, 0, 1, 1, 0, 2, 1, 0, 0, 5};
    static const int32_t labels[] = {0, 2, 1, 2}; /* right by tie, wrong by tie, right, right */
    struct op_run run;
    assert_int_equal(op_run_open(&run, nn_backend_ref(), &c, (struct op_options){.dtype = NN_F64}),
                     CM_OK);
    const int32_t *own = run.batch.labels;
    run.batch.labels = labels;
    for (size_t i = 0; i < 12; i++)
        op_put(&run, run.x[0], i, z[i]);
    assert_int_equal(op_run_forward(&run), CM_OK);
    assert_int_equal(run.result.correct, 3);
    assert_int_equal(run.result.count, 4);
    op_put(&run, run.x[0], 11, (double)NAN);
    assert_int_equal(op_run_forward(&run), CM_OK);
    assert_int_equal(run.result.correct, 2);
    assert_true(isnan(run.result.loss));
    run.batch.labels = own;
    op_run_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences), cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_frozen),      cmocka_unit_test(test_loss_faults),
        cmocka_unit_test(test_top_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
