/* Vectors whose sum is known: for checks, in tests and on a cluster. (The idea of verifiable inputs
 * is nccl-tests'.) */
#ifndef ALLREDUCE_PATTERN_H
#define ALLREDUCE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "allreduce/tree.h"

/* Small integers: every order of adding gives the same bits, for up to 128 ranks. */
void ar_pattern_integers(float *buf, size_t n, int rank);
float ar_pattern_integer_sum(size_t i, int world);

/* Element i of a shard: floats of many magnitudes and both signs, so that every order gives other
 * bits. */
float ar_pattern_float(size_t i, size_t shard);
/* The node of the tree over these shards (a power of two of them, aligned), written as the drawing
 * reads: recursively. compress: every node rounded to bf16, the leaves included. */
void ar_pattern_tree(float *buf, size_t n, struct ar_range shards, bool compress);

#endif
