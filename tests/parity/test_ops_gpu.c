/* The GPU backend against ref, on a driver whose GPU is the host (driver_host.h): kernels,
 * launches, layouts and scratch, in all dtypes. The libraries' products are plain loops here;
 * test_ops_cuda has the libraries, where a GPU is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/cuda/gpu.h"
#include "tests/parity/compare.h"
#include "tests/parity/driver_host.h"

static int open_device(void **state)
{
    struct nn_device *device;
    if (nn_gpu_open(&device, &driver_host, 0) != CM_OK)
        return -1;
    *state = device;
    return 0;
}

static int close_device(void **state)
{
    struct nn_device *device = *state;
    nn_device_close(&device);
    return 0;
}

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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_fp16),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_norm_of_a_large_mean),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
