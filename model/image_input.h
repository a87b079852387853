/* An image from outside, as a network takes it: decoded where it is a file, and through the
 * preprocessing that travels with the weights. So serving and feedback cannot disagree. Any
 * thread. */
#ifndef MODEL_IMAGE_INPUT_H
#define MODEL_IMAGE_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "model/image.h"
#include "model/spec.h"

/* out: 8 bits, (H, W, C) of spec->input. A JPEG or PNG of nbytes. Errors as nn_image_decode and
 * nn_preprocess_image. */
CM_MUST_CHECK cm_status nn_image_input_file(uint8_t *out, const struct nn_spec *spec,
                                            const void *file, size_t nbytes,
                                            const struct nn_image_limits *limits);

/* Pixels of 8 bits, (h, w, channels) with channels 1 or 3, h w channels = n; or h 0: n of them in
 * the input's own shape, which are taken as they are, as are those that say they have it.
 * CM_EFORMAT: n is not the input's. */
CM_MUST_CHECK cm_status nn_image_input_pixels(uint8_t *out, const struct nn_spec *spec,
                                              const void *pixels, size_t n, int h, int w,
                                              int channels);

#endif
