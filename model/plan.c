/* Building a plan: steps (plan_fuse.c), ops, places (plan_place.c); and what can be asked of it.
 * plan_run.c runs it. */
#include "model/plan.h"

#include <string.h>

#include "common/mem.h"
#include "model/plan_state.h"

#define ALIGN 16 /* floats, as in layout.h */

const char *const nn_precision_names[] = {"auto", "fp32", "bf16", "bf16-emulated", "fp16", NULL};

enum nn_dtype nn_precision_dtype(enum nn_precision precision, const struct nn_backend *backend)
{
    bool wanted = precision == NN_PRECISION_AUTO || precision == NN_PRECISION_BF16;
    if (precision == NN_PRECISION_BF16_EMULATED || (wanted && backend->has_dtype(NN_BF16)))
        return NN_BF16;
    return precision == NN_PRECISION_FP16 && backend->has_dtype(NN_F16) ? NN_F16 : NN_F32;
}

static cm_status check_config(const struct nn_plan_config *cfg)
{
    if (cfg->nbatches < 1 || cfg->nshards < 1 || cfg->nlanes < 1 || cfg->threads < 1)
        return CM_FAIL(CM_EINVAL, "plan of %d shards, %d shard sizes, %d lanes, %d threads",
                       cfg->nshards, cfg->nbatches, cfg->nlanes, cfg->threads);
    for (int i = 0; i < cfg->nbatches; i++)
        if (cfg->batches[i] <= (i == 0 ? 0 : cfg->batches[i - 1]))
            return CM_FAIL(CM_EINVAL, "plan: shard size %d is not positive and ascending",
                           cfg->batches[i]);
    return CM_OK;
}

/* What is the same for every op of the plan. */
static struct nn_op_desc common_desc(const struct nn_plan *plan, enum nn_op_kind kind,
                                     const char *name)
{
    return (struct nn_op_desc){.kind = kind,
                               .name = name,
                               .dtype = plan->dtype,
                               .batches = plan->batches,
                               .nbatches = plan->cfg.nbatches,
                               .training = plan->cfg.training,
                               .nlanes = plan->cfg.nlanes,
                               .threads = plan->cfg.threads,
                               .emulate_bf16 = plan->emulate_bf16,
                               .engines = plan->cfg.engines};
}

static enum nn_act act_of(enum nn_kind kind)
{
    switch (kind) {
    case NN_RELU:
        return NN_ACT_RELU;
    case NN_GELU:
        return NN_ACT_GELU;
    case NN_SIGMOID:
        return NN_ACT_SIGMOID;
    case NN_TANH:
        return NN_ACT_TANH;
    default:
        return NN_ACT_NONE;
    }
}

static struct nn_op_desc desc_of(const struct nn_plan *plan, const struct nn_plan_op *op)
{
    const struct nn_spec *spec = plan->spec;
    const struct nn_step *step = &op->step;
    const struct nn_node *node = &spec->nodes[step->node];
    const struct nn_node *window = step->pool >= 0 ? &spec->nodes[step->pool] : node;
    struct nn_op_desc d = common_desc(plan, step->kind, node->name);
    d.x = step->x[0] == NN_INPUT ? spec->input : spec->nodes[step->x[0]].shape;
    d.y = spec->nodes[step->y].shape;
    d.kernel = window->kernel;
    d.stride = window->stride;
    d.pad = window->pad;
    d.average = node->kind == NN_AVGPOOL;
    d.bias = node->bias;
    d.freeze_weight = node->freeze_weight;
    d.freeze_bias = node->freeze_bias;
    d.eps = node->eps;
    d.residual = step->kind == NN_OP_NORM && step->nx == 2;
    d.act = step->act >= 0 ? act_of(spec->nodes[step->act].kind) : act_of(node->kind);
    d.p = node->p;
    d.need_dx = op->share[0].wanted || op->share[1].wanted;
    return d;
}

static cm_status check_norm(const struct nn_plan *plan, const struct nn_op_desc *d)
{
    int64_t values = (int64_t)plan->batches[0] * d->y.h * d->y.w;
    if (d->kind != NN_OP_NORM || !plan->cfg.training || values >= 2)
        return CM_OK;
    return CM_FAIL(CM_ESHAPE,
                   "%s: a shard of %d image is 1 value per channel; batch norm needs 2 (a larger "
                   "batch or fewer shards)",
                   d->name, plan->batches[0]);
}

static cm_status open_ends(struct nn_plan *plan)
{
    struct nn_op_desc in = common_desc(plan, NN_OP_INPUT, "input");
    in.x = in.y = plan->spec->input;
    memcpy(in.mean, plan->spec->preprocess.mean, sizeof in.mean);
    memcpy(in.std, plan->spec->preprocess.std, sizeof in.std);
    in.pad_mode = plan->cfg.pad_mode;
    CM_TRY(nn_op_open(&plan->input, plan->cfg.backend, &in));

    struct nn_op_desc loss = common_desc(plan, NN_OP_LOSS, "loss");
    loss.x = loss.y = plan->logits_shape;
    loss.need_dx = plan->cfg.training;
    loss.loss = plan->cfg.loss;
    loss.label_smoothing = plan->cfg.label_smoothing;
    return nn_op_open(&plan->loss, plan->cfg.backend, &loss);
}

