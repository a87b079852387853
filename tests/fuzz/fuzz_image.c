/* Any bytes into the decoder, then into a network's input. */
#include <stddef.h>
#include <stdint.h>

#include "model/image.h"
#include "model/preprocess.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    /* Small limits: the fuzzer looks for faults, not for slow big pictures. */
    static const struct nn_image_limits limits = {.max_nbytes = 1 << 16,
                                                  .max_side = 512,
                                                  .max_pixels = 1 << 16,
                                                  .max_scans = 10,
                                                  .max_scan_pixels = 1 << 20};
    static const struct nn_preprocess pre = {.resize = 16, .crop = 16, .grey = true};
    struct nn_image image;
    uint8_t out[16 * 16];

    if (nn_image_decode(&image, data, n, &limits) != CM_OK)
        return 0;
    cm_status st = nn_preprocess_image(&pre, 1, 16, 16, &image, out);
    nn_image_release(&image);
    if (st != CM_OK)
        __builtin_trap(); /* every decoded image has a centre of 16 x 16 */
    return 0;
}
