/* The loss of a shard and its gradient, in one forward call (there is no backward).
 * x[0] = z (n, K), the logits. Targets t with smoothing s: t[k] = (1 - s) [k is the label] + s / K.
 *   cross-entropy  loss = sum over n, k of -t[k] log softmax(z)[k]         dz = softmax(z) - t
 *   mse            loss = sum over n of the mean over k of (z[k] - t[k])^2   dz = 2 (z - t) / K
 * result->loss is the SUM over images, in double; dx[0] (NULL: loss only) the gradient of that sum,
 * in desc.dtype. A label outside [0, K) is CM_EINVAL, naming image and label. For result->correct a
 * NaN is never the top class. */
#ifndef MODEL_LOSS_H
#define MODEL_LOSS_H

#include "model/op.h"

extern const struct nn_op_impl nn_loss_ref;
extern const struct nn_op_impl nn_loss_cpu;

#endif
