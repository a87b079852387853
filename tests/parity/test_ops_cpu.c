/* The cpu backend against ref: fp32, and bf16 where the CPU has it or emulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/parity/compare.h"

static void test_fp32(void **state)
{
    (void)state;
    compare_all((struct op_options){.dtype = NN_F32});
}

static void test_bf16_emulated(void **state)
{
    (void)state;
    compare_all((struct op_options){.dtype = NN_BF16, .emulate_bf16 = true, .round_bf16 = true});
}

static void test_bf16_native(void **state)
{
    (void)state;
    if (!nn_backend_cpu()->has_dtype(NN_BF16)) {
        print_message("skipped: this CPU has no bf16\n");
        skip();
    }
    compare_all((struct op_options){.dtype = NN_BF16, .round_bf16 = true});
}

static void test_frozen(void **state)
{
    (void)state;
    compare_frozen((struct op_options){.dtype = NN_F32});
}

static void test_norm_of_a_large_mean(void **state)
{
    (void)state;
    compare_norm_of_a_large_mean((struct op_options){.dtype = NN_F32});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32),
        cmocka_unit_test(test_bf16_emulated),
        cmocka_unit_test(test_bf16_native),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_norm_of_a_large_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
