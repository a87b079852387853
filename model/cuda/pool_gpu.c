/* POOL on a GPU. saved: the places of the maxima, a byte per output element. */
#include "model/pool.h"

#include "model/cuda/gpu.h"

static cm_status pool_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    CM_TRY(nn_gpu_check_dtype(d));
    if (!d->average && d->kernel > 16)
        return CM_FAIL(CM_EUNSUPPORTED, "a max pool of %d x %d (at most 16)", d->kernel, d->kernel);
    if (!d->average && d->training)
        op->needs.saved_per_image = nn_shape_count(d->y);
    return CM_OK;
}

/* kernel 0, the mean of the whole image, is one window as large as the image's larger side. */
static struct nn_window_args window_of(const struct nn_op_desc *d, const struct nn_op_args *a)
{
    int side = d->x.h > d->x.w ? d->x.h : d->x.w;
    double values = d->kernel > 0 ? (double)d->kernel * d->kernel : (double)d->x.h * d->x.w;
    return (struct nn_window_args){.dtype = d->dtype,
                                   .width = nn_gpu_width((size_t)d->x.c),
                                   .n = a->n,
                                   .c = d->x.c,
                                   .h = d->x.h,
                                   .w = d->x.w,
                                   .oh = d->y.h,
                                   .ow = d->y.w,
                                   .kernel = d->kernel > 0 ? d->kernel : side,
                                   .stride = d->stride > 0 ? d->stride : 1,
                                   .pad = d->pad,
                                   .average = d->average,
                                   .share = (float)(1 / values),
                                   .where = d->average || !d->training ? NULL : a->saved};
}

static cm_status pool_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    struct nn_window_args args = window_of(&op->desc, a);
    size_t packs = (size_t)a->n * nn_shape_count(op->desc.y) / (size_t)args.width;
    args.x = a->x[0];
    args.y = a->y;
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_window_forward, nn_grid_of(packs),
                         &args);
}

static cm_status pool_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    struct nn_window_args args = window_of(&op->desc, a);
    size_t packs = (size_t)a->n * nn_shape_count(op->desc.x) / (size_t)args.width;
    args.x = a->dy;
    args.y = a->dx[0];
    return a->dx[0] ? nn_gpu_launch(op->backend, a->stream, NN_KERNEL_window_backward,
                                    nn_grid_of(packs), &args)
                    : CM_OK;
}

const struct nn_op_impl nn_pool_gpu = {
    .name = "pool/cuda", .open = pool_open, .forward = pool_forward, .backward = pool_backward};
