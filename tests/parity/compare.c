#include "tests/parity/compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"

struct worst {
    double share; /* of the tolerance */
    char what[128];
};

static double tolerance(const struct op_run *run, enum op_out out)
{
    double fp32 = 8 * sqrt(op_out_terms(run, out)) / 16777216;
    switch (run->op.desc.dtype) {
    case NN_BF16:
        return fp32 + 4.0 / 512;
    case NN_F16:
        return fp32 + 4.0 / 4096;
    default:
        return fp32;
    }
}

static void compare(const struct op_run *run, const struct op_run *ref, enum op_out out,
                    struct worst *worst)
{
    size_t n = op_out_count(ref, out), at = 0;
    double scale = 1, error = 0;
    assert_int_equal(op_out_count(run, out), n);
    for (size_t i = 0; i < n; i++) {
        double want = op_out_value(ref, out, i), off = fabs(op_out_value(run, out, i) - want);
        scale = fabs(want) > scale ? fabs(want) : scale;
        if (!(off <= error)) { /* NaN too */
            error = off;
            at = i;
        }
    }
    double share = error / (scale * tolerance(run, out));
    if (!(share <= 1))
        fail_msg("%s (%s): %s[%zu] is %.9g, ref has %.9g; off by %.3g, %.1f times the tolerance",
                 run->op.desc.name, nn_dtype_name(run->op.desc.dtype), op_out_names[out], at,
                 op_out_value(run, out, at), op_out_value(ref, out, at), error, share);
    if (share > worst->share) {
        worst->share = share;
        snprintf(worst->what, sizeof worst->what, "%s of %s", op_out_names[out], run->op.desc.name);
    }
}

static const struct nn_backend *backend_of(struct op_options options)
{
    return options.device ? nn_device_backend(options.device) : nn_backend_cpu();
}

static void run_once(struct op_run *run)
{
    bool training = run->op.desc.training;
    if (op_run_forward(run) != CM_OK || (training && op_run_backward(run) != CM_OK))
        fail_msg("%s: %s", run->op.desc.name, cm_error_text());
    const char *trespass = op_run_trespass(run);
    if (trespass)
        fail_msg("%s: writes past the end of its %s", run->op.desc.name, trespass);
}

/* The same bits again, whatever scratch and outputs held before. */
static void run_again(struct op_run *run)
{
    double *first[OUT_COUNT];
    enum op_out last = run->op.desc.training ? OUT_VAR : OUT_Y;
    for (enum op_out out = OUT_Y; out <= last; out++) {
        size_t n = op_out_count(run, out);
        assert_int_equal(cm_alloc(&first[out], n, sizeof(double), "first results"), CM_OK);
        for (size_t i = 0; i < n; i++)
            first[out][i] = op_out_value(run, out, i);
    }
    memset(run->scratch, 0xff, run->op.needs.scratch);
    memset(run->y, 0xff, run->ny * nn_dtype_size(run->op.desc.dtype));
    run_once(run);
    for (enum op_out out = OUT_Y; out <= last; out++) {
        for (size_t i = 0; i < op_out_count(run, out); i++)
            if (first[out][i] != op_out_value(run, out, i))
                fail_msg("%s: %s[%zu] is %.9g at first, then %.9g", run->op.desc.name,
                         op_out_names[out], i, first[out][i], op_out_value(run, out, i));
        cm_free(&first[out]);
    }
}

static void compare_case(const struct op_case *c, struct op_options options, struct worst *worst)
{
    struct op_run run, ref;
    struct op_options exact = options;
    exact.dtype = NN_F64;
    exact.device = NULL;
    exact.emulate_bf16 = false;
    if (op_run_open(&run, backend_of(options), c, options) != CM_OK)
        fail_msg("%s: %s", c->name, cm_error_text());
    assert_int_equal(op_run_open(&ref, nn_backend_ref(), c, exact), CM_OK);
    run_once(&run);
    run_once(&ref);
    for (enum op_out out = OUT_Y; out <= (options.inference ? OUT_Y : OUT_VAR); out++)
        compare(&run, &ref, out, worst);
    if (c->desc.kind == NN_OP_LOSS) {
        assert_int_equal(run.result.count, ref.result.count);
        assert_int_equal(run.result.correct, ref.result.correct);
        assert_true(fabs(run.result.loss - ref.result.loss) <=
                    8 * sqrt(c->desc.x.c) / 16777216 * ref.result.loss);
    }
    run_again(&run);
    op_run_close(&ref);
    op_run_close(&run);
}

