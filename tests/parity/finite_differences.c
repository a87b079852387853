#include "tests/parity/finite_differences.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/mem.h"

#define STEP      (1.0 / 16384)
#define TOLERANCE 1e-6

static const struct op_options exact = {.dtype = NN_F64};

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

/* The largest error of one gradient, as a share of what is allowed. */
static double worst_share(const struct op_run *run, struct op_run *ref, enum op_out out)
{
    size_t n = op_out_count(run, out);
    bool wide = run->op.desc.dtype == NN_F64;
    double error = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double gradient = op_out_value(run, out, i);
        double off = fabs(gradient - difference(ref, out, i));
        error = off <= error ? error : off; /* NaN stays */
        scale = fabs(gradient) > scale ? fabs(gradient) : scale;
    }
    /* A norm of two values is flat: its gradient is nothing but what eps leaves, and in fp32 the
     * rounding of terms as large as the inputs. */
    if (wide)
        return error / (TOLERANCE * (scale > 1e-3 ? scale : 1e-3));
    return error /
           ((TOLERANCE + 8 * sqrt(op_out_terms(run, out)) / 16777216) * (scale > 1 ? scale : 1));
}

/* relu behind a norm: whether no value is so near to zero that a step of an input crosses it. */
static bool is_off_kinks(const struct op_case *c)
{
    struct op_case linear = *c;
    struct op_run run;
    bool off = true;
    if (c->desc.kind != NN_OP_NORM || c->desc.act != NN_ACT_RELU)
        return true;
    linear.desc.act = NN_ACT_NONE;
    assert_int_equal(op_run_open(&run, nn_backend_ref(), &linear, exact), CM_OK);
    objective(&run);
    for (size_t i = 0; i < run.ny; i++)
        off = off && fabs(op_get(&run, run.y, i)) > 8 * STEP;
    op_run_close(&run);
    return off;
}

static double compare_op(const struct nn_backend *backend, const struct op_case *c,
                         struct op_options options)
{
    struct op_run run, ref;
    double worst = 0;
    if (op_run_open(&run, backend, c, options) != CM_OK)
        fail_msg("%s: %s", c->name, cm_error_text());
    assert_int_equal(op_run_open(&ref, nn_backend_ref(), c, exact), CM_OK);
    if (op_run_forward(&run) != CM_OK || op_run_backward(&run) != CM_OK)
        fail_msg("%s: %s", c->name, cm_error_text());
    for (enum op_out out = OUT_DX0; out <= OUT_BIAS; out++) {
        double share = worst_share(&run, &ref, out);
        if (!(share <= 1))
            fail_msg("%s: %s is off by %.3g of the tolerance", c->name, op_out_names[out], share);
        worst = share > worst ? share : worst;
    }
    op_run_close(&ref);
    op_run_close(&run);
    return worst;
}

void compare_with_differences(const struct nn_backend *backend, struct op_options options)
{
    double worst = 0;
    int left_out = 0;
    print_message("seed: %u\n", op_seed());
    for (size_t i = 0; i < op_ncases; i++) {
        const struct op_case *c = &op_cases[i];
        if (c->large || c->desc.kind == NN_OP_INPUT)
            continue;
        if (!is_off_kinks(c)) {
            left_out++;
            continue;
        }
        double share = compare_op(backend, c, options);
        worst = share > worst ? share : worst;
    }
    assert_true(left_out == 0 || op_seed() != 0);
    print_message("%s gradients: largest error %.2f of the tolerance; %d cases left out\n",
                  nn_dtype_name(options.dtype), worst, left_out);
}
