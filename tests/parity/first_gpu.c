#include "tests/parity/first_gpu.h"

#include <stdio.h>

#include "model/cuda/gpu.h"
#include "tests/parity/driver_host.h"

#define SKIPPED 77

struct nn_device *first_gpu_open(int *code)
{
    struct nn_device *device;
    cm_status st = nn_device_open(&device, "cuda");
    if (st == CM_OK) {
        printf("on %s\n", nn_device_describe(device));
        return device;
    }
    *code = st == CM_EUNSUPPORTED ? SKIPPED : 1;
    printf("%s%s\n", st == CM_EUNSUPPORTED ? "skipped: " : "", cm_error_text());
    return NULL;
}

static int run_and_close(int (*run)(struct nn_device *), struct nn_device *device)
{
    printf("on %s\n", nn_device_describe(device));
    int failed = run(device);
    nn_device_close(&device);
    return failed;
}

int on_host_and_gpu(int (*run)(struct nn_device *device))
{
    struct nn_device *device;
    if (nn_gpu_open(&device, &driver_host, 0) != CM_OK)
        return 1;
    int failed = run_and_close(run, device);
    if (nn_device_open(&device, "cuda") == CM_OK)
        failed += run_and_close(run, device);
    else
        printf("not on a GPU: %s\n", cm_error_text());
    return failed;
}
