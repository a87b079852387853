#include "tests/parity/first_gpu.h"

#include <stdio.h>

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
