/* The engine's insides, for its own files; nobody else includes this. engine_open.c builds it,
 * engine.c runs a step, gradient.c judges and scales a step's sums. */
#ifndef TRAINER_ENGINE_PRIVATE_H
#define TRAINER_ENGINE_PRIVATE_H

#include "common/lane.h"
#include "trainer/engine.h"

#define TR_MAX_LEVELS 12 /* of the tree inside a lane: up to 2^11 shards */

/* One virtual shard held by this rank; written and read by its lane. */
struct tr_shard {
    struct nn_batch batch;
    struct nn_result result;
    uint32_t *rows;
    int32_t *labels;
    struct nn_augment *augment;
    uint32_t first; /* of its samples in the global batch */
};

/* Where a lane sums the gradients of its shards for one op. Two sets, used by turns, so that a lane
 * can start the next op while its sum of the last one is still being read. */
struct tr_sums {
    float *level[TR_MAX_LEVELS];
    struct ln_event *full;  /* level[0] holds the lane's subtree */
    struct ln_event *empty; /* the lane above has read it */
};

struct tr_lane {
    struct ln_lane *run;
    struct tr_sums sums[2];
    struct ln_event *updated; /* its part of the weights is new */
};

struct tr_bucket {
    int after_op; /* complete once this op is finished */
    size_t first, n;
    struct ln_event *ready;
};

struct tr_engine {
    struct tr_engine_config cfg;
    const struct nn_backend *backend;
    struct tr_order order;
    struct nn_plan *plan;
    struct tr_optimizer *optimizer;
    float *weights, *gradients;       /* layout->ntotal floats */
    uint32_t all_shards;              /* V */
    int nshards, nlanes, first_shard; /* of this rank */
    struct tr_shard *shards;
    struct tr_lane *lanes;
    int nbuckets;
    struct tr_bucket *buckets;
    struct ln_event *statistics_ready;
    /* The step that runs; written while the lanes are idle. */
    int64_t step;
    struct tr_slice slice;
    struct tr_update update;
    bool timing;
    struct tr_op_time *times; /* written by lanes; with one lane only */
};

/* CM_ENUMERIC, on all ranks alike for they hold the same sums: loss or a gradient is not finite;
 * names the tensor where it began. */
CM_MUST_CHECK cm_status tr_gradient_check(const struct tr_engine *e, double loss);
/* The factor on the gradients of count images, by train.reduction and train.clip_norm. *norm: of
 * the whole gradient before clipping; NaN when clipping is off. */
double tr_gradient_scale(const struct tr_engine *e, double count, double *norm);
/* Running statistics take up those of the step's count images. */
void tr_gradient_statistics(struct tr_engine *e, double count);

#endif
