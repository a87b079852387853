/* A plan: a network ready to compute. It fixes the order of ops, fuses what the backend can fuse,
 * knows all shard sizes, and places every buffer before step one; running it allocates nothing.
 *
 * The plan is the outer loop, the local shards the inner one: the caller runs op i for every shard
 * before op i + 1, each shard on the lane of its choice, so that every parameter's gradient is
 * complete as soon as backward has passed its op:
 *
 *   for op in 0 … nops-1:      for shard: nn_plan_forward(plan, op, shard, lane)
 *   for shard:                 nn_plan_loss(plan, shard, lane)
 *   for op in nops-1 … 0:      for shard: nn_plan_backward(plan, op, shard, lane, dparam[shard])
 *                              sum dparam over shards; nn_plan_finish(plan, op, lane, sum,
 * gradients)
 *
 * Calls for different shards may run at the same time; calls for one shard, one after the other.
 * Call them from lane tasks (lane.h); on a GPU they only enqueue. */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/lane.h"
#include "common/status.h"
#include "model/layout.h"
#include "model/op.h"
#include "model/spec.h"

enum nn_precision {
    NN_PRECISION_AUTO,
    NN_PRECISION_FP32,
    NN_PRECISION_BF16,
    NN_PRECISION_BF16_EMULATED,
    NN_PRECISION_FP16
};
extern const char
    *const nn_precision_names[]; /* "auto", "fp32", "bf16", "bf16-emulated", "fp16", NULL */
/* The dtype that a plan takes: fp32 where bf16 or fp16 was wanted and the backend has none; the
 * caller tells people. */
enum nn_dtype nn_precision_dtype(enum nn_precision precision, const struct nn_backend *backend);

struct nn_plan_config {
    const struct nn_backend *backend;
    enum nn_precision precision;
    bool training;
    int nshards;        /* held at the same time */
    const int *batches; /* all shard sizes that will be run, ascending, distinct, > 0 */
    int nbatches;
    int nlanes, threads; /* see struct nn_op_desc */
    enum nn_pad_mode pad_mode;
    enum nn_loss_kind loss;
    double label_smoothing;
    uint64_t seed; /* dropout */
    /* Devices only; both borrowed for the plan's life. The step's values in the device's memory
     * (step.h), and the table of the libraries' ways (engines.h); NULL: none. */
    const struct nn_step_values *values;
    struct nn_engines *engines;
};

struct nn_plan;
/* Copies cfg; borrows spec and layout for the plan's life. CM_ESHAPE: a shard too small for batch
 * norm (names node). */
CM_MUST_CHECK cm_status nn_plan_open(struct nn_plan **out, const struct nn_spec *spec,
                                     const struct nn_layout *layout,
                                     const struct nn_plan_config *cfg);
void nn_plan_close(struct nn_plan **plan);

enum nn_dtype nn_plan_dtype(const struct nn_plan *plan);
size_t nn_plan_nbytes(const struct nn_plan *plan); /* of all its buffers */

/* ops, without input and loss */
int nn_plan_nops(const struct nn_plan *plan);
const struct nn_op *nn_plan_op(const struct nn_plan *plan, int op);
/* Floats of op's dparam; 0 when it has no parameters. Its tensors in the arena are contiguous:
 * [first, first + count) in the parameter part is complete once op is finished (for bucket bounds).
 */
size_t nn_plan_dparam(const struct nn_plan *plan, int op);
void nn_plan_range(const struct nn_plan *plan, int op, size_t *first, size_t *count);
/* Multiply-adds times two of one image: forward; and of a step, with the gradients that op
 * computes, none of frozen weights and none of what reads the image. */
double nn_plan_flops(const struct nn_plan *plan, int op);
double nn_plan_step_flops(const struct nn_plan *plan, int op);

/* weights: the arena, read by every later call until prepared anew. Per op, so that lanes can share
 * the work. */
CM_MUST_CHECK cm_status nn_plan_prepare(struct nn_plan *plan, int op, struct ln_lane *lane,
                                        const float *weights);
CM_MUST_CHECK cm_status nn_plan_prepare_all(struct nn_plan *plan, const float *weights);

/* Starts a shard's step: its images become the network's input. step and first_sample key the
 * dropout. batch is borrowed until the shard's last call of this step. batch->n must be one of the
 * sizes, or 0 (then all calls do nothing, and backward writes zeros). */
CM_MUST_CHECK cm_status nn_plan_input(struct nn_plan *plan, int shard, struct ln_lane *lane,
                                      int lane_number, const struct nn_batch *batch, uint32_t step,
                                      uint32_t first_sample);
CM_MUST_CHECK cm_status nn_plan_forward(struct nn_plan *plan, int op, int shard,
                                        struct ln_lane *lane, int lane_number);
/* Softmax cross-entropy or squared error against the batch's labels; leaves the logits' gradient of
 * the SUM over images. */
CM_MUST_CHECK cm_status nn_plan_loss(struct nn_plan *plan, int shard, struct ln_lane *lane,
                                     int lane_number, struct nn_result *result);
CM_MUST_CHECK cm_status nn_plan_backward(struct nn_plan *plan, int op, int shard,
                                         struct ln_lane *lane, int lane_number, float *dparam);
/* dparam: the sum over shards; writes op's ranges of the gradient arena, statistics included. */
CM_MUST_CHECK cm_status nn_plan_finish(struct nn_plan *plan, int op, struct ln_lane *lane,
                                       const float *dparam, float *gradients);

/* The shard's logits after forward, (n, classes) fp32 on the host. */
CM_MUST_CHECK cm_status nn_plan_logits(const struct nn_plan *plan, int shard, struct ln_lane *lane,
                                       float *logits);

/* input, all ops, logits, with shard = lane number = 0: for serving and small tools. lane NULL: on
 * the calling thread. */
CM_MUST_CHECK cm_status nn_plan_infer(struct nn_plan *plan, struct ln_lane *lane,
                                      const struct nn_batch *batch, float *logits);

#endif
