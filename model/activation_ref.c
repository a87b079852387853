#include "model/activation.h"

#include <math.h>

#include "model/ref.h"

double nn_ref_act(enum nn_act act, double x)
{
    switch (act) {
    case NN_ACT_RELU:
        return x <= 0 ? 0 : x;
    case NN_ACT_GELU:
        return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case NN_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case NN_ACT_TANH:
        return tanh(x);
    default:
        return x;
    }
}

double nn_ref_act_slope(enum nn_act act, double x)
{
    double y = nn_ref_act(act, x);
    switch (act) {
    case NN_ACT_RELU:
        return x <= 0 ? 0 : 1;
    case NN_ACT_GELU: /* Phi(x) + x phi(x), of the standard normal */
        return 0.5 * (1 + erf(x * M_SQRT1_2)) +
               x * exp(-0.5 * x * x) * (0.5 * M_2_SQRTPI * M_SQRT1_2);
    case NN_ACT_SIGMOID:
        return y * (1 - y);
    case NN_ACT_TANH:
        return 1 - y * y;
    default:
        return 1;
    }
}

static cm_status open_activation(struct nn_op *op)
{
    return nn_ref_check(&op->desc);
}

static cm_status forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    size_t count = (size_t)a->n * nn_shape_count(d->x);
    for (size_t i = 0; i < count; i++)
        nn_ref_put(d->dtype, a->y, i, nn_ref_act(d->act, nn_ref_get(d->dtype, a->x[0], i)));
    return CM_OK;
}

static cm_status backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    size_t count = a->dx[0] ? (size_t)a->n * nn_shape_count(d->x) : 0;
    for (size_t i = 0; i < count; i++)
        nn_ref_put(d->dtype, a->dx[0], i,
                   nn_ref_get(d->dtype, a->dy, i) *
                       nn_ref_act_slope(d->act, nn_ref_get(d->dtype, a->x[0], i)));
    return CM_OK;
}

const struct nn_op_impl nn_activation_ref = {
    .name = "act/ref", .open = open_activation, .forward = forward, .backward = backward};