static bool has_op(struct op_options options, const struct op_case *c)
{
    return backend_of(options)->impl[c->desc.kind];
}

void compare_all(struct op_options options)
{
    struct worst worst = {0};
    print_message("seed: %u\n", op_seed());
    for (size_t i = 0; i < op_ncases; i++) {
        if (!has_op(options, &op_cases[i]))
            continue;
        struct op_options inference = options;
        inference.inference = true;
        compare_case(&op_cases[i], options, &worst);
        if (op_cases[i].desc.kind == NN_OP_NORM)
            compare_case(&op_cases[i], inference, &worst);
    }
    print_message("%s%s: largest error %.2f of the tolerance, %s\n", nn_dtype_name(options.dtype),
                  options.emulate_bf16 ? " (emulated)" : "", worst.share, worst.what);
}

/* A frozen weight or bias gives zeros and leaves the other gradients alone. */
void compare_frozen(struct op_options options)
{
    for (size_t i = 0; i < op_ncases; i++) {
        struct op_case c = op_cases[i];
        struct worst worst = {0};
        if (!has_op(options, &c))
            continue;
        if (c.desc.kind != NN_OP_CONV && c.desc.kind != NN_OP_NORM && c.desc.kind != NN_OP_LINEAR)
            continue;
        c.desc.freeze_weight = true;
        compare_case(&c, options, &worst);
        c.desc.freeze_weight = false;
        c.desc.freeze_bias = true;
        compare_case(&c, options, &worst);
    }
}

/* Batch norm where the mean is a thousand times the spread: what the difference of two large
 * squares would lose (about 2^20 * 2^-24 of the variance) must not be lost. What remains is the
 * rounding of the mean, 1024 * 2^-25, in each term of a gradient. */
void compare_norm_of_a_large_mean(struct op_options options)
{
    for (size_t i = 0; i < op_ncases; i++) {
        struct op_run run[2]; /* the backend, ref */
        struct op_case c = op_cases[i];
        if (c.desc.kind != NN_OP_NORM)
            continue;
        if (c.desc.act == NN_ACT_RELU) /* what remains may cross its kink */
            c.desc.act = NN_ACT_NONE;
        for (int k = 0; k < 2; k++) {
            struct op_options mine = {.dtype = k ? NN_F64 : NN_F32,
                                      .device = k ? NULL : options.device};
            const struct nn_backend *backend = k ? nn_backend_ref() : backend_of(options);
            assert_int_equal(op_run_open(&run[k], backend, &c, mine), CM_OK);
            for (size_t j = 0; j < run[k].nx; j++)
                op_put(&run[k], run[k].x[0], j,
                       (double)(float)(1024 + op_get(&run[k], run[k].x[0], j)));
            run_once(&run[k]);
        }
        for (enum op_out out = OUT_Y; out <= OUT_VAR; out++)
            for (size_t j = 0; j < op_out_count(&run[1], out); j++) {
                double want = op_out_value(&run[1], out, j), got = op_out_value(&run[0], out, j);
                double terms = out == OUT_Y ? 1 : op_out_terms(&run[1], out);
                if (!(fabs(got - want) <= 1e-3 * (fabs(want) + sqrt(terms))))
                    fail_msg("%s: %s[%zu] is %.9g, ref has %.9g", c.name, op_out_names[out], j, got,
                             want);
            }
        op_run_close(&run[1]);
        op_run_close(&run[0]);
    }
}
