/* Gradients of a backend against central differences of ref's forward pass, in fp64, over the list
 * of ops. Fails the cmocka test that calls, naming op and output.
 *
 * L = sum over i of dy[i] y[i] (for a loss: the loss). With step h = 2^-14 the difference quotient
 * is off by h^2 / 6 times the third derivative (below 1e-8 of the values here) and by 2^-53 L / h
 * (below 1e-9); parameter gradients are stored as fp32 (6e-8). So 1e-6 of the largest gradient of
 * the tensor is generous to rounding and strict to mistakes; a backend that computes in fp32 may
 * add the rounding of its sums (compare.h). */
#ifndef TESTS_PARITY_FINITE_DIFFERENCES_H
#define TESTS_PARITY_FINITE_DIFFERENCES_H

#include "tests/parity/ops.h"

/* options: fp64, or fp32. Prints the seed and the largest error as a share of the tolerance. A relu
 * behind a norm that a step could cross leaves its case out, which only another seed than the
 * default may do. */
void compare_with_differences(const struct nn_backend *backend, struct op_options options);

#endif
