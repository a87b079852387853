/* The bias of conv and linear on a GPU: beside the libraries' products, passes of our own. */
#include "model/cuda/gpu.h"

static size_t rows_of(const struct nn_op_desc *d, int n)
{
    return (size_t)n * (size_t)d->y.h * (size_t)d->y.w;
}

size_t nn_gpu_bias_space(const struct nn_op_desc *d, int n)
{
    size_t c = (size_t)d->y.c;
    struct nn_columns cut = nn_columns_of(rows_of(d, n), d->y.c, nn_gpu_width(c));
    return nn_gpu_aligned((size_t)cut.blocks * NN_NORM_PARTS * c * sizeof(float));
}

cm_status nn_gpu_bias_gradient(const struct nn_op *op, const struct nn_op_args *a, float *db,
                               void *space)
{
    const struct nn_op_desc *d = &op->desc;
    struct nn_norm_args sums = {.dtype = d->dtype,
                                .width = nn_gpu_width((size_t)d->y.c),
                                .c = d->y.c,
                                .rows = rows_of(d, a->n),
                                .dy = a->dy,
                                .partial = space};
    sums.columns = nn_columns_of(sums.rows, sums.c, sums.width);
    struct nn_fold_args fold = {.c = d->y.c,
                                .n = a->n,
                                .rows = sums.rows,
                                .columns = sums.columns,
                                .partial = space,
                                .db = db,
                                .freeze_bias = d->freeze_bias};
    CM_TRY(nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_backward_sums,
                         nn_columns_grid(&sums.columns, sums.width), &sums));
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_norm_backward_fold, nn_fold_grid(d->y.c),
                         &fold);
}

cm_status nn_gpu_bias_add(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    struct nn_map_args args = {.dtype = d->dtype,
                               .map = NN_MAP_BIAS,
                               .n = rows_of(d, a->n) * (size_t)d->y.c,
                               .a = a->y,
                               .y = a->y,
                               .bias = a->param[NN_BIAS],
                               .channels = (size_t)d->y.c};
    args.width = nn_gpu_width(args.n);
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_map,
                         nn_grid_of(args.n / (size_t)args.width), &args);
}
