#include "wire/wire_image.h"

#include <stdbool.h>
#include <string.h>

static bool is_file(const void *data, size_t n)
{
    return (n >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0) ||
           (n >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0);
}

struct wi_image wi_image_guess(const void *data, size_t n)
{
    return (struct wi_image){
        .kind = is_file(data, n) ? WI_IMAGE_FILE : WI_IMAGE_PIXELS, .data = data, .n = n};
}

cm_status wi_image_check(const struct wi_image *image)
{
    unsigned h = image->height, w = image->width, c = image->channels;

    if (image->n == 0)
        return CM_FAIL(CM_EFORMAT, "the image is empty");
    switch (image->kind) {
    case WI_IMAGE_FILE:
        if (!is_file(image->data, image->n))
            return CM_FAIL(CM_EFORMAT, "the image is neither JPEG nor PNG");
        return CM_OK;
    case WI_IMAGE_PIXELS:
        if (h == 0 && w == 0 && c == 0)
            return CM_OK;
        if (h == 0 || w == 0 || (c != 1 && c != 3))
            return CM_FAIL(CM_EFORMAT, "pixels of %u x %u x %u: height, width and 1 or 3 channels",
                           h, w, c);
        if ((uint64_t)h * w * c != image->n)
            return CM_FAIL(CM_EFORMAT, "pixels of %u x %u x %u in %zu bytes", h, w, c, image->n);
        return CM_OK;
    case WI_IMAGE_NONE:
        break;
    }
    return CM_FAIL(CM_EFORMAT, "an image of unknown kind %d", (int)image->kind);
}
