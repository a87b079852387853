/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): randomness
 * as a pure function of (seed, purpose, epoch or step, sample, element). There is no state to save,
 * and any place can be reached in O(1). */
#ifndef COMMON_RNG_H
#define COMMON_RNG_H

#include <stdint.h>

/* What the numbers are for; part of the key, so that two purposes never share a number. Values are
 * for ever: changing one changes every run. */
enum cm_rng_purpose {
    CM_RNG_INIT = 1,    /* where = tensor number, sample = 0 */
    CM_RNG_SHUFFLE = 2, /* where = epoch */
    CM_RNG_AUGMENT = 3, /* where = epoch, sample = sample id */
    CM_RNG_DROPOUT = 4, /* where = step, sample = position in the batch, element across the op */
    CM_RNG_HOLDOUT = 5,
    CM_RNG_SYNTHETIC = 6,
    CM_RNG_REPLAY = 7,
    CM_RNG_BACKOFF = 8,
};

struct cm_rng4 {
    uint32_t v[4];
};

/* The 10-round bijection on counter ctr under key. */
struct cm_rng4 cm_philox4x32(const uint32_t ctr[4], const uint32_t key[2]);

/* Numbers 4 * block .. 4 * block + 3 of one stream. */
struct cm_rng4 cm_rng_block(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where,
                            uint32_t sample, uint32_t block);
/* Number i of the stream. */
uint32_t cm_rng_u32(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where, uint32_t sample,
                    uint32_t i);
/* [0, 1) with 24 bits. */
float cm_rng_unit(uint32_t bits);
/* [0, n) without bias beyond 2^-32 (multiply-high). n > 0. */
uint32_t cm_rng_below(uint32_t bits, uint32_t n);
/* Standard normal from two numbers (Box-Muller, in double). */
double cm_rng_normal(uint32_t bits_a, uint32_t bits_b);

/* A pseudo-random permutation of [0, n), evaluated at i without building it (a Feistel network over
 * Philox with cycle walking): the order of an epoch is a function, so a seek is O(1). where =
 * epoch. */
uint32_t cm_rng_permute(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where, uint32_t n,
                        uint32_t i);

#endif
