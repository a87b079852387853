/* The engine: one training step on this rank's shards. It owns lanes, weights, gradients and
 * optimiser; every buffer is there before step one, and the step allocates nothing.
 *
 *   lane 0   in fwd … loss  bwd ──┐ merge  finish ──► bucket ──► update  prepare
 *   lane 1   in fwd … loss  bwd ──┘ (tree over shards)  │        update  prepare
 *   reducer                                             └► sum over ranks, while backward goes on
 *
 * The caller's thread only enqueues, and waits once, at the end. Inside a lane, shards are merged
 * as a binary counter counts, then lanes pairwise, then ranks (group.h): together one fixed tree
 * over all V shards, so neither the number of ranks nor that of lanes changes a bit.
 *
 * On a device (engine_device.c) the lanes are streams, the arenas lie there, and the host's copies
 * of weights and optimiser are those of the last tr_engine_fetch or tr_engine_prepare. A device
 * that computes without the host is given its next step while it is at one:
 *
 *   begin 0  begin 1  end 0  begin 2  end 1  begin 3  end 2 …      never idle; the same bits */
#ifndef TRAINER_ENGINE_H
#define TRAINER_ENGINE_H

#include <stdint.h>

#include "allreduce/group.h"
#include "allreduce/overlap.h"
#include "common/status.h"
#include "model/device.h"
#include "model/engines.h"
#include "model/layout.h"
#include "model/plan.h"
#include "model/spec.h"
#include "trainer/optimizer.h"
#include "trainer/shard.h"
#include "trainer/train_config.h"

/* Training images as the network takes them: uint8 (n, H, W, C), and labels. Borrowed by the
 * engine. */
struct tr_samples {
    uint32_t n, nrows; /* nrows: of images and labels; needed on a device, which copies them */
    const uint8_t *images;
    const int32_t *labels;
    const uint32_t
        *id; /* n numbers of rows in images and labels: the training part, without the holdout */
};

struct tr_device_sum;

struct tr_engine_config {
    const struct nn_spec *spec;
    const struct nn_layout *layout;
    const struct tr_model_config *model;
    const struct tr_train_config *train;
    const struct ar_config *allreduce;
    struct ar_group *group;
    int nlanes; /* at most; a power of two of them is used */
    struct tr_samples samples;
    /* Where the caller draws samples itself, instead of the epoch's order (replay); NULL: it does
     * not. Gives row numbers for positions [first, first + n) of the epoch that step lies in: a
     * function of step and position, called by all lanes at once. */
    void (*draw)(void *ctx, int64_t step, uint32_t first, uint32_t n, uint32_t *rows);
    void *draw_ctx;
    struct nn_device *device; /* where to compute; NULL: on the host, as model says */
    /* On a device, of several ranks: from GPU to GPU (device_sum.h), at least layout->ntotal
     * floats; NULL: through the host. */
    struct tr_device_sum *sum;
    size_t bucket;  /* floats after which one closes; 0: as the config says */
    bool no_graphs; /* on a device: every step is enqueued anew, never captured; the same bits */
};

/* Whether steps are launched as captured graphs. */
enum tr_graphs {
    TR_GRAPHS_ON,
    TR_GRAPHS_OFF,   /* not wanted, on the host, or with several ranks */
    TR_GRAPHS_FAILED /* a capture did, and said why */
};

struct tr_engine; /* one thread at a time */

/* Borrows all of cfg for its life. Weights start at zero: see tr_engine_weights. With a device it
 * is collective, and fails on all ranks or on none: rank 0 chooses the library's engines for all.
 */
CM_MUST_CHECK cm_status tr_engine_open(struct tr_engine **out, const struct tr_engine_config *cfg);
/* Ends what is under way. NULL is fine. */
void tr_engine_close(struct tr_engine **e);

float *tr_engine_weights(struct tr_engine *e); /* layout->ntotal floats */
/* As many, of the last step, where they are: on the device, which needs no fetch; else the host's.
 * To be evaluated (evaluate.h). */
const float *tr_engine_weights_in_place(const struct tr_engine *e);
/* Look-ahead: as many, fetched and prepared like the weights; NULL without train.average_decay. */
float *tr_engine_average(struct tr_engine *e);
struct tr_optimizer *tr_engine_optimizer(struct tr_engine *e);
const struct tr_order *tr_engine_order(const struct tr_engine *e);
const struct nn_plan *tr_engine_plan(const struct tr_engine *e);
int tr_engine_nlanes(const struct tr_engine *e);

/* After weights or optimiser were written (initial values, a checkpoint): the engine takes them up.
 */
CM_MUST_CHECK cm_status tr_engine_prepare(struct tr_engine *e);

