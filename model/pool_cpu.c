/* Pooling on the CPU, image by image. saved (max, training): the place of each maximum in its
 * window, u8. */
#include "common/mem.h"
#include "model/kernels/kernels.h"
#include "model/pool.h"

struct pool {
    const struct nn_pool_kernels *kernels;
    struct nn_window window;
    size_t x_nbytes, y_nbytes, places; /* per image */
};

static cm_status pool_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    struct pool *s = NULL;
    if (!d->average && d->kernel > 15)
        return CM_FAIL(CM_EUNSUPPORTED, "max pool of side %d, at most 15 here", d->kernel);
    CM_TRY(cm_alloc(&s, 1, sizeof *s, d->name));
    op->state = s;
    s->kernels = nn_kernels_best()->pool;
    s->window = (struct nn_window){.c = d->x.c,
                                   .h = d->x.h,
                                   .w = d->x.w,
                                   .oh = d->y.h,
                                   .ow = d->y.w,
                                   .kernel = d->kernel,
                                   .stride = d->stride,
                                   .pad = d->pad};
    if (d->average && d->kernel > 0)
        s->window.share = 1.0f / (float)(d->kernel * d->kernel);
    if (d->average && d->kernel == 0) { /* all pixels in one row under one window */
        int pixels = d->x.h * d->x.w;
        s->window = (struct nn_window){.c = d->x.c,
                                       .h = 1,
                                       .w = pixels,
                                       .oh = 1,
                                       .ow = 1,
                                       .kernel = pixels,
                                       .stride = 1,
                                       .share = 1.0f / (float)pixels};
    }
    s->x_nbytes = nn_shape_count(d->x) * nn_dtype_size(d->dtype);
    s->y_nbytes = nn_shape_count(d->y) * nn_dtype_size(d->dtype);
    s->places = nn_shape_count(d->y);
    if (d->training && !d->average)
        op->needs.saved_per_image = s->places;
    return CM_OK;
}

static void pool_close(struct nn_op *op)
{
    cm_free(&op->state);
}

static cm_status pool_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct pool *s = op->state;
    const struct nn_op_desc *d = &op->desc;
#pragma omp parallel for num_threads(d->threads) if (d->threads > 1) schedule(static)
    for (int i = 0; i < a->n; i++) {
        const char *x = (const char *)a->x[0] + (size_t)i * s->x_nbytes;
        char *y = (char *)a->y + (size_t)i * s->y_nbytes;
        if (d->average)
            s->kernels->average(&s->window, d->dtype, x, y);
        else
            s->kernels->max(&s->window, d->dtype, x, y,
                            d->training ? (uint8_t *)a->saved + (size_t)i * s->places : NULL);
    }
    return CM_OK;
}

static cm_status pool_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct pool *s = op->state;
    const struct nn_op_desc *d = &op->desc;
    if (!a->dx[0])
        return CM_OK;
#pragma omp parallel for num_threads(d->threads) if (d->threads > 1) schedule(static)
    for (int i = 0; i < a->n; i++) {
        const char *dy = (const char *)a->dy + (size_t)i * s->y_nbytes;
        char *dx = (char *)a->dx[0] + (size_t)i * s->x_nbytes;
        if (d->average)
            s->kernels->average_backward(&s->window, d->dtype, dy, dx);
        else
            s->kernels->max_backward(&s->window, d->dtype, dy,
                                     (const uint8_t *)a->saved + (size_t)i * s->places, dx);
    }
    return CM_OK;
}

const struct nn_op_impl nn_pool_cpu = {
    .name = "pool/cpu",
    .open = pool_open,
    .close = pool_close,
    .forward = pool_forward,
    .backward = pool_backward,
};
