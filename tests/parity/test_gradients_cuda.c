/* Every gradient of the cuda backend, on this host's first GPU, against central differences of
 * ref's forward pass in fp64: a check that shares nothing with ref's backward. Says why, and
 * returns 77, where there is no GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/device.h"
#include "tests/parity/finite_differences.h"

#define SKIPPED 77

static void test_differences(void **state)
{
    struct nn_device *device = *state;
    compare_with_differences(nn_device_backend(device),
                             (struct op_options){.device = device, .dtype = NN_F32});
}

int main(void)
{
    struct nn_device *device;
    cm_status st = nn_device_open(&device, "cuda");
    if (st == CM_EUNSUPPORTED) {
        printf("skipped: %s\n", cm_error_text());
        return SKIPPED;
    }
    if (st != CM_OK) {
        printf("%s\n", cm_error_text());
        return 1;
    }
    printf("on %s\n", nn_device_describe(device));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_differences, device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nn_device_close(&device);
    return failed;
}
