/* Initial weights: a function of spec and seed (and, for whitening, of training images). */
#ifndef MODEL_INIT_H
#define MODEL_INIT_H

#include "common/status.h"
#include "model/layout.h"
#include "model/spec.h"

/* Fills weights[0, layout->ntotal). images: n preprocessed training images, uint8 (n, H, W, C), for
 * NN_INIT_WHITEN (airbench94: first 5,000 images, normalised, patches k x k at stride 1, filters
 * eigvec / sqrt(eigval + 5e-4), then their negatives); may be NULL with n = 0 when no node asks for
 * it: CM_ECONFIG names the node otherwise. */
CM_MUST_CHECK cm_status nn_init_weights(float *weights, const struct nn_layout *layout,
                                        const struct nn_spec *spec, uint64_t seed,
                                        const uint8_t *images, int64_t n);

#endif
