#include "model/loss.h"

#include <math.h>

#include "model/ref.h"

static cm_status open_loss(struct nn_op *op)
{
    return nn_ref_check(&op->desc);
}

/* One image's logits: z(k) from the row's first element. */
struct row {
    const struct nn_op_desc *d;
    const void *z;
    size_t first;
    int classes, label;
};

static double logit(const struct row *r, int k)
{
    return nn_ref_get(r->d->dtype, r->z, r->first + (size_t)k);
}

static double target(const struct row *r, int k)
{
    double s = r->d->label_smoothing;
    return (k == r->label ? 1 - s : 0) + s / r->classes;
}

static bool is_correct(const struct row *r)
{
    int top = -1;
    for (int k = 0; k < r->classes; k++)
        if (!isnan(logit(r, k)) && (top < 0 || logit(r, k) > logit(r, top)))
            top = k;
    return top == r->label;
}

/* log of the sum of exp(z), shifted by the largest so that nothing overflows. */
static double log_sum_exp(const struct row *r)
{
    double top = logit(r, 0), sum = 0;
    for (int k = 1; k < r->classes; k++)
        top = logit(r, k) > top ? logit(r, k) : top;
    for (int k = 0; k < r->classes; k++)
        sum += exp(logit(r, k) - top);
    return top + log(sum);
}

static double cross_entropy(const struct row *r, void *dz)
{
    double total = log_sum_exp(r), loss = 0;
    for (int k = 0; k < r->classes; k++) {
        double log_p = logit(r, k) - total;
        loss -= target(r, k) * log_p;
        if (dz)
            nn_ref_put(r->d->dtype, dz, r->first + (size_t)k, exp(log_p) - target(r, k));
    }
    return loss;
}

static double squared_error(const struct row *r, void *dz)
{
    double loss = 0;
    for (int k = 0; k < r->classes; k++) {
        double error = logit(r, k) - target(r, k);
        loss += error * error / r->classes;
        if (dz)
            nn_ref_put(r->d->dtype, dz, r->first + (size_t)k, 2 * error / r->classes);
    }
    return loss;
}

static cm_status forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    *a->result = (struct nn_result){.count = a->n};
    for (int n = 0; n < a->n; n++) {
        int label = a->batch->labels[n];
        if (label < 0 || label >= d->x.c)
            return CM_FAIL(CM_EINVAL, "image %d of the shard: label %d is not in 0..%d", n, label,
                           d->x.c - 1);
        struct row r = {d, a->x[0], (size_t)n * (size_t)d->x.c, d->x.c, label};
        a->result->loss +=
            d->loss == NN_LOSS_MSE ? squared_error(&r, a->dx[0]) : cross_entropy(&r, a->dx[0]);
        a->result->correct += is_correct(&r);
    }
    return CM_OK;
}

const struct nn_op_impl nn_loss_ref = {.name = "loss/ref", .open = open_loss, .forward = forward};
