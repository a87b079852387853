#include "model/batchnorm.h"

#include <math.h>
#include <string.h>

#include "model/ref.h"

/* saved: mean and biased variance of each channel, 2 C doubles. */
static cm_status open_norm(struct nn_op *op)
{
    size_t channels = (size_t)op->desc.x.c;
    op->needs.dparam = 4 * nn_ref_padded(channels);
    op->needs.saved_fixed = 2 * channels * sizeof(double);
    return nn_ref_check(&op->desc);
}

/* One channel of a call. */
struct channel {
    const struct nn_op_desc *d;
    const struct nn_op_args *a;
    int c;
    double mean, var, invstd, weight, bias;
    double dweight, dbias; /* sums over the shard; dweight = sum of g xhat */
    double m;              /* values */
};

static double pooled(const struct channel *ch, int n, int i, int j, size_t *place)
{
    return nn_ref_window_max(ch->d, ch->a->x[0], n, i, j, ch->c, place);
}

static void statistics(struct channel *ch)
{
    struct nn_shape s = ch->d->y;
    size_t place;
    double sum = 0, squares = 0;
    for (int n = 0; n < ch->a->n; n++)
        for (int i = 0; i < s.h; i++)
            for (int j = 0; j < s.w; j++)
                sum += pooled(ch, n, i, j, &place);
    ch->mean = sum / ch->m;
    for (int n = 0; n < ch->a->n; n++)
        for (int i = 0; i < s.h; i++)
            for (int j = 0; j < s.w; j++) {
                double z = pooled(ch, n, i, j, &place) - ch->mean;
                squares += z * z;
            }
    ch->var = squares / ch->m;
}

static struct channel channel_of(const struct nn_op *op, const struct nn_op_args *a, int c)
{
    const struct nn_op_desc *d = &op->desc;
    return (struct channel){.d = d,
                            .a = a,
                            .c = c,
                            .weight = (double)a->param[NN_WEIGHT][c],
                            .bias = (double)a->param[NN_BIAS][c],
                            .m = (double)a->n * d->y.h * d->y.w};
}

/* xhat of output (n, i, j) and, before the activation, u + r. */
static double normalised(const struct channel *ch, int n, int i, int j, double *before)
{
    size_t place;
    double xhat = (pooled(ch, n, i, j, &place) - ch->mean) * ch->invstd;
    *before = ch->weight * xhat + ch->bias;
    if (ch->d->residual)
        *before += nn_ref_get(ch->d->dtype, ch->a->x[1], nn_ref_at(ch->d->y, n, i, j, ch->c));
    return xhat;
}

static cm_status forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    double *saved = a->saved;
    for (int c = 0; c < d->x.c; c++) {
        struct channel ch = channel_of(op, a, c);
        if (d->training) {
            statistics(&ch);
            saved[c] = ch.mean;
            saved[d->x.c + c] = ch.var;
        } else {
            ch.mean = (double)a->param[NN_RUNNING_MEAN][c];
            ch.var = (double)a->param[NN_RUNNING_VAR][c];
        }
        ch.invstd = 1 / sqrt(ch.var + d->eps);
        for (int n = 0; n < a->n; n++)
            for (int i = 0; i < d->y.h; i++)
                for (int j = 0; j < d->y.w; j++) {
                    double before;
                    normalised(&ch, n, i, j, &before);
                    nn_ref_put(d->dtype, a->y, nn_ref_at(d->y, n, i, j, c),
                               nn_ref_act(d->act, before));
                }
    }
    return CM_OK;
}

/* dy through the activation. */
static double output_gradient(const struct channel *ch, int n, int i, int j, double *xhat)
{
    double before;
    *xhat = normalised(ch, n, i, j, &before);
    return nn_ref_get(ch->d->dtype, ch->a->dy, nn_ref_at(ch->d->y, n, i, j, ch->c)) *
           nn_ref_act_slope(ch->d->act, before);
}

static void parameter_gradients(struct channel *ch)
{
    struct nn_shape s = ch->d->y;
    for (int n = 0; n < ch->a->n; n++)
        for (int i = 0; i < s.h; i++)
            for (int j = 0; j < s.w; j++) {
                double xhat, g = output_gradient(ch, n, i, j, &xhat);
                ch->dbias += g;
                ch->dweight += g * xhat;
            }
}

static void input_gradients(const struct channel *ch)
{
    const struct nn_op_desc *d = ch->d;
    const struct nn_op_args *a = ch->a;
    for (int n = 0; n < a->n; n++)
        for (int i = 0; i < d->y.h; i++)
            for (int j = 0; j < d->y.w; j++) {
                size_t place;
                double xhat, g = output_gradient(ch, n, i, j, &xhat);
                double dz =
                    ch->weight * ch->invstd * (g - ch->dbias / ch->m - xhat * ch->dweight / ch->m);
                pooled(ch, n, i, j, &place);
                if (a->dx[0]) /* windows may overlap; fp32 sums of a few terms */
                    nn_ref_put(d->dtype, a->dx[0], place,
                               nn_ref_get(d->dtype, a->dx[0], place) + dz);
                if (a->dx[1])
                    nn_ref_put(d->dtype, a->dx[1], nn_ref_at(d->y, n, i, j, ch->c), g);
            }
}

static cm_status backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct nn_op_desc *d = &op->desc;
    size_t part = nn_ref_padded((size_t)d->x.c);
    const double *saved = a->saved;
    memset(a->dparam, 0, op->needs.dparam * sizeof *a->dparam);
    if (a->dx[0])
        memset(a->dx[0], 0, (size_t)a->n * nn_shape_count(d->x) * nn_dtype_size(d->dtype));
    for (int c = 0; c < d->x.c; c++) {
        struct channel ch = channel_of(op, a, c);
        ch.mean = saved[c];
        ch.var = saved[d->x.c + c];
        ch.invstd = 1 / sqrt(ch.var + d->eps);
        parameter_gradients(&ch);
        input_gradients(&ch);
        float *dparam = a->dparam + c;
        dparam[0] = d->freeze_weight ? 0 : (float)ch.dweight;
        dparam[part] = d->freeze_bias ? 0 : (float)ch.dbias;
        dparam[2 * part] = (float)(a->n * ch.mean);
        dparam[3 * part] = (float)(a->n * ch.var * ch.m / (ch.m - 1));
    }
    return CM_OK;
}

const struct nn_op_impl nn_batchnorm_ref = {
    .name = "norm/ref", .open = open_norm, .forward = forward, .backward = backward};
