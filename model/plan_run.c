/* Running a plan: every call finds its buffers and hands them to one op. Nothing is allocated. */
#include <string.h>

#include "model/plan_state.h"

static void *at(const struct nn_plan *plan, int shard, struct nn_place place)
{
    if (place.slot < 0)
        return NULL;
    return plan->block + (size_t)shard * plan->block_nbytes + place.offset;
}

static struct nn_op_args common_args(const struct nn_plan *plan, int shard, struct ln_lane *lane,
                                     int lane_number)
{
    const struct nn_shard *s = &plan->shards[shard];
    return (struct nn_op_args){.n = s->batch ? s->batch->n : 0,
                               .lane = lane_number,
                               .stream = lane,
                               .scratch =
                                   plan->scratch + (size_t)lane_number * plan->scratch_nbytes,
                               .step = s->step,
                               .values = plan->cfg.values,
                               .first_sample = s->first_sample};
}

static struct nn_op_args op_args(const struct nn_plan *plan, const struct nn_plan_op *op, int shard,
                                 struct ln_lane *lane, int lane_number)
{
    struct nn_op_args a = common_args(plan, shard, lane, lane_number);
    for (int k = 0; k < op->step.nx; k++)
        a.x[k] = at(plan, shard, op->x[k]);
    a.y = at(plan, shard, op->y);
    a.saved = at(plan, shard, op->saved);
    memcpy(a.param, op->param, sizeof a.param);
    /* Dropouts of one network must not drop alike: 2^64 / golden ratio spreads the node numbers. */
    a.seed = plan->cfg.seed ^ (UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(op->step.node + 1));
    return a;
}

cm_status nn_plan_prepare(struct nn_plan *plan, int op, struct ln_lane *lane, const float *weights)
{
    struct nn_plan_op *p = &plan->ops[op];
    const int *roles = plan->layout->of_node[p->step.node];
    for (int role = 0; role < NN_ROLE_COUNT; role++)
        p->param[role] =
            roles[role] < 0 ? NULL : weights + plan->layout->tensors[roles[role]].offset;
    return p->op.impl->prepare ? p->op.impl->prepare(&p->op, lane, p->param) : CM_OK;
}

cm_status nn_plan_prepare_all(struct nn_plan *plan, const float *weights)
{
    for (int op = 0; op < plan->nops; op++)
        CM_TRY(nn_plan_prepare(plan, op, NULL, weights));
    return plan->cfg.backend->settle ? plan->cfg.backend->settle(plan->cfg.backend) : CM_OK;
}

static cm_status check_size(const struct nn_plan *plan, int n)
{
    for (int i = 0; i < plan->cfg.nbatches; i++)
        if (plan->batches[i] == n)
            return CM_OK;
    return CM_FAIL(CM_EINVAL, "%s: a shard of %d images was not planned", plan->spec->name, n);
}

cm_status nn_plan_input(struct nn_plan *plan, int shard, struct ln_lane *lane, int lane_number,
                        const struct nn_batch *batch, uint32_t step, uint32_t first_sample)
{
    struct nn_shard *s = &plan->shards[shard];
    *s = (struct nn_shard){.batch = batch, .step = step, .first_sample = first_sample};
    if (batch->n == 0)
        return CM_OK;
    CM_TRY(check_size(plan, batch->n));
    struct nn_op_args a = common_args(plan, shard, lane, lane_number);
    a.y = at(plan, shard, plan->image);
    a.batch = batch;
    return plan->input.impl->forward(&plan->input, &a);
}

cm_status nn_plan_forward(struct nn_plan *plan, int op, int shard, struct ln_lane *lane,
                          int lane_number)
{
    const struct nn_plan_op *p = &plan->ops[op];
    struct nn_op_args a = op_args(plan, p, shard, lane, lane_number);
    return a.n == 0 ? CM_OK : p->op.impl->forward(&p->op, &a);
}

cm_status nn_plan_loss(struct nn_plan *plan, int shard, struct ln_lane *lane, int lane_number,
                       struct nn_result *result)
{
    struct nn_op_args a = common_args(plan, shard, lane, lane_number);
    if (a.n == 0)
        return plan->cfg.backend->zero(plan->cfg.backend, lane, result, sizeof *result);
    a.x[0] = at(plan, shard, plan->logits);
    a.dx[0] = at(plan, shard, plan->dlogits);
    a.batch = plan->shards[shard].batch;
    a.result = result;
    return plan->loss.impl->forward(&plan->loss, &a);
}

