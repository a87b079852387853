/* What image.c asks of the two decoders. Both get non-empty data that starts with their format's
 * signature, check the limits on the header before they take memory, and give (h, w, 3) in out,
 * which is untouched on failure. */
#ifndef MODEL_IMAGE_FORMATS_H
#define MODEL_IMAGE_FORMATS_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "model/image.h"

CM_MUST_CHECK cm_status nn_jpeg_decode(struct nn_image *out, const void *data, size_t nbytes,
                                       const struct nn_image_limits *limits);
CM_MUST_CHECK cm_status nn_png_decode(struct nn_image *out, const void *data, size_t nbytes,
                                      const struct nn_image_limits *limits);

/* CM_EFORMAT names the limit that w x h breaks. */
CM_MUST_CHECK cm_status nn_image_check_size(const struct nn_image_limits *limits, const char *kind,
                                            uint64_t w, uint64_t h);

#endif
