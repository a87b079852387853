#include "model/conv2d.h"

#include <string.h>

#include "model/ref.h"

/* w[o, c, u, v] in OIHW. */
static size_t weight_at(const struct nn_op_desc *d, int o, int c, int u, int v)
{
    size_t k = (size_t)d->kernel;
    return (((size_t)o * (size_t)d->x.c + (size_t)c) * k + (size_t)u) * k + (size_t)v;
}

static size_t weight_count(const struct nn_op_desc *d)
{
    return (size_t)d->y.c * (size_t)d->x.c * (size_t)d->kernel * (size_t)d->kernel;
}

static cm_status open_conv(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    op->needs.dparam =
        nn_ref_padded(weight_count(d)) + (d->bias ? nn_ref_padded((size_t)d->y.c) : 0);
    return nn_ref_check(d);
}

static double output(const struct nn_op_desc *d, const struct nn_op_args *a, int n, int i, int j,
                     int o)
{
    double sum = d->bias ? (double)a->param[NN_BIAS][o] : 0;
    for (int u = 0; u < d->kernel; u++) {
        int r = i * d->stride + u - d->pad;
        for (int v = 0; r >= 0 && r < d->x.h && v < d->kernel; v++) {
            int q = j * d->stride + v - d->pad;
            for (int c = 0; q >= 0 && q < d->x.w && c < d->x.c; c++)
                sum += nn_ref_get(d->dtype, a->x[0], nn_ref_at(d->x, n, r, q, c)) *
                       (double)a->param[NN_WEIGHT][weight_at(d, o, c, u, v)];
        }
    }
    return sum;
}

static cm_status forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    for (int n = 0; n < a->n; n++)
        for (int i = 0; i < d->y.h; i++)
            for (int j = 0; j < d->y.w; j++)
                for (int o = 0; o < d->y.c; o++)
                    nn_ref_put(d->dtype, a->y, nn_ref_at(d->y, n, i, j, o),
                               output(d, a, n, i, j, o));
    return CM_OK;
}

/* dx[n, r, q, c]: all outputs (i, j) whose window covers (r, q), with the weight that they used. */
static double input_gradient(const struct nn_op_desc *d, const struct nn_op_args *a, int n, int r,
                             int q, int c)
{
    double sum = 0;
    for (int u = 0; u < d->kernel; u++) {
        int i = r + d->pad - u;
        if (i < 0 || i % d->stride != 0 || i / d->stride >= d->y.h)
            continue;
        for (int v = 0; v < d->kernel; v++) {
            int j = q + d->pad - v;
            if (j < 0 || j % d->stride != 0 || j / d->stride >= d->y.w)
                continue;
            for (int o = 0; o < d->y.c; o++)
                sum += nn_ref_get(d->dtype, a->dy,
                                  nn_ref_at(d->y, n, i / d->stride, j / d->stride, o)) *
                       (double)a->param[NN_WEIGHT][weight_at(d, o, c, u, v)];
        }
    }
    return sum;
}

static double weight_gradient(const struct nn_op_desc *d, const struct nn_op_args *a, int o, int c,
                              int u, int v)
{
    double sum = 0;
    for (int n = 0; n < a->n; n++)
        for (int i = 0; i < d->y.h; i++) {
            int r = i * d->stride + u - d->pad;
            for (int j = 0; r >= 0 && r < d->x.h && j < d->y.w; j++) {
                int q = j * d->stride + v - d->pad;
                if (q >= 0 && q < d->x.w)
                    sum += nn_ref_get(d->dtype, a->x[0], nn_ref_at(d->x, n, r, q, c)) *
                           nn_ref_get(d->dtype, a->dy, nn_ref_at(d->y, n, i, j, o));
            }
        }
    return sum;
}

static double bias_gradient(const struct nn_op_desc *d, const struct nn_op_args *a, int o)
{
    double sum = 0;
    for (int n = 0; n < a->n; n++)
        for (int i = 0; i < d->y.h; i++)
            for (int j = 0; j < d->y.w; j++)
                sum += nn_ref_get(d->dtype, a->dy, nn_ref_at(d->y, n, i, j, o));
    return sum;
}

static cm_status backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    float *dbias = a->dparam + nn_ref_padded(weight_count(d));
    memset(a->dparam, 0, op->needs.dparam * sizeof *a->dparam);
    for (int o = 0; !d->freeze_weight && o < d->y.c; o++)
        for (int c = 0; c < d->x.c; c++)
            for (int u = 0; u < d->kernel; u++)
                for (int v = 0; v < d->kernel; v++)
                    a->dparam[weight_at(d, o, c, u, v)] = (float)weight_gradient(d, a, o, c, u, v);
    for (int o = 0; d->bias && !d->freeze_bias && o < d->y.c; o++)
        dbias[o] = (float)bias_gradient(d, a, o);
    for (int n = 0; a->dx[0] && n < a->n; n++)
        for (int r = 0; r < d->x.h; r++)
            for (int q = 0; q < d->x.w; q++)
                for (int c = 0; c < d->x.c; c++)
                    nn_ref_put(d->dtype, a->dx[0], nn_ref_at(d->x, n, r, q, c),
                               input_gradient(d, a, n, r, q, c));
    return CM_OK;
}

const struct nn_op_impl nn_conv2d_ref = {
    .name = "conv/ref", .open = open_conv, .forward = forward, .backward = backward};
