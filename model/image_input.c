#include "model/image_input.h"

#include <string.h>

#include "common/mem.h"

static cm_status preprocess(uint8_t *out, const struct nn_spec *spec, struct nn_image *image)
{
    struct nn_shape in = spec->input;
    cm_status st = nn_preprocess_image(&spec->preprocess, in.c, in.h, in.w, image, out);
    nn_image_release(image);
    return st;
}

cm_status nn_image_input_file(uint8_t *out, const struct nn_spec *spec, const void *file,
                              size_t nbytes, const struct nn_image_limits *limits)
{
    struct nn_image image;
    CM_TRY(nn_image_decode(&image, file, nbytes, limits));
    return preprocess(out, spec, &image);
}

cm_status nn_image_input_pixels(uint8_t *out, const struct nn_spec *spec, const void *pixels,
                                size_t n, int h, int w, int channels)
{
    struct nn_shape in = spec->input;
    struct nn_image image = {.h = h, .w = w, .channels = channels};
    bool as_input = h == 0 || (h == in.h && w == in.w && channels == in.c);
    if (as_input && n != nn_shape_count(in))
        return CM_FAIL(CM_EFORMAT,
                       "image: %zu bytes are neither JPEG nor PNG, nor the model's %d x %d x %d "
                       "pixels (%zu bytes)",
                       n, in.h, in.w, in.c, nn_shape_count(in));
    if (as_input) {
        memcpy(out, pixels, n);
        return CM_OK;
    }
    CM_TRY(cm_alloc(&image.pixels, n, 1, "an image"));
    memcpy(image.pixels, pixels, n);
    return preprocess(out, spec, &image);
}
