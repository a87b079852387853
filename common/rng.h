/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): randomness
 * as a pure function of (seed, purpose, epoch or step, sample, element). There is no state to save,
 * any place can be reached in O(1), and CPU and GPU draw the same numbers. */
#ifndef COMMON_RNG_H
#define COMMON_RNG_H

#include <stdint.h>

#include "common/host_device.h"

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

/* The 10-round bijection on counter ctr under key. The paper's multipliers and Weyl increments. */
CM_HD struct cm_rng4 cm_philox4x32(const uint32_t ctr[4], const uint32_t key[2])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    struct cm_rng4 r = {{c0, c1, c2, c3}};
    return r;
}

/* Numbers 4 * block .. 4 * block + 3 of one stream. */
CM_HD struct cm_rng4 cm_rng_block(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where,
                                  uint32_t sample, uint32_t block)
{
    const uint32_t ctr[4] = {block, sample, where, (uint32_t)purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    return cm_philox4x32(ctr, key);
}

/* Number i of the stream. */
CM_HD uint32_t cm_rng_u32(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where,
                          uint32_t sample, uint32_t i)
{
    return cm_rng_block(seed, purpose, where, sample, i / 4).v[i % 4];
}

/* [0, 1) with 24 bits. */
CM_HD float cm_rng_unit(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
}

/* [0, n) without bias beyond 2^-32 (multiply-high). n > 0. */
CM_HD uint32_t cm_rng_below(uint32_t bits, uint32_t n)
{
    return (uint32_t)(((uint64_t)bits * n) >> 32);
}

/* Standard normal from two numbers (Box-Muller, in double). */
double cm_rng_normal(uint32_t bits_a, uint32_t bits_b);

CM_HD uint32_t cm_rng_low_bits(uint32_t width)
{
    return (uint32_t)((UINT64_C(1) << width) - 1);
}

#define CM_RNG_FEISTEL_ROUNDS 8 /* even, so that the halves end at their own widths */
/* Keeps the round function's numbers apart from the stream of the same purpose. */
#define CM_RNG_FEISTEL_MARK 0x80000000u

/* A bijection of [0, 2^width): the halves (high wide, low wide) change places each round, the
 * outgoing high one xor'ed with a function of the low one. Halves of unequal width keep the domain
 * below 2n for every n. */
CM_HD uint32_t cm_rng_feistel(uint64_t seed, uint32_t purpose, uint32_t where, uint32_t width,
                              uint32_t x)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t high_width = width / 2, low_width = width - high_width;
    uint32_t high = (uint32_t)((uint64_t)x >> low_width), low = x & cm_rng_low_bits(low_width);
    for (uint32_t round = 0; round < CM_RNG_FEISTEL_ROUNDS; round++) {
        const uint32_t ctr[4] = {low, round, where, purpose | CM_RNG_FEISTEL_MARK};
        uint32_t mixed = (high ^ cm_philox4x32(ctr, key).v[0]) & cm_rng_low_bits(high_width);
        high = low;
        low = mixed;
        uint32_t swap = high_width;
        high_width = low_width;
        low_width = swap;
    }
    return (uint32_t)((uint64_t)high << low_width) | low;
}

/* A pseudo-random permutation of [0, n), evaluated at i without building it (a Feistel network over
 * Philox with cycle walking): the order of an epoch is a function, so a seek is O(1). where =
 * epoch. */
CM_HD uint32_t cm_rng_permute(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where,
                              uint32_t n, uint32_t i)
{
    uint32_t width = 0;
    while (width < 32 && n > 1 && (n - 1) >> width)
        width++;
    /* Following i's cycle until it comes back below n restricts the bijection to [0, n). Fewer than
     * two steps on average. */
    do
        i = cm_rng_feistel(seed, (uint32_t)purpose, where, width, i);
    while (i >= n);
    return i;
}

#endif
