#include "model/pool.h"

#include <math.h>

#include "model/ref.h"

double nn_ref_window_max(const struct nn_op_desc *d, const void *x, int n, int i, int j, int c,
                         size_t *place)
{
    if (d->kernel == 0) {
        *place = nn_ref_at(d->x, n, i, j, c);
        return nn_ref_get(d->dtype, x, *place);
    }
    double best = -HUGE_VAL;
    bool any = false; /* pad <= kernel / 2: a window always has a pixel */
    *place = 0;
    for (int u = 0; u < d->kernel; u++)
        for (int v = 0; v < d->kernel; v++) {
            int r = i * d->stride + u - d->pad, q = j * d->stride + v - d->pad;
            if (r < 0 || r >= d->x.h || q < 0 || q >= d->x.w)
                continue;
            size_t at = nn_ref_at(d->x, n, r, q, c);
            double value = nn_ref_get(d->dtype, x, at);
            if (!any || value > best || (isnan(value) && !isnan(best))) {
                any = true;
                best = value;
                *place = at;
            }
        }
    return best;
}

static cm_status open_pool(struct nn_op *op)
{
    return nn_ref_check(&op->desc);
}

/* Rows and columns of x under output (i, j); clipped to the image. */
struct window {
    int top, bottom, left, right;
    double divisor;
};

static struct window window_of(const struct nn_op_desc *d, int i, int j)
{
    if (d->kernel == 0)
        return (struct window){0, d->x.h, 0, d->x.w, (double)d->x.h * d->x.w};
    int r = i * d->stride - d->pad, q = j * d->stride - d->pad;
    return (struct window){.top = r < 0 ? 0 : r,
                           .bottom = r + d->kernel > d->x.h ? d->x.h : r + d->kernel,
                           .left = q < 0 ? 0 : q,
                           .right = q + d->kernel > d->x.w ? d->x.w : q + d->kernel,
                           .divisor = (double)d->kernel * d->kernel};
}

static double average(const struct nn_op_desc *d, const void *x, int n, int i, int j, int c)
{
    struct window w = window_of(d, i, j);
    double sum = 0;
    for (int r = w.top; r < w.bottom; r++)
        for (int q = w.left; q < w.right; q++)
            sum += nn_ref_get(d->dtype, x, nn_ref_at(d->x, n, r, q, c));
    return sum / w.divisor;
}

static cm_status forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    size_t place;
    for (int n = 0; n < a->n; n++)
        for (int i = 0; i < d->y.h; i++)
            for (int j = 0; j < d->y.w; j++)
                for (int c = 0; c < d->y.c; c++)
                    nn_ref_put(d->dtype, a->y, nn_ref_at(d->y, n, i, j, c),
                               d->average ? average(d, a->x[0], n, i, j, c)
                                          : nn_ref_window_max(d, a->x[0], n, i, j, c, &place));
    return CM_OK;
}

/* Whether output (i, j) passes its gradient to x[place], and which part of it. */
static double share(const struct nn_op_desc *d, const void *x, int n, int i, int j, int r, int q,
                    int c)
{
    struct window w = window_of(d, i, j);
    if (r < w.top || r >= w.bottom || q < w.left || q >= w.right)
        return 0;
    if (d->average)
        return 1 / w.divisor;
    size_t place;
    nn_ref_window_max(d, x, n, i, j, c, &place);
    return place == nn_ref_at(d->x, n, r, q, c) ? 1 : 0;
}

static double input_gradient(const struct nn_op_desc *d, const struct nn_op_args *a, int n, int r,
                             int q, int c)
{
    double sum = 0;
    for (int i = 0; i < d->y.h; i++)
        for (int j = 0; j < d->y.w; j++) {
            double part = share(d, a->x[0], n, i, j, r, q, c);
            if (part != 0)
                sum += part * nn_ref_get(d->dtype, a->dy, nn_ref_at(d->y, n, i, j, c));
        }
    return sum;
}

static cm_status backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    for (int n = 0; a->dx[0] && n < a->n; n++)
        for (int r = 0; r < d->x.h; r++)
            for (int q = 0; q < d->x.w; q++)
                for (int c = 0; c < d->x.c; c++)
                    nn_ref_put(d->dtype, a->dx[0], nn_ref_at(d->x, n, r, q, c),
                               input_gradient(d, a, n, r, q, c));
    return CM_OK;
}

const struct nn_op_impl nn_pool_ref = {
    .name = "pool/ref", .open = open_pool, .forward = forward, .backward = backward};
