/* Linear: y[n, o] = bias[o] + sum over i of x[n, i] w[o, i].
 * x (n, C) with h = w = 1, y (n, O), w (O, C) fp32.
 * Backward: dx = dy w; dw[o, i] = sum over n of dy[n, o] x[n, i]; dbias = sum over n of dy; fp32
 * sums. A frozen weight or bias gives zeros. */
#ifndef MODEL_LINEAR_H
#define MODEL_LINEAR_H

#include "model/op.h"

extern const struct nn_op_impl nn_linear_ref;
extern const struct nn_op_impl nn_linear_cpu;

#endif
