/* From ops to buffers. Time counts the calls of one shard's step:
 *
 *   0        1 … nops      nops + 1   nops + 2 … 2 nops + 1
 *   input    forward       loss       backward, last op first
 *
 * A value lives from the op that writes it to its last reader, backward included (an op sees x and
 * y again); its gradient from the first reader's backward to its writer's. All local shards are at
 * the same op, so each has a block of its own, placed alike. */
#include "common/mem.h"
#include "model/plan_state.h"

#define ALIGN         64  /* bytes: a cache line */
#define SCRATCH_ALIGN 256 /* bytes: what GPUs' libraries ask of a workspace, in every lane */

struct tracks {
    struct nn_slot *slots;
    int nslots;
    int *value, *gradient; /* slot of value v at v + 1; -1: none yet */
};

static int backward_time(const struct nn_plan *plan, int op)
{
    return plan->nops + 1 + plan->nops - op;
}

void nn_plan_mark_trained(struct nn_plan *plan, bool *trained)
{
    trained[0] = false; /* the image */
    for (int i = 0; i < plan->nops; i++) {
        struct nn_plan_op *op = &plan->ops[i];
        const int *roles = plan->layout->of_node[op->step.node];
        /* A norm's backward also tells the shard's statistics. */
        op->backward = op->step.kind == NN_OP_NORM;
        for (int role = 0; role < NN_ROLE_COUNT; role++)
            if (roles[role] >= 0 && plan->layout->tensors[roles[role]].trained)
                op->backward = true;
        for (int k = 0; k < op->step.nx; k++) {
            op->share[k].wanted = plan->cfg.training && trained[op->step.x[k] + 1];
            op->backward = op->backward || op->share[k].wanted;
        }
        op->backward = op->backward && plan->cfg.training;
        trained[op->step.y + 1] = op->backward;
    }
}

static int add_slot(struct tracks *t, size_t nbytes, int time)
{
    t->slots[t->nslots] = (struct nn_slot){.nbytes = nbytes, .first = time, .last = time};
    return t->nslots++;
}

static void extend(struct tracks *t, int slot, int time)
{
    if (t->slots[slot].last < time)
        t->slots[slot].last = time;
}

static size_t value_nbytes(const struct nn_plan *plan, struct nn_shape shape)
{
    return (size_t)plan->largest * nn_shape_count(shape) * nn_dtype_size(plan->dtype);
}

static struct nn_shape value_shape(const struct nn_plan *plan, int v)
{
    return v == NN_INPUT ? plan->spec->input : plan->spec->nodes[v].shape;
}

static void track_forward(struct nn_plan *plan, struct tracks *t)
{
    t->value[0] = plan->image.slot = add_slot(t, value_nbytes(plan, plan->spec->input), 0);
    for (int i = 0; i < plan->nops; i++) {
        struct nn_plan_op *op = &plan->ops[i];
        const struct nn_op_needs *needs = &op->op.needs;
        size_t saved = needs->saved_fixed + needs->saved_per_image * (size_t)plan->largest;
        int last = op->backward ? backward_time(plan, i) : i + 1;
        for (int k = 0; k < op->step.nx; k++) {
            op->x[k].slot = t->value[op->step.x[k] + 1];
            extend(t, op->x[k].slot, last);
        }
        op->y.slot = add_slot(t, value_nbytes(plan, value_shape(plan, op->step.y)), i + 1);
        t->value[op->step.y + 1] = op->y.slot;
        op->saved.slot = add_slot(t, saved, i + 1);
        extend(t, op->y.slot, last);
        extend(t, op->saved.slot, last);
    }
}

static void track_share(struct nn_plan *plan, struct tracks *t, int i, int k)
{
    struct nn_plan_op *op = &plan->ops[i];
    int v = op->step.x[k], now = backward_time(plan, i);
    size_t nbytes = value_nbytes(plan, value_shape(plan, v));
    int *slot = &t->gradient[v + 1];
    op->share[k].adds = *slot >= 0;
    if (*slot < 0)
        *slot = add_slot(t, nbytes, now);
    else
        op->share[k].part.slot = add_slot(t, nbytes, now);
    op->dx[k].slot = *slot;
    extend(t, *slot, now);
}

