/* Every gradient of every ref op against central differences of its forward pass, in fp64; and what
 * ref promises besides. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/parity/finite_differences.h"

static void test_differences(void **state)
{
    (void)state;
    compare_with_differences(nn_backend_ref(), (struct op_options){.dtype = NN_F64});
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