static cm_status open_ops(struct nn_plan *plan)
{
    for (int i = 0; i < plan->nops; i++) {
        struct nn_op_desc d = desc_of(plan, &plan->ops[i]);
        CM_TRY(check_norm(plan, &d));
        CM_TRY(nn_op_open(&plan->ops[i].op, plan->cfg.backend, &d));
    }
    return open_ends(plan);
}

static cm_status make_steps(struct nn_plan *plan, int *logits)
{
    size_t nnodes = (size_t)plan->spec->nnodes;
    struct nn_step *steps = NULL;
    bool *trained = NULL;
    cm_status st;
    CM_GOTO(st, cm_alloc(&steps, nnodes, sizeof *steps, "steps"), out);
    CM_GOTO(st, cm_alloc(&trained, nnodes + 1, sizeof *trained, "trained values"), out);
    CM_GOTO(st,
            nn_plan_steps(steps, &plan->nops, logits, plan->spec, plan->cfg.backend->fuses,
                          plan->cfg.training),
            out);
    CM_GOTO(st, cm_alloc(&plan->ops, (size_t)plan->nops, sizeof *plan->ops, "ops"), out);
    for (int i = 0; i < plan->nops; i++)
        plan->ops[i].step = steps[i];
    nn_plan_mark_trained(plan, trained);
out:
    cm_free(&trained);
    cm_free(&steps);
    return st;
}

static cm_status build(struct nn_plan *plan)
{
    size_t nbatches = (size_t)plan->cfg.nbatches;
    int logits;
    CM_TRY(cm_alloc(&plan->batches, nbatches, sizeof *plan->batches, "shard sizes"));
    memcpy(plan->batches, plan->cfg.batches, nbatches * sizeof *plan->batches);
    plan->cfg.batches = plan->batches;
    plan->largest = plan->batches[nbatches - 1];
    plan->logits_shape = plan->spec->nodes[plan->spec->nnodes - 1].shape;
    plan->dtype = nn_precision_dtype(plan->cfg.precision, plan->cfg.backend);
    plan->emulate_bf16 = plan->cfg.precision == NN_PRECISION_BF16_EMULATED;
    CM_TRY(make_steps(plan, &logits));
    CM_TRY(open_ops(plan));
    CM_TRY(cm_alloc(&plan->shards, (size_t)plan->cfg.nshards, sizeof *plan->shards, "shards"));
    return nn_plan_place(plan, logits);
}

cm_status nn_plan_open(struct nn_plan **out, const struct nn_spec *spec,
                       const struct nn_layout *layout, const struct nn_plan_config *cfg)
{
    struct nn_plan *self = NULL;
    cm_status st;
    *out = NULL;
    CM_TRY(check_config(cfg));
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "plan"));
    self->cfg = *cfg;
    self->spec = spec;
    self->layout = layout;
    CM_GOTO(st, build(self), out);
    *out = self;
    self = NULL;
out:
    nn_plan_close(&self);
    return st == CM_OK ? st : CM_CONTEXT(st, "%s", spec->name);
}

void nn_plan_close(struct nn_plan **plan)
{
    struct nn_plan *self = *plan;
    if (!self)
        return;
    const struct nn_backend *backend = self->cfg.backend;
    for (int i = 0; self->ops && i < self->nops; i++)
        nn_op_close(&self->ops[i].op);
    nn_op_close(&self->input);
    nn_op_close(&self->loss);
    backend->release(backend, &self->scratch);
    backend->release(backend, &self->block);
    cm_free(&self->shards);
    cm_free(&self->ops);
    cm_free(&self->batches);
    cm_free(plan);
}

enum nn_dtype nn_plan_dtype(const struct nn_plan *plan)
{
    return plan->dtype;
}

size_t nn_plan_nbytes(const struct nn_plan *plan)
{
    return plan->block_nbytes * (size_t)plan->cfg.nshards +
           plan->scratch_nbytes * (size_t)plan->cfg.nlanes;
}

int nn_plan_nops(const struct nn_plan *plan)
{
    return plan->nops;
}

const struct nn_op *nn_plan_op(const struct nn_plan *plan, int op)
{
    return &plan->ops[op].op;
}

size_t nn_plan_dparam(const struct nn_plan *plan, int op)
{
    return plan->ops[op].backward ? plan->ops[op].op.needs.dparam : 0;
}

void nn_plan_range(const struct nn_plan *plan, int op, size_t *first, size_t *count)
{
    const int *roles = plan->layout->of_node[plan->ops[op].step.node];
    size_t end = *first = 0;
    for (int role = NN_BIAS; role >= NN_WEIGHT; role--) {
        if (roles[role] < 0)
            continue;
        const struct nn_tensor *t = &plan->layout->tensors[roles[role]];
        end = end > 0 ? end : (t->offset + t->n + ALIGN - 1) / ALIGN * ALIGN;
        *first = t->offset;
    }
    *count = end - *first;
}

double nn_plan_flops(const struct nn_plan *plan, int op)
{
    const struct nn_op_desc *d = &plan->ops[op].op.desc;
    double pairs = (double)d->x.c * (double)nn_shape_count(d->y);
    switch (d->kind) {
    case NN_OP_CONV:
        return 2 * pairs * d->kernel * d->kernel;
    case NN_OP_LINEAR:
        return 2 * pairs;
    default:
        return 0;
    }
}

double nn_plan_step_flops(const struct nn_plan *plan, int op)
{
    const struct nn_op_desc *d = &plan->ops[op].op.desc;
    int gradients = d->training ? !d->freeze_weight + d->need_dx : 0;
    return nn_plan_flops(plan, op) * (1 + gradients);
}
