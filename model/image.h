/* Decoding of images from outside: JPEG (libjpeg-turbo) and PNG (libspng), any size and colour
 * mode, to 8-bit RGB. Limits are checked on the header, before memory is taken: width, height,
 * pixels, and for JPEG the number of scans. Warnings of the decoder (truncated data) are faults: a
 * half image is no image. Any thread. */
#ifndef MODEL_IMAGE_H
#define MODEL_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "model/preprocess.h"

struct nn_image_limits {
    size_t max_nbytes; /* of the encoded image */
    int max_side;      /* pixels */
    int64_t max_pixels;
    int max_scans;           /* progressive JPEG */
    int64_t max_scan_pixels; /* scans times pixels: the time that a few bytes can cost */
};
/* 16 MiB, 16,384, 64 Mpixel, 100, 1 Gpixel (about a second; 16 scans of the largest image) */
extern const struct nn_image_limits nn_image_limits_default;

/* CM_EFORMAT: neither JPEG nor PNG (says what the first bytes are), damaged, or past a limit (says
 * which). Any colour mode becomes (h, w, 3): alpha is dropped and CMYK inverted as PIL's
 * convert("RGB") does; of 16 bits the upper 8 stay. The orientation in EXIF is ignored. On failure
 * *out is zeroed. */
CM_MUST_CHECK cm_status nn_image_decode(struct nn_image *out, const void *data, size_t nbytes,
                                        const struct nn_image_limits *limits);
/* PNG, 8 bits, no loss. *data from cm_alloc. */
CM_MUST_CHECK cm_status nn_image_encode_png(const struct nn_image *image, void **data,
                                            size_t *nbytes);

#endif
