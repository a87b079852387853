/* The small ops on a GPU: activations, add, scale, flatten, dropout. */
#include "model/activation.h"
#include "model/cuda/gpu.h"
#include "model/elementwise.h"

static cm_status map_open(struct nn_op *op)
{
    return nn_gpu_check_dtype(&op->desc);
}

static cm_status run(const struct nn_op *op, const struct nn_op_args *a, struct nn_map_args args)
{
    args.dtype = op->desc.dtype;
    args.n = (size_t)a->n * nn_shape_count(op->desc.x);
    args.width = nn_gpu_width(args.n);
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_map,
                         nn_grid_of(args.n / (size_t)args.width), &args);
}

static cm_status act_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return run(
        op, a,
        (struct nn_map_args){.map = NN_MAP_ACT, .act = op->desc.act, .a = a->x[0], .y = a->y});
}

static cm_status act_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    struct nn_map_args args = {
        .map = NN_MAP_ACT_BACK, .act = op->desc.act, .a = a->x[0], .b = a->dy, .y = a->dx[0]};
    return a->dx[0] ? run(op, a, args) : CM_OK;
}

static cm_status add_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return run(op, a,
               (struct nn_map_args){.map = NN_MAP_ADD, .a = a->x[0], .b = a->x[1], .y = a->y});
}

static cm_status add_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_backend *backend = op->backend;
    size_t nbytes = (size_t)a->n * nn_shape_count(op->desc.x) * nn_dtype_size(op->desc.dtype);
    for (int k = 0; k < 2; k++)
        if (a->dx[k])
            CM_TRY(backend->copy(backend, a->stream, a->dx[k], a->dy, nbytes));
    return CM_OK;
}

static cm_status scale_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return run(op, a,
               (struct nn_map_args){
                   .map = NN_MAP_SCALE, .a = a->x[0], .y = a->y, .factor = (float)op->desc.p});
}

static cm_status scale_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    struct nn_map_args args = {
        .map = NN_MAP_SCALE, .a = a->dy, .y = a->dx[0], .factor = (float)op->desc.p};
    return a->dx[0] ? run(op, a, args) : CM_OK;
}

static cm_status drop(const struct nn_op *op, const struct nn_op_args *a, void *y, const void *x)
{
    return run(op, a,
               (struct nn_map_args){.map = NN_MAP_DROP,
                                    .a = x,
                                    .y = y,
                                    .factor = (float)(1 / (1 - op->desc.p)),
                                    .p = (float)op->desc.p,
                                    .image = nn_shape_count(op->desc.x),
                                    .seed = a->seed,
                                    .first_sample = a->first_sample,
                                    .step = a->step,
                                    .values = a->values});
}

static cm_status dropout_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return drop(op, a, a->y, a->x[0]);
}

static cm_status dropout_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    return a->dx[0] ? drop(op, a, a->dx[0], a->dy) : CM_OK;
}

static cm_status flatten(const struct nn_op *op, const struct nn_op_args *a, void *y, const void *x,
                         bool back)
{
    struct nn_flatten_args args = {.dtype = op->desc.dtype,
                                   .width = 1,
                                   .n = (size_t)a->n * nn_shape_count(op->desc.x),
                                   .shape = op->desc.x,
                                   .back = back,
                                   .x = x,
                                   .y = y};
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_flatten, nn_grid_of(args.n), &args);
}

static cm_status flatten_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return flatten(op, a, a->y, a->x[0], false);
}

static cm_status flatten_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    return a->dx[0] ? flatten(op, a, a->dx[0], a->dy, true) : CM_OK;
}

const struct nn_op_impl nn_activation_gpu = {
    .name = "act/cuda", .open = map_open, .forward = act_forward, .backward = act_backward};
const struct nn_op_impl nn_add_gpu = {
    .name = "add/cuda", .open = map_open, .forward = add_forward, .backward = add_backward};
const struct nn_op_impl nn_scale_gpu = {
    .name = "scale/cuda", .open = map_open, .forward = scale_forward, .backward = scale_backward};
const struct nn_op_impl nn_flatten_gpu = {.name = "flatten/cuda",
                                          .open = map_open,
                                          .forward = flatten_forward,
                                          .backward = flatten_backward};
const struct nn_op_impl nn_dropout_gpu = {.name = "dropout/cuda",
                                          .open = map_open,
                                          .forward = dropout_forward,
                                          .backward = dropout_backward};
