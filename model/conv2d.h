/* 2-D convolution (cross-correlation, as every framework calls it), square kernel, symmetric zero
 * padding, no groups:
 *   y[n, i, j, o] = bias[o] + sum over c, u, v of x[n, i', j', c] w[o, c, u, v],
 *   i' = i stride + u - pad, j' = j stride + v - pad
 * x (n, h, w, C), y (n, h', w', O), h' = (h + 2 pad - kernel) / stride + 1 (floor), w (O, C, k, k)
 * fp32.
 * Backward: dx = dy * w transposed; dw[o, c, u, v] = sum over n, i, j of dy x; dbias = sum of dy;
 * fp32 sums. A frozen weight or bias gives zeros.
 * Cost: 2 n h' w' O C k^2 operations forward, twice that backward. */
#ifndef MODEL_CONV2D_H
#define MODEL_CONV2D_H

#include "model/op.h"

extern const struct nn_op_impl nn_conv2d_ref;
extern const struct nn_op_impl nn_conv2d_cpu;

#endif
