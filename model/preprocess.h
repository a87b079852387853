/* From a decoded image to the network's input; travels in model.json with the weights, so that
 * training and serving cannot disagree. The rules are torchvision's: Resize(S) makes the shorter
 * side S and the longer int(S * long / short), bilinear with antialias; CenterCrop takes offset
 * int(round((H - S) / 2.0)); greyscale 0.299 R + 0.587 G + 0.114 B. */
#ifndef MODEL_PREPROCESS_H
#define MODEL_PREPROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct nn_preprocess {
    int resize;            /* shorter side; 0: none */
    int crop;              /* side of the centre crop; 0: none */
    bool grey;             /* one channel */
    float mean[3], std[3]; /* input = (byte / 255 - mean) / std, per channel */
};

/* 8-bit RGB or grey, (h, w, channels). pixels from cm_alloc, owned. */
struct nn_image {
    int h, w, channels; /* channels 1 or 3 */
    uint8_t *pixels;
};
void nn_image_release(struct nn_image *image);

/* Resize, crop, greyscale: image (h, w, 1 or 3) to exactly channels x height x width in (H, W, C)
 * order at out. An image that comes out at another size, or is smaller than the crop (torchvision
 * would pad it with black), is CM_ESHAPE, naming the sizes. Any thread. */
CM_MUST_CHECK cm_status nn_preprocess_image(const struct nn_preprocess *pre, int channels,
                                            int height, int width, const struct nn_image *image,
                                            uint8_t *out);

#endif
