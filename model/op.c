#include "model/op.h"

#include <string.h>

static const char *const dtype_names[] = {"fp32", "bf16", "fp16", "fp64"};
static const size_t dtype_sizes[] = {4, 2, 2, 8};
static const char *const op_names[NN_OP_COUNT] = {
    "input", "conv", "norm", "act", "pool", "linear", "add", "scale", "flatten", "dropout", "loss"};

size_t nn_dtype_size(enum nn_dtype dtype)
{
    return dtype_sizes[dtype];
}

const char *nn_dtype_name(enum nn_dtype dtype)
{
    return dtype_names[dtype];
}

const char *nn_op_kind_name(enum nn_op_kind kind)
{
    return (unsigned)kind < NN_OP_COUNT ? op_names[kind] : "unknown";
}

cm_status nn_op_open(struct nn_op *op, const struct nn_backend *backend,
                     const struct nn_op_desc *desc)
{
    memset(op, 0, sizeof *op);
    op->impl = backend->impl[desc->kind];
    op->backend = backend;
    op->desc = *desc;
    if (!op->impl)
        return CM_FAIL(CM_EUNSUPPORTED, "%s: backend '%s' has no %s", desc->name, backend->name,
                       nn_op_kind_name(desc->kind));
    cm_status st = op->impl->open(op);
    return st == CM_OK ? st : CM_CONTEXT(st, "%s", desc->name);
}

void nn_op_close(struct nn_op *op)
{
    if (op->impl && op->impl->close)
        op->impl->close(op);
    op->impl = NULL;
    op->state = NULL;
}
