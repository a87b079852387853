/* Whitening filters: a convolution whose outputs over image patches are uncorrelated. */
#ifndef MODEL_WHITEN_H
#define MODEL_WHITEN_H

#include <stdint.h>

#include "common/status.h"
#include "model/preprocess.h"
#include "model/spec.h"

/* weight (2 d, d) with d = C k k, in OIHW order: row i < d is eigvec_i / sqrt(eigval_i + 5e-4) of
 * the mean of p p^T over all patches p (k x k, stride 1, no padding, normalised as pre says; the
 * mean is not taken off), largest eigenvalue first; row d + i its negative. images: uint8
 * (n, H, W, C), n > 0. Source: airbench94 (Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024). */
CM_MUST_CHECK cm_status nn_whiten_filters(float *weight, int kernel, struct nn_shape shape,
                                          const struct nn_preprocess *pre, const uint8_t *images,
                                          int64_t n);

#endif
