/* An image as it travels: a JPEG or PNG file as it is, or pixels. Pure; any thread. */
#ifndef WIRE_WIRE_IMAGE_H
#define WIRE_WIRE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

enum wi_image_kind {
    WI_IMAGE_NONE = 0,
    WI_IMAGE_FILE = 1,   /* JPEG or PNG; its first bytes tell which */
    WI_IMAGE_PIXELS = 2, /* (height, width, channels), 8 bits, no padding */
};

struct wi_image {
    enum wi_image_kind kind;
    uint16_t height, width; /* of pixels; all three 0: as the model's input is */
    uint8_t channels;       /* 1 or 3 */
    const void *data;       /* borrowed */
    size_t n;               /* bytes */
};

/* Tells JPEG and PNG by their first bytes; anything else is pixels in the shape of the model's
 * input, which whoever knows the model has to check. */
struct wi_image wi_image_guess(const void *data, size_t n);

/* CM_EFORMAT unless kind, shape and size agree with each other. A file is only looked at in its
 * first bytes. */
CM_MUST_CHECK cm_status wi_image_check(const struct wi_image *image);

#endif
