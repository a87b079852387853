/* Which samples a step, a shard and a rank see: pure arithmetic, no I/O.
 *
 *   epoch e:   a permutation of the n training samples, a function of (seed, e)
 *   step:      positions [s B, min((s + 1) B, n)) of it
 *   shard k:   of a step with b samples, [floor(k b / V), floor((k + 1) b / V))
 *   rank r:    shards [r V / W, (r + 1) V / W)
 */
#ifndef TRAINER_SHARD_H
#define TRAINER_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

struct tr_order {
    uint64_t seed;
    uint32_t n;     /* training samples */
    uint32_t batch; /* B */
    bool drop_last;
};

int64_t tr_order_steps_per_epoch(const struct tr_order *o);
/* Steps of `epochs` epochs, a fraction rounded up. */
int64_t tr_order_total_steps(const struct tr_order *o, double epochs);

/* Step `step` of the run: its epoch, its first position there, and how many samples it has. */
struct tr_slice {
    uint32_t epoch, first, n;
};
struct tr_slice tr_order_slice(const struct tr_order *o, int64_t step);
/* The sample at a position of an epoch: a number below n. */
uint32_t tr_order_sample(const struct tr_order *o, uint32_t epoch, uint32_t position);

/* Shard k of V in a step of b samples: first sample (within the step) and count. */
void tr_shard_range(uint32_t b, uint32_t shards, uint32_t k, uint32_t *first, uint32_t *count);

/* All sizes that a shard can have in a run, ascending, distinct, without 0: at most 4. Returns how
 * many. */
#define TR_SHARD_SIZES 4
int tr_shard_sizes(const struct tr_order *o, uint32_t shards, int sizes[TR_SHARD_SIZES]);

/* V, the shards of a run on W ranks. In the fixed order it is what the config says, both are powers
 * of two and W <= V; in the fast one V = W, whatever that is, and the config's number does not
 * count. CM_ECONFIG says what does not fit. */
CM_MUST_CHECK cm_status tr_shard_count(uint32_t *out, bool fast, int ranks, int64_t configured);

#endif
