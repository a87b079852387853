/* Elementwise activations: y = f(x), dx = dy f'(x).
 *   relu max(x, 0), f'(0) = 0;  gelu x/2 (1 + erf(x / sqrt 2));  sigmoid 1 / (1 + exp(-x));  tanh
 * A NaN passes through all of them, relu too: the check for finite gradients must see it. */
#ifndef MODEL_ACTIVATION_H
#define MODEL_ACTIVATION_H

#include "model/op.h"

extern const struct nn_op_impl nn_activation_ref;
extern const struct nn_op_impl nn_activation_cpu;

#endif
