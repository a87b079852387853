/* The loss in double, image by image, each image's sums in order of its classes. exp and log are
 * our own: the C library's differ between its versions and, by way of fused multiply-adds, between
 * CPUs. Cost: an exp per logit, nothing beside the convolutions. */
#include <math.h>

#include "common/vec.h"
#include "model/loss.h"
#include "model/math64.h"

static cm_status loss_open(struct nn_op *op)
{
    op->needs.scratch = nn_shape_count(op->desc.x) * sizeof(double);
    return CM_OK;
}

/* One image's logits as double; the top class, -1 when all are NaN. */
static int read_logits(const struct nn_op *op, const void *x, size_t at, int classes, double *z)
{
    int top = -1;
    for (int k = 0; k < classes; k++) {
        size_t i = at + (size_t)k;
        float v = op->desc.dtype == NN_F32 ? ((const float *)x)[i]
                                           : cm_bf16_to_f32(((const uint16_t *)x)[i]);
        z[k] = (double)v;
        if (z[k] == z[k] && (top < 0 || z[k] > z[top]))
            top = k;
    }
    return top;
}

static double target(const struct nn_op *op, int k, int label, int classes)
{
    double s = op->desc.label_smoothing;
    return (k == label ? 1.0 - s : 0.0) + s / classes;
}

/* z becomes the gradient; returns the loss. top: any class whose logit is a number, or -1. */
static double cross_entropy(const struct nn_op *op, double *z, int classes, int label, int top)
{
    double peak = top < 0 ? 0.0 : z[top], sum = 0.0, loss = 0.0;
    for (int k = 0; k < classes; k++)
        sum += nn_exp64(z[k] - peak);
    double log_sum = peak + nn_log64(sum);
    for (int k = 0; k < classes; k++) {
        double t = target(op, k, label, classes);
        if (t != 0.0)
            loss += t * (log_sum - z[k]);
        z[k] = nn_exp64(z[k] - peak) / sum - t;
    }
    return loss;
}

static double squared_error(const struct nn_op *op, double *z, int classes, int label)
{
    double loss = 0.0;
    for (int k = 0; k < classes; k++) {
        double d = z[k] - target(op, k, label, classes);
        loss += d * d;
        z[k] = 2.0 * d / classes;
    }
    return loss / classes;
}

static void write_gradient(const struct nn_op *op, void *dx, size_t at, const double *g,
                           int classes)
{
    for (int k = 0; k < classes; k++) {
        size_t i = at + (size_t)k;
        if (op->desc.dtype == NN_F32)
            ((float *)dx)[i] = (float)g[k];
        else
            ((uint16_t *)dx)[i] = cm_f32_to_bf16((float)g[k]);
    }
}

static cm_status loss_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    int classes = (int)nn_shape_count(op->desc.x);
    double *z = a->scratch;
    struct nn_result result = {.count = a->n};
    for (int i = 0; i < a->n; i++) {
        int label = a->batch->labels[i];
        size_t at = (size_t)i * (size_t)classes;
        if (label < 0 || label >= classes)
            return CM_FAIL(CM_EINVAL, "image %d of the shard: label %d is not in 0..%d", i, label,
                           classes - 1);
        int top = read_logits(op, a->x[0], at, classes, z);
        result.correct += top == label;
        result.loss += op->desc.loss == NN_LOSS_MSE ? squared_error(op, z, classes, label)
                                                    : cross_entropy(op, z, classes, label, top);
        if (a->dx[0])
            write_gradient(op, a->dx[0], at, z, classes);
    }
    *a->result = result;
    return CM_OK;
}

const struct nn_op_impl nn_loss_cpu = {
    .name = "loss/cpu", .open = loss_open, .forward = loss_forward};
