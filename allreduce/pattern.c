#include "allreduce/pattern.h"

#include <math.h>

#include "common/rng.h"
#include "common/vec.h"

#define PERIOD 1021 /* a prime: no power of two hides a shifted piece */

/* Rank r contributes (r + 1) (i mod PERIOD + 1); at most 128 * 129 / 2 * 1021 < 2^24. */
void ar_pattern_integers(float *buf, size_t n, int rank)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = (float)((size_t)(rank + 1) * (i % PERIOD + 1));
}

float ar_pattern_integer_sum(size_t i, int world)
{
    size_t w = (size_t)world, ranks = w * (w + 1) / 2;
    return (float)(ranks * (i % PERIOD + 1));
}

float ar_pattern_float(size_t i, size_t shard)
{
    uint32_t bits = (uint32_t)i * 2654435761u ^ (uint32_t)(shard + 1) * 2246822519u;
    bits ^= bits >> 15;
    bits *= 2654435769u;
    bits ^= bits >> 13;
    return ldexpf(cm_rng_unit(bits) - 0.5f, (int)(bits % 13));
}

static float node(size_t i, struct ar_range shards, bool compress)
{
    float x;
    if (ar_range_count(shards) == 1) {
        x = ar_pattern_float(i, shards.begin);
    } else {
        size_t middle = shards.begin + ar_range_count(shards) / 2;
        x = node(i, (struct ar_range){shards.begin, middle}, compress) +
            node(i, (struct ar_range){middle, shards.end}, compress);
    }
    return compress ? cm_bf16_to_f32(cm_f32_to_bf16(x)) : x;
}

void ar_pattern_tree(float *buf, size_t n, struct ar_range shards, bool compress)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = node(i, shards, compress);
}
