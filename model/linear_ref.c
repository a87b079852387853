#include "model/linear.h"

#include <string.h>

#include "model/ref.h"

static cm_status open_linear(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    op->needs.dparam = nn_ref_padded((size_t)d->y.c * (size_t)d->x.c) +
                       (d->bias ? nn_ref_padded((size_t)d->y.c) : 0);
    return nn_ref_check(d);
}

static cm_status forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    size_t in = (size_t)d->x.c, out = (size_t)d->y.c;
    for (size_t n = 0; n < (size_t)a->n; n++)
        for (size_t o = 0; o < out; o++) {
            double sum = d->bias ? (double)a->param[NN_BIAS][o] : 0;
            for (size_t i = 0; i < in; i++)
                sum += nn_ref_get(d->dtype, a->x[0], n * in + i) *
                       (double)a->param[NN_WEIGHT][o * in + i];
            nn_ref_put(d->dtype, a->y, n * out + o, sum);
        }
    return CM_OK;
}

static void parameter_gradients(const struct nn_op_desc *d, const struct nn_op_args *a)
{
    size_t in = (size_t)d->x.c, out = (size_t)d->y.c;
    float *dbias = a->dparam + nn_ref_padded(out * in);
    for (size_t o = 0; o < out; o++) {
        for (size_t i = 0; !d->freeze_weight && i < in; i++) {
            double sum = 0;
            for (size_t n = 0; n < (size_t)a->n; n++)
                sum += nn_ref_get(d->dtype, a->dy, n * out + o) *
                       nn_ref_get(d->dtype, a->x[0], n * in + i);
            a->dparam[o * in + i] = (float)sum;
        }
        double sum = 0;
        for (size_t n = 0; n < (size_t)a->n; n++)
            sum += nn_ref_get(d->dtype, a->dy, n * out + o);
        if (d->bias && !d->freeze_bias)
            dbias[o] = (float)sum;
    }
}

static cm_status backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    size_t in = (size_t)d->x.c, out = (size_t)d->y.c;
    memset(a->dparam, 0, op->needs.dparam * sizeof *a->dparam);
    parameter_gradients(d, a);
    for (size_t n = 0; a->dx[0] && n < (size_t)a->n; n++)
        for (size_t i = 0; i < in; i++) {
            double sum = 0;
            for (size_t o = 0; o < out; o++)
                sum += nn_ref_get(d->dtype, a->dy, n * out + o) *
                       (double)a->param[NN_WEIGHT][o * in + i];
            nn_ref_put(d->dtype, a->dx[0], n * in + i, sum);
        }
    return CM_OK;
}

const struct nn_op_impl nn_linear_ref = {
    .name = "linear/ref", .open = open_linear, .forward = forward, .backward = backward};
