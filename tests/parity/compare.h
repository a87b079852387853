/* A backend against ref, over the list of ops. Each call goes through all of them, writes a line
 * "failed: …" for each fault, with op, output and element, and then fails the cmocka test that
 * makes it; ops that the backend does not have are left out.
 *
 * Tolerance, as a share of the tensor's largest element (at least 1, the size of the inputs: a
 * gradient that cancels to nothing keeps the rounding of its terms): 8 sqrt(terms) 2^-24 for sums
 * in fp32; and 4 roundings where results, or values kept from forward to backward, are stored as
 * bf16 (2^-9) or fp16 (2^-12). */
#ifndef TESTS_PARITY_COMPARE_H
#define TESTS_PARITY_COMPARE_H

#include "tests/parity/ops.h"

/* Every op, norms in inference too; runs each twice and wants the same bits. Prints the largest
 * error. */
void compare_all(struct op_options options);
/* A frozen weight or bias gives zeros and leaves the other gradients alone. */
void compare_frozen(struct op_options options);
/* Batch norm where the mean is a thousand times the spread. */
void compare_norm_of_a_large_mean(struct op_options options);

#endif
