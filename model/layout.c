/* The arena's map: parameters in reverse order of the nodes (backward finishes the last node
 * first), then the running statistics in the same order. */
#include "model/layout.h"

#include <stdio.h>
#include <string.h>

#include "common/mem.h"

#define ALIGN 16 /* floats: a cache line, and the block of every elementwise kernel */

static const char *const role_names[NN_ROLE_COUNT] = {"weight", "bias", "running_mean",
                                                      "running_var"};

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static bool has_role(const struct nn_node *node, enum nn_role role)
{
    bool matrix = node->kind == NN_CONV || node->kind == NN_LINEAR;
    if (node->kind == NN_BATCHNORM)
        return true;
    return matrix && (role == NN_WEIGHT || (role == NN_BIAS && node->bias));
}

static bool is_parameter(enum nn_role role)
{
    return role == NN_WEIGHT || role == NN_BIAS;
}

static int input_channels(const struct nn_spec *spec, const struct nn_node *node)
{
    return node->input[0] == NN_INPUT ? spec->input.c : spec->nodes[node->input[0]].shape.c;
}

/* PyTorch's shape of the tensor; n is its product. */
static void set_dims(struct nn_tensor *t, const struct nn_spec *spec, const struct nn_node *node)
{
    int in = input_channels(spec, node), k = node->kernel;
    t->ndim = 1;
    t->dim[0] = node->shape.c;
    if (t->role == NN_WEIGHT && node->kind != NN_BATCHNORM) {
        t->ndim = node->kind == NN_CONV ? 4 : 2;
        t->dim[1] = in;
        t->dim[2] = t->dim[3] = k;
    }
    t->n = 1;
    for (int d = 0; d < t->ndim; d++)
        t->n *= (size_t)t->dim[d];
    for (int d = t->ndim; d < 4; d++)
        t->dim[d] = 0;
}

static void add_tensor(struct nn_layout *layout, const struct nn_spec *spec, int i,
                       enum nn_role role)
{
    const struct nn_node *node = &spec->nodes[i];
    struct nn_tensor *t = &layout->tensors[layout->ntensors];
    snprintf(t->name, sizeof t->name, "%s.%s", node->name, role_names[role]);
    t->node = i;
    t->role = role;
    t->trained =
        (role == NN_WEIGHT && !node->freeze_weight) || (role == NN_BIAS && !node->freeze_bias);
    set_dims(t, spec, node);
    t->offset = layout->ntotal;
    layout->ntotal += aligned(t->n);
    if (is_parameter(role))
        layout->parameters += (int64_t)t->n;
    if (t->trained)
        layout->trained_parameters += (int64_t)t->n;
    layout->of_node[i][role] = (int)layout->ntensors++;
}

static void add_tensors(struct nn_layout *layout, const struct nn_spec *spec, bool parameters)
{
    for (int i = spec->nnodes - 1; i >= 0; i--)
        for (int role = 0; role < NN_ROLE_COUNT; role++)
            if (is_parameter((enum nn_role)role) == parameters &&
                has_role(&spec->nodes[i], (enum nn_role)role))
                add_tensor(layout, spec, i, (enum nn_role)role);
}

cm_status nn_layout_open(struct nn_layout **out, const struct nn_spec *spec)
{
    struct nn_layout *self = NULL;
    size_t nnodes = (size_t)spec->nnodes;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "layout"));
    CM_GOTO(st, cm_alloc(&self->tensors, nnodes * NN_ROLE_COUNT, sizeof *self->tensors, "tensors"),
            out);
    CM_GOTO(st, cm_alloc(&self->of_node, nnodes, sizeof *self->of_node, "tensor numbers"), out);
    for (size_t i = 0; i < nnodes; i++)
        for (int role = 0; role < NN_ROLE_COUNT; role++)
            self->of_node[i][role] = -1;
    add_tensors(self, spec, true);
    self->nparam = self->ntotal;
    add_tensors(self, spec, false);
    *out = self;
    self = NULL;
out:
    nn_layout_close(&self);
    return st;
}

void nn_layout_close(struct nn_layout **layout)
{
    if (!*layout)
        return;
    cm_free(&(*layout)->of_node);
    cm_free(&(*layout)->tensors);
    cm_free(layout);
}

const struct nn_tensor *nn_layout_find(const struct nn_layout *layout, const char *name)
{
    for (size_t i = 0; i < layout->ntensors; i++)
        if (strcmp(layout->tensors[i].name, name) == 0)
            return &layout->tensors[i];
    return NULL;
}
