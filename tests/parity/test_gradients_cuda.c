/* Every gradient of the cuda backend, on this host's first GPU, against central differences of
 * ref's forward pass in fp64: a check that shares nothing with ref's backward. Says why, and
 * returns 77, where there is no GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/parity/finite_differences.h"
#include "tests/parity/first_gpu.h"

static void test_differences(void **state)
{
    struct nn_device *device = *state;
    compare_with_differences(nn_device_backend(device),
                             (struct op_options){.device = device, .dtype = NN_F32});
}

int main(void)
{
    int code;
    struct nn_device *device = first_gpu_open(&code);
    if (!device)
        return code;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_differences, device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nn_device_close(&device);
    return failed;
}
