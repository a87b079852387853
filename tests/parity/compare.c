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

/* Of many cases. */
struct tally {
    double share; /* of the tolerance, the largest */
    char what[128];
    int nfailed;
};

/* The other cases are compared, too: what a library cannot do on a new GPU shows in one run. */
__attribute__((format(printf, 2, 3))) static void complain(struct tally *tally, const char *format,
                                                           ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_error("failed: %s\n", text);
    tally->nfailed++;
}

static void judge(const struct tally *tally)
{
    if (tally->nfailed > 0)
        fail_msg("%d cases failed", tally->nfailed);
}

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
                    struct tally *tally)
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
        complain(tally,
                 "%s (%s): %s[%zu] is %.9g, ref has %.9g; off by %.3g, %.1f times the tolerance",
                 run->op.desc.name, nn_dtype_name(run->op.desc.dtype), op_out_names[out], at,
                 op_out_value(run, out, at), op_out_value(ref, out, at), error, share);
    if (share > tally->share) {
        tally->share = share;
        snprintf(tally->what, sizeof tally->what, "%s of %s", op_out_names[out], run->op.desc.name);
    }
}

static const struct nn_backend *backend_of(struct op_options options)
{
    return options.device ? nn_device_backend(options.device) : nn_backend_cpu();
}

static bool run_once(struct op_run *run, struct tally *tally)
{
    bool training = run->op.desc.training;
    const char *name = run->op.desc.name, *dtype = nn_dtype_name(run->op.desc.dtype);
    if (op_run_forward(run) != CM_OK || (training && op_run_backward(run) != CM_OK)) {
        complain(tally, "%s (%s): %s", name, dtype, cm_error_text());
        return false;
    }
    const char *trespass = op_run_trespass(run);
    if (trespass)
        complain(tally, "%s (%s): writes past the end of its %s", name, dtype, trespass);
    return !trespass;
}

static void compare_bits(const struct op_run *run, enum op_out out, const double *first,
                         struct tally *tally)
{
    for (size_t i = 0; i < op_out_count(run, out); i++)
        if (first[i] != op_out_value(run, out, i)) {
            complain(tally, "%s (%s): %s[%zu] is %.9g at first, then %.9g", run->op.desc.name,
                     nn_dtype_name(run->op.desc.dtype), op_out_names[out], i, first[i],
                     op_out_value(run, out, i));
            return;
        }
}

/* The same bits again, whatever scratch and outputs held before. */
static void run_again(struct op_run *run, struct tally *tally)
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
    bool ran = run_once(run, tally);
    for (enum op_out out = OUT_Y; out <= last; out++) {
        if (ran)
            compare_bits(run, out, first[out], tally);
        cm_free(&first[out]);
    }
}

static void compare_loss(const struct op_run *run, const struct op_run *ref, struct tally *tally)
{
    double off = fabs(run->result.loss - ref->result.loss);
    bool near = off <= 8 * sqrt(run->op.desc.x.c) / 16777216 * ref->result.loss;
    if (!near || run->result.count != ref->result.count ||
        run->result.correct != ref->result.correct)
        complain(tally, "%s (%s): loss %.9g, %lld of %lld correct; ref has %.9g, %lld of %lld",
                 run->op.desc.name, nn_dtype_name(run->op.desc.dtype), run->result.loss,
                 (long long)run->result.correct, (long long)run->result.count, ref->result.loss,
                 (long long)ref->result.correct, (long long)ref->result.count);
}

static void compare_case(const struct op_case *c, struct op_options options, struct tally *tally)
{
    struct op_run run, ref;
    struct op_options exact = options;
    exact.dtype = NN_F64;
    exact.device = NULL;
    exact.emulate_bf16 = false;
    if (op_run_open(&run, backend_of(options), c, options) != CM_OK) {
        complain(tally, "%s (%s): %s", c->name, nn_dtype_name(options.dtype), cm_error_text());
        return;
    }
    assert_int_equal(op_run_open(&ref, nn_backend_ref(), c, exact), CM_OK);
    if (run_once(&run, tally) && run_once(&ref, tally)) {
        for (enum op_out out = OUT_Y; out <= (options.inference ? OUT_Y : OUT_VAR); out++)
            compare(&run, &ref, out, tally);
        if (c->desc.kind == NN_OP_LOSS)
            compare_loss(&run, &ref, tally);
        run_again(&run, tally);
    }
    op_run_close(&ref);
    op_run_close(&run);
}

