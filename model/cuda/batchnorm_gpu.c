/* NORM on a GPU: [window max] → sums → fold → apply, and back (norm_kernel.h, fold_kernel.h).
 *
 * saved: mean, 1 / sqrt(var + eps), unbiased variance (3 C floats); with a pool in front also, per
 * image, z and the places of the maxima. scratch: partial sums; in backward also the means of g and
 * g xhat, and with a pool dz. */
#include "model/batchnorm.h"

#include "model/cuda/gpu.h"

/* Places in saved and scratch, bytes. */
struct places {
    size_t z, where;                    /* in saved */
    size_t partial, means, running, dz; /* in scratch */
    size_t scratch;
};

static size_t rows_of(const struct nn_op_desc *d, int n)
{
    return (size_t)n * (size_t)d->y.h * (size_t)d->y.w;
}

static size_t saved_fixed(const struct nn_op_desc *d)
{
    return nn_gpu_aligned(3 * (size_t)d->x.c * sizeof(float));
}

static struct places places_of(const struct nn_op_desc *d, int n)
{
    size_t c = (size_t)d->x.c, values = rows_of(d, n) * c;
    struct nn_columns cut = nn_columns_of(rows_of(d, n), d->x.c, nn_gpu_width(c));
    struct places p = {.z = saved_fixed(d)};
    p.where = p.z + nn_gpu_aligned(values * nn_dtype_size(d->dtype));
    p.means = nn_gpu_aligned((size_t)cut.blocks * NN_NORM_PARTS * c * sizeof(float));
    p.running = p.means + nn_gpu_aligned(2 * c * sizeof(float));
    p.dz = p.running + nn_gpu_aligned(2 * c * sizeof(float));
    p.scratch = p.dz + (d->kernel > 0 ? nn_gpu_aligned(values * nn_dtype_size(d->dtype)) : 0);
    return p;
}

static cm_status norm_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    CM_TRY(nn_gpu_check_dtype(d));
    if (d->kernel > 16)
        return CM_FAIL(CM_EUNSUPPORTED, "a max pool of %d x %d (at most 16)", d->kernel, d->kernel);
    /* Both alignments' worth is in the fixed part, so that n images always fit. */
    op->needs.saved_fixed = saved_fixed(d);
    if (d->kernel > 0) {
        op->needs.saved_fixed += 2 * (size_t)NN_GPU_ALIGN;
        op->needs.saved_per_image = nn_shape_count(d->y) * (nn_dtype_size(d->dtype) + 1);
    }
    op->needs.dparam = 4 * nn_gpu_padded((size_t)d->x.c);
    for (int i = 0; i < d->nbatches; i++) {
        size_t scratch = places_of(d, d->batches[i]).scratch;
        op->needs.scratch = scratch > op->needs.scratch ? scratch : op->needs.scratch;
    }
    return CM_OK;
}

static void *at(const void *base, size_t offset)
{
    return (void *)((uintptr_t)base + offset);
}

static struct nn_window_args window_of(const struct nn_op_desc *d, const struct nn_op_args *a)
{
    return (struct nn_window_args){.dtype = d->dtype,
                                   .width = nn_gpu_width((size_t)d->x.c),
                                   .n = a->n,
                                   .c = d->x.c,
                                   .h = d->x.h,
                                   .w = d->x.w,
                                   .oh = d->y.h,
                                   .ow = d->y.w,
                                   .kernel = d->kernel,
                                   .stride = d->stride};
}

static struct nn_norm_args norm_of(const struct nn_op_desc *d, const struct nn_op_args *a,
                                   const struct places *p)
{
    int width = nn_gpu_width((size_t)d->x.c);
    const float *saved = d->training ? a->saved : at(a->scratch, p->running);
    return (struct nn_norm_args){.dtype = d->dtype,
                                 .width = width,
                                 .act = d->act,
                                 .c = d->x.c,
                                 .rows = rows_of(d, a->n),
                                 .columns = nn_columns_of(rows_of(d, a->n), d->x.c, width),
                                 .z = a->x[0],
                                 .residual = d->residual ? a->x[1] : NULL,
                                 .mean = saved,
                                 .invstd = saved + d->x.c,
                                 .weight = a->param[NN_WEIGHT],
                                 .bias = a->param[NN_BIAS],
                                 .partial = at(a->scratch, p->partial)};
}

