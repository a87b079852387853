#include "model/plan_fuse.h"

#include "common/mem.h"

static const enum nn_op_kind op_of[NN_KIND_COUNT] = {
    [NN_CONV] = NN_OP_CONV,    [NN_BATCHNORM] = NN_OP_NORM,  [NN_RELU] = NN_OP_ACT,
    [NN_GELU] = NN_OP_ACT,     [NN_SIGMOID] = NN_OP_ACT,     [NN_TANH] = NN_OP_ACT,
    [NN_MAXPOOL] = NN_OP_POOL, [NN_AVGPOOL] = NN_OP_POOL,    [NN_LINEAR] = NN_OP_LINEAR,
    [NN_ADD] = NN_OP_ADD,      [NN_FLATTEN] = NN_OP_FLATTEN, [NN_DROPOUT] = NN_OP_DROPOUT,
    [NN_SCALE] = NN_OP_SCALE,
};

/* What is known of a node's value. */
struct link {
    int value;                  /* the node whose value this one's is: itself, or what it renames */
    int uses;                   /* reads of the value, the logits' reader included */
    int user;                   /* its last reader, -1: the logits' */
    bool inside;                /* part of another node's NORM */
    const struct nn_step *ends; /* the NORM that leaves this value, NULL: none */
};

static bool is_rename(const struct nn_spec *spec, const struct nn_node *node, bool training)
{
    if (node->kind == NN_DROPOUT)
        return !training || node->p == 0;
    struct nn_shape in =
        node->input[0] == NN_INPUT ? spec->input : spec->nodes[node->input[0]].shape;
    return node->kind == NN_FLATTEN && in.h == 1 && in.w == 1;
}

static int value_of(const struct link *links, int input)
{
    return input == NN_INPUT ? NN_INPUT : links[input].value;
}

static void note_use(struct link *links, int value, int user)
{
    if (value == NN_INPUT)
        return;
    links[value].uses++;
    links[value].user = user;
}

static void link_nodes(struct link *links, const struct nn_spec *spec, bool training)
{
    for (int i = 0; i < spec->nnodes; i++) {
        const struct nn_node *node = &spec->nodes[i];
        bool rename = is_rename(spec, node, training);
        links[i].value = rename ? value_of(links, node->input[0]) : i;
        for (int k = 0; !rename && k < node->ninputs; k++)
            note_use(links, value_of(links, node->input[k]), i);
    }
    note_use(links, links[spec->nnodes - 1].value, -1);
}

static struct nn_step plain_step(const struct link *links, const struct nn_spec *spec, int i)
{
    const struct nn_node *node = &spec->nodes[i];
    struct nn_step step = {.kind = op_of[node->kind], .node = i, .pool = -1, .act = -1, .y = i};
    step.nx = node->ninputs;
    for (int k = 0; k < node->ninputs; k++)
        step.x[k] = value_of(links, node->input[k]);
    return step;
}

/* The only reader of value when it is free to be taken in, else -1. */
static int sole_user(const struct link *links, int value)
{
    int user = links[value].uses == 1 ? links[value].user : -1;
    return user >= 0 && !links[user].inside ? user : -1;
}

static struct nn_step fused_norm(struct link *links, const struct nn_spec *spec, int norm)
{
    struct nn_step step = plain_step(links, spec, norm);
    const struct nn_node *front = step.x[0] == NN_INPUT ? NULL : &spec->nodes[step.x[0]];
    if (front && front->kind == NN_MAXPOOL && front->pad == 0 && links[step.x[0]].uses == 1) {
        step.pool = step.x[0];
        step.x[0] = value_of(links, front->input[0]);
        links[step.pool].inside = true;
    }
    int user = sole_user(links, step.y);
    if (user >= 0 && spec->nodes[user].kind == NN_ADD) {
        const int *in = spec->nodes[user].input;
        int first = value_of(links, in[0]);
        step.x[1] = first == step.y ? value_of(links, in[1]) : first;
        step.nx = 2;
        links[user].inside = true;
        step.y = user;
        user = sole_user(links, step.y);
    }
    if (user >= 0 && op_of[spec->nodes[user].kind] == NN_OP_ACT) {
        step.act = user;
        links[user].inside = true;
        step.y = user;
    }
    return step;
}

cm_status nn_plan_steps(struct nn_step *steps, int *nsteps, int *logits, const struct nn_spec *spec,
                        bool fuses, bool training)
{
    struct link *links = NULL;
    struct nn_step *norms = NULL; /* by node */
    size_t nnodes = (size_t)spec->nnodes;
    cm_status st;
    CM_GOTO(st, cm_alloc(&links, nnodes, sizeof *links, "plan links"), out);
    CM_GOTO(st, cm_alloc(&norms, nnodes, sizeof *norms, "fused ops"), out);
    link_nodes(links, spec, training);
    for (int i = 0; fuses && i < spec->nnodes; i++)
        if (spec->nodes[i].kind == NN_BATCHNORM) {
            norms[i] = fused_norm(links, spec, i);
            links[i].inside = true;
            links[norms[i].y].ends = &norms[i];
        }
    *nsteps = 0;
    for (int i = 0; i < spec->nnodes; i++) {
        if (links[i].ends)
            steps[(*nsteps)++] = *links[i].ends;
        else if (links[i].value == i && !links[i].inside)
            steps[(*nsteps)++] = plain_step(links, spec, i);
    }
    *logits = links[spec->nnodes - 1].value;
out:
    cm_free(&norms);
    cm_free(&links);
    return st;
}
