/* Both ends of a network on a GPU: INPUT and LOSS. */
#include "model/cuda/gpu.h"
#include "model/input.h"
#include "model/loss.h"

/* --- input: state is the table of what bytes become, fp32 (256, c), on the device --- */

#define MOST_CHANNELS 3 /* nn_op_desc has as many means */

static void input_close(struct nn_op *op)
{
    op->backend->release(op->backend, &op->state);
}

static cm_status input_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    const struct nn_backend *backend = op->backend;
    float value[256 * MOST_CHANNELS];
    size_t nbytes = 256 * (size_t)d->x.c * sizeof *value;
    CM_TRY(nn_gpu_check_dtype(d));
    if (d->x.c > MOST_CHANNELS)
        return CM_FAIL(CM_EUNSUPPORTED, "an image of %d channels (at most %d)", d->x.c,
                       MOST_CHANNELS);
    for (int byte = 0; byte < 256; byte++)
        for (int c = 0; c < d->x.c; c++)
            value[byte * d->x.c + c] =
                (float)((byte / 255.0 - (double)d->mean[c]) / (double)d->std[c]);
    CM_TRY(backend->alloc(backend, &op->state, nbytes, "the table of bytes"));
    CM_TRY(backend->copy(backend, NULL, op->state, value, nbytes));
    return backend->settle(backend);
}

static cm_status input_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    struct nn_input_args args = {.dtype = d->dtype,
                                 .width = 1,
                                 .n = a->n,
                                 .c = d->x.c,
                                 .h = d->y.h,
                                 .w = d->y.w,
                                 .pad_mode = d->pad_mode,
                                 .images = a->batch->images,
                                 .index = a->batch->index,
                                 .augment = a->batch->augment,
                                 .value = op->state,
                                 .y = a->y};
    size_t pixels = (size_t)a->n * (size_t)d->y.h * (size_t)d->y.w;
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_input, nn_grid_of(pixels), &args);
}

/* --- loss --- */

static cm_status loss_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    op->needs.scratch = (size_t)d->batches[d->nbatches - 1] * sizeof(struct nn_loss_row);
    return nn_gpu_check_dtype(d);
}

static cm_status loss_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    struct nn_loss_args args = {.dtype = d->dtype,
                                .width = 1,
                                .n = a->n,
                                .classes = d->x.c,
                                .loss = d->loss,
                                .smoothing = (float)d->label_smoothing,
                                .z = a->x[0],
                                .dz = a->dx[0],
                                .labels = a->batch->labels,
                                .rows = a->scratch,
                                .values = a->values};
    struct nn_total_args total = {.n = a->n, .rows = args.rows, .result = a->result};
    CM_TRY(nn_gpu_launch(op->backend, a->stream, NN_KERNEL_loss, nn_loss_grid(a->n), &args));
    return nn_gpu_launch(op->backend, a->stream, NN_KERNEL_loss_total, nn_total_grid(), &total);
}

const struct nn_op_impl nn_input_gpu = {
    .name = "input/cuda", .open = input_open, .close = input_close, .forward = input_forward};
const struct nn_op_impl nn_loss_gpu = {
    .name = "loss/cuda", .open = loss_open, .forward = loss_forward};