static struct nn_fold_args fold_of(const struct nn_op_desc *d, const struct nn_op_args *a,
                                   const struct nn_norm_args *norm)
{
    return (struct nn_fold_args){.c = d->x.c,
                                 .n = a->n,
                                 .rows = norm->rows,
                                 .columns = norm->columns,
                                 .partial = norm->partial,
                                 .saved = a->saved,
                                 .eps = d->eps,
                                 .freeze_weight = d->freeze_weight,
                                 .freeze_bias = d->freeze_bias};
}

static cm_status statistics(const struct nn_op *op, const struct nn_op_args *a,
                            const struct nn_norm_args *norm)
{
    const struct nn_op_desc *d = &op->desc;
    struct nn_grid grid = nn_columns_grid(&norm->columns, norm->width);
    if (!d->training) {
        struct nn_running_args args = {.c = d->x.c, .eps = d->eps};
        struct places p = places_of(d, a->n);
        args.mean = a->param[NN_RUNNING_MEAN];
        args.var = a->param[NN_RUNNING_VAR];
        args.saved = at(a->scratch, p.running);
        return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_running,
                             nn_grid_of((size_t)d->x.c), &args);
    }
    struct nn_fold_args fold = fold_of(d, a, norm);
    CM_TRY(nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_sums, grid, norm));
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_fold, nn_fold_grid(d->x.c), &fold);
}

static cm_status norm_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    struct places p = places_of(d, a->n);
    struct nn_norm_args norm = norm_of(d, a, &p);
    if (d->kernel > 0) {
        struct nn_window_args window = window_of(d, a);
        window.x = a->x[0];
        /* Inference keeps no place: the pooled values go where y will be. */
        window.y = d->training ? at(a->saved, p.z) : a->y;
        window.where = d->training ? at(a->saved, p.where) : NULL;
        norm.z = window.y;
        size_t packs = norm.rows * (size_t)(d->x.c / window.width);
        CM_TRY(nn_gpu_launch(op->backend, a->stream, NN_KERNEL_window_forward, nn_grid_of(packs),
                             &window));
    }
    CM_TRY(statistics(op, a, &norm));
    norm.y = a->y;
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_apply,
                         nn_columns_grid(&norm.columns, norm.width), &norm);
}

static cm_status input_gradient(const struct nn_op *op, const struct nn_op_args *a,
                                struct nn_norm_args *norm, const struct places *p)
{
    const struct nn_op_desc *d = &op->desc;
    norm->g = NULL;
    norm->y = d->kernel > 0 ? at(a->scratch, p->dz) : a->dx[0];
    norm->mean_g = at(a->scratch, p->means);
    norm->mean_gx = norm->mean_g + d->x.c;
    CM_TRY(nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_backward_apply,
                         nn_columns_grid(&norm->columns, norm->width), norm));
    if (d->kernel == 0)
        return CM_OK;
    struct nn_window_args window = window_of(d, a);
    window.x = norm->y;
    window.y = a->dx[0];
    window.where = at(a->saved, p->where);
    size_t packs = (size_t)a->n * nn_shape_count(d->x) / (size_t)window.width;
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_window_backward, nn_grid_of(packs),
                         &window);
}

static cm_status norm_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    struct places p = places_of(d, a->n);
    struct nn_norm_args norm = norm_of(d, a, &p);
    struct nn_fold_args fold = fold_of(d, a, &norm);
    size_t part = nn_gpu_padded((size_t)d->x.c);
    if (d->kernel > 0)
        norm.z = at(a->saved, p.z);
    norm.dy = a->dy;
    norm.g = a->dx[1];
    fold.means = at(a->scratch, p.means);
    fold.dw = a->dparam;
    fold.db = a->dparam + part;
    fold.statistics = a->dparam + 2 * part;
    fold.stride = part;
    CM_TRY(op->backend->zero(op->backend, a->stream, a->dparam, op->needs.dparam * sizeof(float)));
    CM_TRY(nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_backward_sums,
                         nn_columns_grid(&norm.columns, norm.width), &norm));
    CM_TRY(nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_backward_fold, nn_fold_grid(d->x.c),
                         &fold));
    return a->dx[0] ? input_gradient(op, a, &norm, &p) : CM_OK;
}

const struct nn_op_impl nn_batchnorm_gpu = {
    .name = "norm/cuda", .open = norm_open, .forward = norm_forward, .backward = norm_backward};
