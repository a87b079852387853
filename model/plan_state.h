/* The inside of a plan; private to plan*.c. */
#ifndef MODEL_PLAN_STATE_H
#define MODEL_PLAN_STATE_H

#include "model/plan.h"
#include "model/plan_fuse.h"
#include "model/plan_memory.h"

/* A buffer inside a shard's block. */
struct nn_place {
    int slot; /* -1: none */
    size_t offset;
};

/* One reader's share of a value's gradient. */
struct nn_share {
    bool wanted; /* some parameter before it is trained */
    bool adds;   /* another reader wrote the gradient before (backward runs last op first) */
    struct nn_place part; /* where this one writes when it adds */
};

struct nn_plan_op {
    struct nn_op op;
    struct nn_step step;
    bool backward; /* something in or before it is trained */
    struct nn_place x[2], y, dx[2], dy, saved;
    struct nn_share share[2];
    const float *param[NN_ROLE_COUNT]; /* in the prepared arena */
};

/* What a shard is doing; touched by the calls for that shard only. */
struct nn_shard {
    const struct nn_batch *batch;
    uint32_t step, first_sample;
};

struct nn_plan {
    struct nn_plan_config cfg;
    int *batches; /* own copy of cfg.batches */
    int largest;  /* images */
    const struct nn_spec *spec;
    const struct nn_layout *layout;
    enum nn_dtype dtype;
    bool emulate_bf16;

    int nops;
    struct nn_plan_op *ops; /* in forward order */
    struct nn_op input, loss;
    struct nn_place image, logits, dlogits;
    struct nn_shape logits_shape;

    struct nn_shard *shards;
    char *block; /* nshards x block_nbytes: activations, saved state, gradients */
    size_t block_nbytes;
    char *scratch; /* nlanes x scratch_nbytes */
    size_t scratch_nbytes;
};

/* plan_place.c: which readers add, which buffers exist and where; allocates block and scratch.
 * logits: the node whose value they are. */
CM_MUST_CHECK cm_status nn_plan_place(struct nn_plan *plan, int logits);

/* Marks the ops that need backward and the readers whose gradient is wanted, before ops are opened.
 * trained[v + 1]: scratch for nnodes + 1 flags, by value (NN_INPUT first). */
void nn_plan_mark_trained(struct nn_plan *plan, bool *trained);

#endif