static void track_backward(struct nn_plan *plan, struct tracks *t, int logits, bool want_dlogits)
{
    if (want_dlogits)
        t->gradient[logits + 1] = plan->dlogits.slot =
            add_slot(t, value_nbytes(plan, plan->logits_shape), plan->nops + 1);
    for (int i = plan->nops - 1; i >= 0; i--) {
        struct nn_plan_op *op = &plan->ops[i];
        if (!op->backward)
            continue;
        op->dy.slot = t->gradient[op->step.y + 1];
        extend(t, op->dy.slot, backward_time(plan, i));
        for (int k = 0; k < op->step.nx; k++)
            if (op->share[k].wanted)
                track_share(plan, t, i, k);
    }
}

static void settle(struct nn_place *place, const struct nn_slot *slots)
{
    place->offset = place->slot >= 0 ? slots[place->slot].offset : 0;
}

static void settle_all(struct nn_plan *plan, const struct nn_slot *slots)
{
    settle(&plan->image, slots);
    settle(&plan->logits, slots);
    settle(&plan->dlogits, slots);
    for (int i = 0; i < plan->nops; i++) {
        struct nn_plan_op *op = &plan->ops[i];
        settle(&op->y, slots);
        settle(&op->dy, slots);
        settle(&op->saved, slots);
        for (int k = 0; k < 2; k++) {
            settle(&op->x[k], slots);
            settle(&op->dx[k], slots);
            settle(&op->share[k].part, slots);
        }
    }
}

static void forget_places(struct nn_plan *plan)
{
    static const struct nn_place none = {.slot = -1};
    plan->image = plan->logits = plan->dlogits = none;
    for (int i = 0; i < plan->nops; i++) {
        struct nn_plan_op *op = &plan->ops[i];
        op->y = op->dy = op->saved = none;
        for (int k = 0; k < 2; k++)
            op->x[k] = op->dx[k] = op->share[k].part = none;
    }
}

static cm_status allocate(struct nn_plan *plan)
{
    const struct nn_backend *backend = plan->cfg.backend;
    size_t scratch = plan->input.needs.scratch;
    if (plan->loss.needs.scratch > scratch)
        scratch = plan->loss.needs.scratch;
    for (int i = 0; i < plan->nops; i++)
        if (plan->ops[i].op.needs.scratch > scratch)
            scratch = plan->ops[i].op.needs.scratch;
    plan->scratch_nbytes = (scratch + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    plan->block_nbytes = (plan->block_nbytes + ALIGN - 1) / ALIGN * ALIGN;

    size_t shards = (size_t)plan->cfg.nshards, lanes = (size_t)plan->cfg.nlanes;
    if (__builtin_mul_overflow(plan->block_nbytes, shards, &shards) ||
        __builtin_mul_overflow(plan->scratch_nbytes, lanes, &lanes))
        return CM_FAIL(CM_ENOMEM, "%s: buffers of %d shards and %d lanes", plan->spec->name,
                       plan->cfg.nshards, plan->cfg.nlanes);
    CM_TRY(backend->alloc(backend, &plan->block, shards, "activations and gradients"));
    return backend->alloc(backend, &plan->scratch, lanes, "scratch");
}

cm_status nn_plan_place(struct nn_plan *plan, int logits)
{
    size_t nvalues = (size_t)plan->spec->nnodes + 1, nops = (size_t)plan->nops;
    struct tracks t = {0};
    cm_status st;
    /* image, logits' gradient; per op: y, saved, and for each input a gradient or a part */
    CM_GOTO(st, cm_alloc(&t.slots, 2 + 4 * nops, sizeof *t.slots, "buffer list"), out);
    CM_GOTO(st, cm_alloc(&t.value, 2 * nvalues, sizeof *t.value, "buffer numbers"), out);
    t.gradient = t.value + nvalues;
    for (size_t v = 0; v < 2 * nvalues; v++)
        t.value[v] = -1;
    forget_places(plan);
    track_forward(plan, &t);
    plan->logits.slot = t.value[logits + 1];
    extend(&t, plan->logits.slot, plan->nops + 1);
    bool want_dlogits = false; /* when the op that leaves the logits has a backward */
    for (int i = 0; i < plan->nops; i++)
        want_dlogits = want_dlogits || (plan->ops[i].step.y == logits && plan->ops[i].backward);
    track_backward(plan, &t, logits, want_dlogits);
    CM_GOTO(st, nn_memory_place(t.slots, (size_t)t.nslots, ALIGN, &plan->block_nbytes), out);
    settle_all(plan, t.slots);
    st = allocate(plan);
out:
    cm_free(&t.value);
    cm_free(&t.slots);
    return st;
}
