/* The GPU backend against ref, on a driver whose GPU is the host (driver_host.h): kernels,
 * launches, layouts and scratch, in all dtypes. The libraries' products are plain loops here;
 * test_ops_cuda has the libraries, where a GPU is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/cuda/gpu.h"
#include "tests/parity/compare.h"
#include "tests/parity/driver_host.h"
#include "tests/parity/finite_differences.h"

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

/* What test_gradients_cuda asks of a GPU. */
static void test_differences(void **state)
{
    compare_with_differences(nn_device_backend(*state),
                             (struct op_options){.device = *state, .dtype = NN_F32});
}

/* A table that one plan has filled gives another the same ways; what it names must be had. Seven:
 * a way to fp32 was there for two images, but not for three. */
static void test_engines(void **state)
{
    struct nn_engines table = {0};
    const struct nn_backend *backend = nn_device_backend(*state);
    const int batches[2] = {2, 3};
    struct nn_op op;
    struct nn_op_desc d = {.kind = NN_OP_CONV,
                           .name = "conv1",
                           .dtype = NN_BF16,
                           .x = {3, 6, 6},
                           .y = {4, 5, 5},
                           .kernel = 2,
                           .stride = 1,
                           .training = true,
                           .need_dx = true,
                           .batches = batches,
                           .nbatches = 2,
                           .nlanes = 1,
                           .threads = 1,
                           .engines = &table};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(nn_op_open(&op, backend, &d), CM_OK);
        nn_op_close(&op);
        assert_int_equal(table.n, 7);
    }
    const char *key = "conv1 forward n2 3x6x6 to 4x5x5 k2 s1 p0 bf16";
    assert_string_equal(nn_engines_find(&table, key)->name, "loops");
    assert_int_equal(nn_engines_find(&table, key)->workspace, 2 * 4 * 25 * sizeof(float));
    snprintf(table.engine[0].name, sizeof table.engine[0].name, "another");
    assert_int_equal(nn_op_open(&op, backend, &d), CM_EMISMATCH);
    nn_op_close(&op);
    nn_engines_release(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_fp16),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_norm_of_a_large_mean),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_engines),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
