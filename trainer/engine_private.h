/* The engine's insides, for its own files; nobody else includes this. engine_open.c builds it,
 * engine.c has the order of a step and runs it on a CPU, gradient.c judges and scales its sums. */
#ifndef TRAINER_ENGINE_PRIVATE_H
#define TRAINER_ENGINE_PRIVATE_H

#include "common/lane.h"
#include "trainer/engine.h"

#define TR_MAX_LEVELS 12 /* of the tree inside a lane: up to 2^11 shards */

/* One virtual shard held by this rank; written and read by its lane. */
struct tr_shard {
    struct nn_batch batch;
    uint32_t *rows; /* these three in the backend's memory */
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

/* A step that was begun. */
struct tr_begun {
    int64_t step;
    double lr;
    uint32_t raise;
    int64_t began_ns;
};

/* What differs between places to compute: chosen at open. Lanes and events are of one kind. */
struct tr_engine_place {
    cm_status (*lane_open)(struct tr_engine *e, struct ln_lane **out, const char *name);
    cm_status (*event_open)(struct tr_engine *e, struct ln_event **out);
    /* The same, of one that knows when it happened, where there are such. */
    cm_status (*timer_open)(struct tr_engine *e, struct ln_event **out);
    /* The arenas but for the host's weights, and all that a step needs besides; before the plan. */
    cm_status (*open)(struct tr_engine *e);
    void (*close)(struct tr_engine *e); /* after a failed open, too */
    cm_status (*plan)(struct tr_engine *e, struct nn_plan_config *cfg);
    /* On a shard's lane: which samples it takes (batch), and how they look. */
    cm_status (*fill)(struct tr_engine *e, int shard);
    /* On lane: a node of the tree, dst += src, rounded where the config says so; src NULL: only
     * that. */
    cm_status (*add)(struct tr_engine *e, struct ln_lane *lane, float *dst, const float *src,
                     size_t n);
    /* Floats [first, first + n) of the gradients, which are summed over the ranks from when lane 0
     * gets here. */
    void (*bucket)(struct tr_engine *e, size_t first, size_t n, struct ln_event *ready);
    /* engine.h's, of the step in that place of `begun`. */
    void (*begin)(struct tr_engine *e, int turn);
    cm_status (*end)(struct tr_engine *e, int turn, struct tr_outcome *outcome);
    cm_status (*look_ahead)(struct tr_engine *e, double keep);
    cm_status (*prepare)(struct tr_engine *e);
    cm_status (*fetch)(struct tr_engine *e); /* gradients too */
};
extern const struct tr_engine_place tr_engine_host, tr_engine_device;

struct tr_engine {
    struct tr_engine_config cfg;
    const struct tr_engine_place *place;
    const struct nn_backend *backend;
    struct tr_device_part *part; /* engine_device.c's own; NULL on the host */
    struct nn_engines engines;
    struct nn_step_state scaling; /* after the last step */
    struct tr_order order;
    struct nn_plan *plan;
    struct tr_optimizer *optimizer;
    float *weights, *gradients;           /* layout->ntotal floats, the host's … */
    float *average;                       /* look-ahead; NULL: none */
    float *lane_weights, *lane_gradients; /* … and the lanes': the same ones on a CPU */
    uint32_t all_shards;                  /* V */
    int nshards, nlanes, first_shard;     /* of this rank */
    struct tr_shard *shards;
    struct nn_result *results; /* by shard, in the backend's memory */
    struct tr_lane *lanes;
    int nbuckets;
    struct tr_bucket *buckets;
    struct ln_event *statistics_ready;
    /* Steps under way, which take turns: number i is in (oldest + i) % TR_AHEAD. */
    struct tr_begun begun[TR_AHEAD];
    int oldest, nbegun, ahead;
    int64_t ended_ns; /* the last one */
    /* The step that is enqueued; on the host, whose lanes read it, that runs. */
    int64_t step;
    struct tr_slice slice;
    struct tr_update update;
    struct tr_sum_times sums; /* of the step ended last, where they are NCCL's */
    bool timing;
    struct tr_op_time *times; /* written by lanes; with one lane only */
};

/* Enqueues the step of that turn. */
void tr_engine_enqueue(struct tr_engine *e, int turn);
/* The parts of it that only enqueue. */
void tr_engine_enqueue_forward(struct tr_engine *e);
void tr_engine_enqueue_backward(struct tr_engine *e);
/* Waits for all lanes; the first fault. */
CM_MUST_CHECK cm_status tr_engine_sync_lanes(struct tr_engine *e);

/* At the end of a task on lane that began at since_ns: its time, when timing is on. On a device it
 * waits for what the task has enqueued. */
CM_MUST_CHECK cm_status tr_engine_note_time(struct tr_engine *e, struct ln_lane *lane, int row,
                                            bool backward, int64_t since_ns);

/* CM_ENUMERIC, on all ranks alike for they hold the same sums: loss or a gradient of that step is
 * not finite; names the tensor where it began. */
CM_MUST_CHECK cm_status tr_gradient_check(const struct tr_engine *e, int64_t step, double loss);
/* The factor on the gradients of count images, by train.reduction and train.clip_norm. *norm: of
 * the whole gradient before clipping; NaN when clipping is off. */
double tr_gradient_scale(const struct tr_engine *e, double count, double *norm);
/* Running statistics take up those of the step's count images. */
void tr_gradient_statistics(struct tr_engine *e, double count);

#endif
