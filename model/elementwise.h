/* The small ops between the large ones.
 *   add      y = x[0] + x[1]; both gradients are dy
 *   scale    y = p x; dx = p dy
 *   flatten  y[n, (c h + i) w + j] = x[n, i, j, c]: features in C, H, W order, as PyTorch's linear
 *            columns; dx puts them back
 *   dropout  y = x / (1 - p) where u >= p, else 0; dx = dy by the same mask; u = cm_rng_unit of
 *            cm_rng_u32(seed, CM_RNG_DROPOUT, step, first_sample + n, e), e the element's place in
 *            its image's (h, w, C). Training only: the plan leaves it out of inference. args.seed
 *            differs from node to node (the plan mixes the node number in). */
#ifndef MODEL_ELEMENTWISE_H
#define MODEL_ELEMENTWISE_H

#include "model/op.h"

extern const struct nn_op_impl nn_add_ref, nn_scale_ref, nn_flatten_ref, nn_dropout_ref;
extern const struct nn_op_impl nn_add_cpu, nn_scale_cpu, nn_flatten_cpu, nn_dropout_cpu;

#endif
