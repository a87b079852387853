#include "allreduce/tree.h"

#include <math.h>

#define CUT_ALIGN  16 /* elements */
#define BUCKET_MIN ((size_t)16 << 10)

bool ar_is_power_of_two(int x)
{
    return x > 0 && (x & (x - 1)) == 0;
}

int ar_tree_levels(int world)
{
    int levels = 0;
    while (1 << levels < world)
        levels++;
    return levels;
}

int ar_tree_partner(int rank, int level)
{
    return rank ^ (1 << level);
}

struct ar_range ar_tree_range(size_t n, int rank, int level)
{
    struct ar_range r = {0, n};
    for (int l = 0; l < level; l++) {
        size_t half = ((ar_range_count(r) + 1) / 2 + CUT_ALIGN - 1) / CUT_ALIGN * CUT_ALIGN;
        size_t cut = half < ar_range_count(r) ? r.begin + half : r.end;
        if (rank >> l & 1)
            r.begin = cut;
        else
            r.end = cut;
    }
    return r;
}

struct ar_range ar_rank_shards(int nshards, int world, int rank)
{
    size_t each = (size_t)(nshards / world);
    return (struct ar_range){(size_t)rank * each, ((size_t)rank + 1) * each};
}

struct ar_range ar_shard_samples(size_t nbatch, int nshards, int shard)
{
    size_t s = (size_t)shard, v = (size_t)nshards;
    return (struct ar_range){s * nbatch / v, (s + 1) * nbatch / v};
}

size_t ar_bucket_cut(struct ar_bucket *buckets, const size_t *offset, size_t ntensors, size_t limit)
{
    size_t n = 0, end = offset[ntensors];
    for (size_t i = ntensors; i-- > 0;) {
        if (end - offset[i] < limit && i > 0)
            continue;
        buckets[n++] = (struct ar_bucket){{offset[i], end}, i};
        end = offset[i];
    }
    return n;
}

size_t ar_bucket_limit(size_t n, double latency_s, double rate)
{
    double best = sqrt((double)n * latency_s * rate);
    if (!(best < (double)n)) /* NaN too */
        return n;
    size_t limit = best > (double)BUCKET_MIN ? (size_t)best : BUCKET_MIN;
    return limit < n ? limit : n;
}
