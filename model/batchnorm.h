/* NORM: [max pool] → batch norm → [+ residual] → [activation], one pass each way where possible.
 *
 *   z = maxpool(x) when kernel > 0 (no padding), else x
 *   u = w[c] (z - mu[c]) / sqrt(var[c] + eps) + b[c]
 *   y = act(u + r), r = x[1] of y's shape when desc.residual
 *
 * x (n, h, w, C), y (n, h', w', C), m = n h' w' >= 2. In training mu and var are z's mean and
 * biased variance over the shard's m values (var = mean of (z - mu)^2, two passes or as exact);
 * otherwise the running ones. param: w, b and the running statistics, C each, fp32.
 *
 * Backward, with xhat = (z - mu) / sqrt(var + eps):
 *   g = dy act'(u + r);  dx[1] = g;  db = sum g;  dw = sum g xhat
 *   dz = w / sqrt(var + eps) (g - db / m - xhat dw / m)
 *   dx takes dz at the window's maximum, as pool.h says
 *
 * dparam: dw | db | n mu | n var m / (m - 1), C floats each, padded to 16. The last two are
 * weighted by the images: summed over shards and divided by all images they are the batch's
 * statistics. A frozen w or b gives zeros.
 * Source: Ioffe and Szegedy, "Batch normalization", 2015. */
#ifndef MODEL_BATCHNORM_H
#define MODEL_BATCHNORM_H

#include "model/op.h"

extern const struct nn_op_impl nn_batchnorm_ref;
extern const struct nn_op_impl nn_batchnorm_cpu;

#endif