/* Adds the parts of readers that came after another one. */
static cm_status add_parts(const struct nn_plan *plan, const struct nn_plan_op *op,
                           const struct nn_op_args *a, int shard)
{
    const struct nn_backend *backend = plan->cfg.backend;
    for (int k = 0; k < op->step.nx; k++) {
        if (!op->share[k].adds)
            continue;
        struct nn_shape shape = k == 0 ? op->op.desc.x : op->op.desc.y;
        CM_TRY(backend->accumulate(backend, a->stream, plan->dtype, at(plan, shard, op->dx[k]),
                                   at(plan, shard, op->share[k].part),
                                   (size_t)a->n * nn_shape_count(shape)));
    }
    return CM_OK;
}

cm_status nn_plan_backward(struct nn_plan *plan, int op, int shard, struct ln_lane *lane,
                           int lane_number, float *dparam)
{
    const struct nn_plan_op *p = &plan->ops[op];
    if (!p->backward)
        return CM_OK;
    struct nn_op_args a = op_args(plan, p, shard, lane, lane_number);
    if (a.n == 0 && p->op.needs.dparam == 0)
        return CM_OK;
    if (a.n == 0)
        return plan->cfg.backend->zero(plan->cfg.backend, lane, dparam,
                                       p->op.needs.dparam * sizeof *dparam);
    a.dy = at(plan, shard, p->dy);
    for (int k = 0; k < p->step.nx; k++)
        a.dx[k] = at(plan, shard, p->share[k].adds ? p->share[k].part : p->dx[k]);
    a.dparam = dparam;
    CM_TRY(p->op.impl->backward(&p->op, &a));
    return add_parts(plan, p, &a, shard);
}

cm_status nn_plan_finish(struct nn_plan *plan, int op, struct ln_lane *lane, const float *dparam,
                         float *gradients)
{
    const struct nn_backend *backend = plan->cfg.backend;
    const struct nn_plan_op *p = &plan->ops[op];
    const int *roles = plan->layout->of_node[p->step.node];
    bool fixed = nn_plan_dparam(plan, op) == 0; /* nothing here or before is trained */
    bool plain = !p->op.impl->finish;           /* dparam is the tensors in order */
    float *grad[NN_ROLE_COUNT] = {NULL};
    const float *next = dparam;
    for (int role = 0; role < NN_ROLE_COUNT; role++) {
        if (roles[role] < 0)
            continue;
        const struct nn_tensor *t = &plan->layout->tensors[roles[role]];
        grad[role] = gradients + t->offset;
        if (fixed) {
            CM_TRY(backend->zero(backend, lane, grad[role], t->n * sizeof *grad[role]));
        } else if (plain) {
            CM_TRY(backend->copy(backend, lane, grad[role], next, t->n * sizeof *grad[role]));
            next += (t->n + 15) / 16 * 16;
        }
    }
    return fixed || plain ? CM_OK : p->op.impl->finish(&p->op, lane, dparam, grad);
}

cm_status nn_plan_logits(const struct nn_plan *plan, int shard, struct ln_lane *lane, float *logits)
{
    const struct nn_batch *batch = plan->shards[shard].batch;
    size_t n = batch ? (size_t)batch->n : 0;
    if (n == 0)
        return CM_OK;
    return plan->cfg.backend->to_f32(plan->cfg.backend, lane, plan->dtype, logits,
                                     at(plan, shard, plan->logits),
                                     n * nn_shape_count(plan->logits_shape));
}

cm_status nn_plan_infer(struct nn_plan *plan, struct ln_lane *lane, const struct nn_batch *batch,
                        float *logits)
{
    CM_TRY(nn_plan_input(plan, 0, lane, 0, batch, 0, 0));
    for (int op = 0; op < plan->nops; op++)
        CM_TRY(nn_plan_forward(plan, op, 0, lane, 0));
    return nn_plan_logits(plan, 0, lane, logits);
}
