/* Where everything sits in the fixed tree: pure arithmetic, no I/O. Eight shards, held by four
 * ranks:
 *
 *                     [0..7]                       level 1: ranks 0 and 2, 1 and 3
 *               /                \
 *          [0..3]                [4..7]            level 0: ranks 0 and 1, 2 and 3
 *         /      \              /      \
 *      [0,1]    [2,3]        [4,5]    [6,7]        what ranks 0, 1, 2 and 3 pass in
 *      /   \    /   \        /   \    /   \
 *     0     1  2     3      4     5  6     7       shards, on the lanes of their rank
 *
 * Between ranks, level l adds the nodes of ranks r and r ^ 2^l. Each of the two keeps one half of
 * the elements that it holds and gives the other away, so after log2 W levels a rank holds 1/W of
 * the sum. Who keeps which elements:
 *
 *     0 ............ n/2 ............ n
 *     |  ranks 0, 2   |   ranks 1, 3  |            after level 0
 *     |   0   |   2   |   1   |   3   |            after level 1
 *
 * The way back, levels descending, swaps what was kept for what was given: the all-gather. */
#ifndef ALLREDUCE_TREE_H
#define ALLREDUCE_TREE_H

#include <stdbool.h>
#include <stddef.h>

struct ar_range {
    size_t begin, end; /* [begin, end) */
};

static inline size_t ar_range_count(struct ar_range r)
{
    return r.end - r.begin;
}

bool ar_is_power_of_two(int x);
/* log2 of a power of two. */
int ar_tree_levels(int world);
/* Who adds with rank at a level, 0 <= level < levels. */
int ar_tree_partner(int rank, int level);
/* The part of [0, n) that a rank holds after the first `level` levels; all of it at level 0. Cuts
 * fall on multiples of 16 elements (a cache line of fp32), so halves may differ and be empty. */
struct ar_range ar_tree_range(size_t n, int rank, int level);

/* Shards of a rank: V / W consecutive ones. world divides nshards. */
struct ar_range ar_rank_shards(int nshards, int world, int rank);
/* Samples of shard s of a global batch: [floor(s B / V), floor((s + 1) B / V)). */
struct ar_range ar_shard_samples(size_t nbatch, int nshards, int shard);

/* A bucket is a piece of the gradient arena that leaves for the other ranks at once: elements
 * [range.begin, range.end). */
struct ar_bucket {
    struct ar_range range;
    size_t first_tensor; /* the last one that backward finishes: then the bucket is complete */
};
/* Cuts the arena into buckets in the order in which backward completes them, from its end to its
 * start. Tensor i begins at offset[i], ascending; offset[ntensors] is the arena's end; padding goes
 * with the tensor before it. A bucket closes once it holds `limit` elements or more; tensors are
 * never split. Returns the number of buckets, at most ntensors, and fills as many. */
size_t ar_bucket_cut(struct ar_bucket *buckets, const size_t *offset, size_t ntensors,
                     size_t limit);
/* The limit for n elements whose sum costs latency_s, and one second for each `rate` elements: many
 * buckets pay the latency often, and of a few the last one, which nothing hides, is long.
 *     cost(b) = n / b * latency_s + b / rate, least at b = sqrt(n latency_s rate)
 * At least 64 KiB of fp32, at most n; n where a number makes no sense. */
size_t ar_bucket_limit(size_t n, double latency_s, double rate);

#endif
