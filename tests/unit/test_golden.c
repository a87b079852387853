/* The golden check: what it lets pass and what it names. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/golden.h"

static const float want[2][3] = {{1, -4, 2}, {0.5f, 0.4995f, 0}};

static void equal_and_nearly_equal_pass(void **state)
{
    (void)state;
    float got[2][3];
    memcpy(got, want, sizeof got);
    assert_int_equal(nn_golden_check(want[0], got[0], 2, 3, NN_F32), CM_OK);
    got[0][1] += 0.0039f; /* bound: 1e-3 * 4 */
    assert_int_equal(nn_golden_check(want[0], got[0], 2, 3, NN_F32), CM_OK);
}

static void a_logit_too_far_off_is_named(void **state)
{
    (void)state;
    float got[2][3];
    memcpy(got, want, sizeof got);
    got[1][2] += 0.01f;
    assert_int_equal(nn_golden_check(want[0], got[0], 2, 3, NN_F32), CM_EMISMATCH);
    assert_non_null(strstr(cm_error_text(), "golden image 1"));
    assert_int_equal(nn_golden_check(want[0], got[0], 2, 3, NN_BF16), CM_OK);
}

static void a_close_call_may_turn_over(void **state)
{
    (void)state;
    float got[2][3];
    memcpy(got, want, sizeof got);
    got[1][1] = 0.501f;
    assert_int_equal(nn_golden_check(want[0], got[0], 2, 3, NN_F32), CM_OK);
}

static void not_a_number_is_refused(void **state)
{
    (void)state;
    float got[2][3];
    memcpy(got, want, sizeof got);
    got[0][0] = NAN;
    assert_int_equal(nn_golden_check(want[0], got[0], 2, 3, NN_F32), CM_ENUMERIC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_and_nearly_equal_pass),
        cmocka_unit_test(a_logit_too_far_off_is_named),
        cmocka_unit_test(a_close_call_may_turn_over),
        cmocka_unit_test(not_a_number_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
