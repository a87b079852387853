/* The cuda backend against ref, on this host's first GPU, libraries included: the harness of
 * test_ops_cpu over the device's table. Says why, and returns 77, where there is no GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/parity/compare.h"
#include "tests/parity/first_gpu.h"

static void test_fp32(void **state)
{
    compare_all((struct op_options){.device = *state, .dtype = NN_F32});
}

static void test_bf16(void **state)
{
    compare_all((struct op_options){.device = *state, .dtype = NN_BF16, .round_bf16 = true});
}

static void test_fp16(void **state)
{
    compare_all((struct op_options){.device = *state, .dtype = NN_F16, .round_bf16 = true});
}

static void test_frozen(void **state)
{
    compare_frozen((struct op_options){.device = *state, .dtype = NN_F32});
}

static void test_norm_of_a_large_mean(void **state)
{
    compare_norm_of_a_large_mean((struct op_options){.device = *state, .dtype = NN_F32});
}

int main(void)
{
    int code;
    struct nn_device *device = first_gpu_open(&code);
    if (!device)
        return code;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_fp32, device),
        cmocka_unit_test_prestate(test_bf16, device),
        cmocka_unit_test_prestate(test_fp16, device),
        cmocka_unit_test_prestate(test_frozen, device),
        cmocka_unit_test_prestate(test_norm_of_a_large_mean, device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nn_device_close(&device);
    return failed;
}
