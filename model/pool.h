/* Max and average pooling, square windows, h' = (h + 2 pad - kernel) / stride + 1 (floor),
 * pad <= kernel / 2. x (n, h, w, C), y (n, h', w', C); gradients of overlapping windows add.
 *   max      padding is -inf; the gradient goes to the window's first maximum in row-major order;
 *            a NaN is the maximum
 *   average  the sum over the window, padding counted as zeros, over kernel^2; kernel 0: the mean
 *            of the whole image (h' = w' = 1) */
#ifndef MODEL_POOL_H
#define MODEL_POOL_H

#include "model/op.h"

extern const struct nn_op_impl nn_pool_ref;
extern const struct nn_op_impl nn_pool_cpu;

#endif