static bool has_op(struct op_options options, const struct op_case *c)
{
    return backend_of(options)->impl[c->desc.kind];
}

void compare_all(struct op_options options)
{
    struct tally tally = {0};
    print_message("seed: %u\n", op_seed());
    for (size_t i = 0; i < op_ncases; i++) {
        if (!has_op(options, &op_cases[i]))
            continue;
        struct op_options inference = options;
        inference.inference = true;
        compare_case(&op_cases[i], options, &tally);
        if (op_cases[i].desc.kind == NN_OP_NORM)
            compare_case(&op_cases[i], inference, &tally);
    }
    print_message("%s%s: largest error %.2f of the tolerance, %s\n", nn_dtype_name(options.dtype),
                  options.emulate_bf16 ? " (emulated)" : "", tally.share, tally.what);
    judge(&tally);
}

/* A frozen weight or bias gives zeros and leaves the other gradients alone. */
void compare_frozen(struct op_options options)
{
    struct tally tally = {0};
    for (size_t i = 0; i < op_ncases; i++) {
        struct op_case c = op_cases[i];
        if (!has_op(options, &c))
            continue;
        if (c.desc.kind != NN_OP_CONV && c.desc.kind != NN_OP_NORM && c.desc.kind != NN_OP_LINEAR)
            continue;
        c.desc.freeze_weight = true;
        compare_case(&c, options, &tally);
        c.desc.freeze_weight = false;
        c.desc.freeze_bias = true;
        compare_case(&c, options, &tally);
    }
    judge(&tally);
}

static void compare_large_mean(const struct op_case *c, struct op_options options,
                               struct tally *tally)
{
    struct op_run run[2]; /* the backend, ref */
    for (int k = 0; k < 2; k++) {
        struct op_options mine = {.dtype = k ? NN_F64 : NN_F32,
                                  .device = k ? NULL : options.device};
        const struct nn_backend *backend = k ? nn_backend_ref() : backend_of(options);
        assert_int_equal(op_run_open(&run[k], backend, c, mine), CM_OK);
        for (size_t j = 0; j < run[k].nx; j++)
            op_put(&run[k], run[k].x[0], j,
                   (double)(float)(1024 + op_get(&run[k], run[k].x[0], j)));
    }
    bool ran = run_once(&run[0], tally) && run_once(&run[1], tally);
    for (enum op_out out = OUT_Y; ran && out <= OUT_VAR; out++)
        for (size_t j = 0; j < op_out_count(&run[1], out); j++) {
            double want = op_out_value(&run[1], out, j), got = op_out_value(&run[0], out, j);
            double terms = out == OUT_Y ? 1 : op_out_terms(&run[1], out);
            if (fabs(got - want) <= 1e-3 * (fabs(want) + sqrt(terms)))
                continue;
            complain(tally, "%s: %s[%zu] is %.9g, ref has %.9g", c->name, op_out_names[out], j, got,
                     want);
            break;
        }
    op_run_close(&run[1]);
    op_run_close(&run[0]);
}

/* Batch norm where the mean is a thousand times the spread: what the difference of two large
 * squares would lose (about 2^20 * 2^-24 of the variance) must not be lost. What remains is the
 * rounding of the mean, 1024 * 2^-25, in each term of a gradient. */
void compare_norm_of_a_large_mean(struct op_options options)
{
    struct tally tally = {0};
    for (size_t i = 0; i < op_ncases; i++) {
        struct op_case c = op_cases[i];
        if (c.desc.kind != NN_OP_NORM)
            continue;
        if (c.desc.act == NN_ACT_RELU) /* what remains may cross its kink */
            c.desc.act = NN_ACT_NONE;
        compare_large_mean(&c, options, &tally);
    }
    judge(&tally);
}