/* Before weights or optimiser are read: the host's copies become those of the last step. */
CM_MUST_CHECK cm_status tr_engine_fetch(struct tr_engine *e);
/* fp16's loss scale as a version holds it (step.h), before tr_engine_prepare; zeros: from the
 * start. */
void tr_engine_set_scaling(struct tr_engine *e, const struct nn_step_state *scaling);
/* Which of its ways a device's library computes products in; empty on the host. */
const struct nn_engines *tr_engine_engines(const struct tr_engine *e);
enum tr_graphs tr_engine_graphs(const struct tr_engine *e);
const char *tr_graphs_name(enum tr_graphs graphs); /* "on" */

/* Control bits. Callers choose their own from the lower ones; the engine's: a rank could not do its
 * part. */
#define TR_BIT_FAILED 0x80000000u

/* What all ranks know after a step. */
struct tr_outcome {
    double loss; /* sum over the images of the global batch */
    int64_t correct, count;
    double
        grad_norm; /* of the gradient that was applied, before clipping; NaN when clipping is off */
    uint32_t bits; /* control word: what any rank raised */
    double lr;
    double seconds; /* of this rank: from its begin, or the end of the step before, to its end */
    struct nn_step_state scaling; /* zeros without fp16 */
};

/* Steps that may be under way at once, at most TR_AHEAD, the same on all ranks: on a device as many
 * as model.ahead says; 1 on a CPU and where sums go through the host (cuda+mpi). */
int tr_engine_ahead(const struct tr_engine *e);
int tr_engine_begun(const struct tr_engine *e); /* of them are under way */

/* Begins step number `step` (0-based, of the whole run) at learning rate lr: enqueues it, and never
 * waits; fewer than tr_engine_ahead are under way. raise: control bits of this rank. What fails,
 * its end tells. As long as a step is under way, the state may not be read or written: only
 * begin, end and close. All ranks begin and end the same steps in the same order. */
void tr_engine_begin(struct tr_engine *e, int64_t step, double lr, uint32_t raise);

/* Waits for the oldest step that is under way. Collective. A loss or gradient that is not finite:
 * CM_ENUMERIC on all ranks in the same step; it names the tensor where it began: a weight, else a
 * batch statistic, as forward meets them; else a gradient, as backward does; and the largest
 * weight, where activations overflow. A rank that cannot do its part: its fault, on all ranks.
 * Weights and optimiser are then as before the step, and the one begun behind it is forgotten: it
 * has updated nothing. After CM_ETIMEDOUT and faults of the group the job can only be left; from
 * GPU to GPU it is left here (ar_group_abort) when a rank could not do its part, for the others'
 * sums would never end. */
CM_MUST_CHECK cm_status tr_engine_end(struct tr_engine *e, struct tr_outcome *outcome);

/* The two in a row, for who looks at each step; none is under way. */
CM_MUST_CHECK cm_status tr_engine_step(struct tr_engine *e, int64_t step, double lr, uint32_t raise,
                                       struct tr_outcome *outcome);

/* average = (1 - keep) weights + keep average, and the weights become it: all tensors and
 * statistics. With train.average_decay only. */
CM_MUST_CHECK cm_status tr_engine_look_ahead(struct tr_engine *e, double keep);

/* The tensor whose gradient in the last step was the largest against its weights (squared norms),
 * or that is not finite: where to look when a finite loss jumps. */
const char *tr_engine_steepest(struct tr_engine *e);

/* Seconds of the step ended last that its sums over ranks took on this rank, whatever made them:
 * moving and adding (NCCL's with its wait for ranks that come later), and how long the step waited
 * for that after its own work. */
struct tr_sum_times {
    double busy_s, exposed_s;
};
struct tr_sum_times tr_engine_sum_times(const struct tr_engine *e);

/* Of the step ended last, with one rank on a device, unless it was launched as a graph: when the
 * gradients of each bucket, and last of all the statistics, were there, since the step's numbers
 * were. pieces: tr_engine_npieces of them. */
size_t tr_engine_npieces(const struct tr_engine *e);
CM_MUST_CHECK cm_status tr_engine_pieces(const struct tr_engine *e, struct ar_piece *pieces);

/* Seconds of the last step by op, summed over this rank's shards, when timing is on (flywheel bench
 * train) and there is one lane. On a device each is waited for, which takes longer than a step: one
 * step at a time. */
struct tr_op_time {
    double forward_s, backward_s;
};
void tr_engine_set_timing(struct tr_engine *e, bool on);
/* nops of the plan, then [nops] input, [nops + 1] loss, [nops + 2] merge and finish, [nops + 3]
 * update and prepare. */
#define TR_TIMES_EXTRA 4
const struct tr_op_time *tr_engine_times(const struct tr_engine *e);

#endif
