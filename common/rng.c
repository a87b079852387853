#include "common/rng.h"

#include <math.h>
#include <stdbool.h>

/* Multipliers and Weyl increments of the paper's Philox4x32. */
#define MUL_0  0xD2511F53u
#define MUL_1  0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u
#define ROUNDS 10

#define FEISTEL_ROUNDS 8 /* even, so that the halves end at their own widths */
/* Keeps the round function's numbers apart from the stream of the same purpose. */
#define FEISTEL_MARK 0x80000000u

struct cm_rng4 cm_philox4x32(const uint32_t ctr[4], const uint32_t key[2])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)MUL_0 * c0;
        uint64_t p1 = (uint64_t)MUL_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    return (struct cm_rng4){{c0, c1, c2, c3}};
}

struct cm_rng4 cm_rng_block(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where,
                            uint32_t sample, uint32_t block)
{
    const uint32_t ctr[4] = {block, sample, where, (uint32_t)purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    return cm_philox4x32(ctr, key);
}

uint32_t cm_rng_u32(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where, uint32_t sample,
                    uint32_t i)
{
    return cm_rng_block(seed, purpose, where, sample, i / 4).v[i % 4];
}

float cm_rng_unit(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
}

uint32_t cm_rng_below(uint32_t bits, uint32_t n)
{
    return (uint32_t)(((uint64_t)bits * n) >> 32);
}

double cm_rng_normal(uint32_t bits_a, uint32_t bits_b)
{
    const double two_pi = 6.283185307179586476925;
    double radius =
        sqrt(-2.0 * log(((double)bits_a + 0.5) * 0x1p-32)); /* the half keeps log from 0 */
    return radius * cos(two_pi * ((double)bits_b * 0x1p-32));
}

static uint32_t low_bits(uint32_t width)
{
    return (uint32_t)((UINT64_C(1) << width) - 1);
}

/* A bijection of [0, 2^width): the halves (high wide, low wide) change places each round, the
 * outgoing high one xor'ed with a function of the low one. Halves of unequal width keep the domain
 * below 2n for every n. */
static uint32_t feistel(uint64_t seed, uint32_t purpose, uint32_t where, uint32_t width, uint32_t x)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t high_width = width / 2, low_width = width - high_width;
    uint32_t high = (uint32_t)((uint64_t)x >> low_width), low = x & low_bits(low_width);
    for (uint32_t round = 0; round < FEISTEL_ROUNDS; round++) {
        const uint32_t ctr[4] = {low, round, where, purpose | FEISTEL_MARK};
        uint32_t mixed = (high ^ cm_philox4x32(ctr, key).v[0]) & low_bits(high_width);
        high = low;
        low = mixed;
        uint32_t swap = high_width;
        high_width = low_width;
        low_width = swap;
    }
    return (uint32_t)((uint64_t)high << low_width) | low;
}

uint32_t cm_rng_permute(uint64_t seed, enum cm_rng_purpose purpose, uint32_t where, uint32_t n,
                        uint32_t i)
{
    uint32_t width = n > 1 ? 32u - (uint32_t)__builtin_clz(n - 1) : 0;
    /* Cycle walking: following i's cycle until it comes back below n restricts the bijection to [0,
     * n). Fewer than two steps on average. */
    do
        i = feistel(seed, (uint32_t)purpose, where, width, i);
    while (i >= n);
    return i;
}
