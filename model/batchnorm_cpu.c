/* NORM on the CPU, two passes each way. Forward: pool and sum per channel; normalise, add,
 * activate. Backward: through the activation with its sums; through the normalisation and the pool.
 * A pooled image stays in cache between its pooling and its sums, so a pass reads and writes main
 * memory once.
 *
 * saved: mean | rstd | var (C floats each, padded to 16) | pooled values (n, h', w', C) and places
 * of the maxima, u8. Without a pool the op's input is what backward needs, and the plan keeps that.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "common/mem.h"
#include "common/vec.h"
#include "model/batchnorm.h"
#include "model/kernels/kernels.h"

#define ALIGN 64 /* bytes */

struct norm {
    const struct nn_kernels *kernels;
    struct nn_window window;
    bool pooled;
    size_t size;             /* bytes of an element */
    size_t pixels, elements; /* per image, after the pool */
    size_t channels;         /* C, padded to 16 */
    size_t g_at, tile_at;    /* offsets in scratch: g of the shard; one pooled image per thread */
};

/* A lane's scratch: sums and coefficients by channel. */
struct coefficients {
    double *sum, *sum_sq;
    float *shift, *scale, *bias, *mean_g, *slope;
};

struct statistics {
    float *mean, *rstd, *var;
};

static size_t aligned(size_t nbytes)
{
    return (nbytes + ALIGN - 1) / ALIGN * ALIGN;
}

static struct coefficients coefficients_at(const struct norm *s, void *scratch)
{
    double *d = scratch;
    float *f = (float *)(d + 2 * s->channels);
    size_t c = s->channels;
    return (struct coefficients){d, d + c, f, f + c, f + 2 * c, f + 3 * c, f + 4 * c};
}

static struct statistics statistics_at(const struct norm *s, void *saved)
{
    float *f = saved;
    return (struct statistics){f, f + s->channels, f + 2 * s->channels};
}

static char *pooled_at(const struct norm *s, void *saved)
{
    return (char *)saved + 3 * s->channels * sizeof(float);
}

static uint8_t *places_at(const struct norm *s, void *saved, int n)
{
    return (uint8_t *)pooled_at(s, saved) + (size_t)n * s->elements * s->size;
}

static size_t input_nbytes(const struct nn_op *op)
{
    const struct norm *s = op->state;
    return nn_shape_count(op->desc.x) * s->size;
}

static cm_status norm_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    struct norm *s = NULL;
    if (d->kernel > 15)
        return CM_FAIL(CM_EUNSUPPORTED, "pool of side %d, at most 15 here", d->kernel);
    CM_TRY(cm_alloc(&s, 1, sizeof *s, d->name));
    op->state = s;
    s->kernels = nn_kernels_best();
    s->window = (struct nn_window){.c = d->x.c,
                                   .h = d->x.h,
                                   .w = d->x.w,
                                   .oh = d->y.h,
                                   .ow = d->y.w,
                                   .kernel = d->kernel,
                                   .stride = d->stride};
    s->pooled = d->kernel > 0;
    s->size = nn_dtype_size(d->dtype);
    s->pixels = (size_t)d->y.h * (size_t)d->y.w;
    s->elements = nn_shape_count(d->y);
    s->channels = aligned((size_t)d->y.c * sizeof(float)) / sizeof(float);
    size_t at = s->channels * (2 * sizeof(double) + 5 * sizeof(float));
    s->tile_at = at;
    if (s->pooled)
        at += (size_t)d->threads * aligned(s->elements * s->size);
    s->g_at = at;
    if (d->training && d->act != NN_ACT_NONE)
        at += (size_t)d->batches[d->nbatches - 1] * s->elements * s->size;
    op->needs.scratch = at;
    if (!d->training)
        return CM_OK;
    op->needs.saved_fixed = 3 * s->channels * sizeof(float);
    op->needs.saved_per_image = s->pooled ? s->elements * (s->size + 1) : 0;
    op->needs.dparam = 4 * s->channels;
    return CM_OK;
}

static void norm_close(struct nn_op *op)
{
    cm_free(&op->state);
}

/* The first pixel of each channel: any value of the data's range keeps the variance from
 * cancelling. */
static void take_shift(const struct nn_op *op, const void *z, float *shift)
{
    for (int i = 0; i < op->desc.y.c; i++)
        shift[i] = op->desc.dtype == NN_F32 ? ((const float *)z)[i]
                                            : cm_bf16_to_f32(((const uint16_t *)z)[i]);
}

/* Pools into saved, where there is a pool, and sums every channel; returns z, what is to be
 * normalised. */
static const void *pool_and_sum(const struct nn_op *op, const struct nn_op_args *a,
                                const struct coefficients *k)
{
    const struct norm *s = op->state;
    const struct nn_norm_kernels *norm = s->kernels->norm;
    enum nn_dtype dtype = op->desc.dtype;
    memset(k->sum, 0, 2 * s->channels * sizeof(double));
    if (!s->pooled) {
        take_shift(op, a->x[0], k->shift);
        norm->sums(dtype, a->x[0], (size_t)a->n * s->pixels, op->desc.y.c, k->shift, k->sum,
                   k->sum_sq);
        return a->x[0];
    }
    char *z = pooled_at(s, a->saved);
    uint8_t *places = places_at(s, a->saved, a->n);
    for (size_t i = 0; i < (size_t)a->n; i++) {
        char *zi = z + i * s->elements * s->size;
        s->kernels->pool->max(&s->window, dtype, (const char *)a->x[0] + i * input_nbytes(op), zi,
                              places + i * s->elements);
        if (i == 0)
            take_shift(op, zi, k->shift);
        norm->sums(dtype, zi, s->pixels, op->desc.y.c, k->shift, k->sum, k->sum_sq);
    }
    return z;
}

static cm_status forward_training(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct norm *s = op->state;
    const struct nn_op_desc *d = &op->desc;
    struct coefficients k = coefficients_at(s, a->scratch);
    struct statistics stat = statistics_at(s, a->saved);
    size_t m = (size_t)a->n * s->pixels;
    const void *z = pool_and_sum(op, a, &k);
    for (int i = 0; i < d->y.c; i++) {
        double mean = k.sum[i] / (double)m;
        double var = k.sum_sq[i] / (double)m - mean * mean;
        var = var < 0.0 ? 0.0 : var;
        stat.mean[i] = (float)((double)k.shift[i] + mean);
        stat.var[i] = (float)var;
        stat.rstd[i] = (float)(1.0 / sqrt(var + d->eps));
        k.scale[i] = a->param[NN_WEIGHT][i] * stat.rstd[i];
    }
    const struct nn_norm_rows rows = {.dtype = d->dtype,
                                      .act = d->act,
                                      .c = d->y.c,
                                      .rows = m,
                                      .z = z,
                                      .residual = d->residual ? a->x[1] : NULL,
                                      .mean = stat.mean,
                                      .scale = k.scale,
                                      .bias = a->param[NN_BIAS]};
    s->kernels->norm->apply(&rows, a->y);
    return CM_OK;
}

/* With running statistics nothing is summed: images are independent, and one pass does all. */
static cm_status forward_inference(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct norm *s = op->state;
    const struct nn_op_desc *d = &op->desc;
    struct coefficients k = coefficients_at(s, a->scratch);
    for (int i = 0; i < d->y.c; i++)
        k.scale[i] = (float)((double)a->param[NN_WEIGHT][i] /
                             sqrt((double)a->param[NN_RUNNING_VAR][i] + d->eps));
    size_t nbytes = s->elements * s->size;
#pragma omp parallel for num_threads(d->threads) if (d->threads > 1) schedule(static)
    for (int i = 0; i < a->n; i++) {
        const char *z = (const char *)a->x[0] + (size_t)i * input_nbytes(op);
        if (s->pooled) {
            char *tile =
                (char *)a->scratch + s->tile_at + (size_t)omp_get_thread_num() * aligned(nbytes);
            s->kernels->pool->max(&s->window, d->dtype, z, tile, NULL);
            z = tile;
        }
        const struct nn_norm_rows rows = {
            .dtype = d->dtype,
            .act = d->act,
            .c = d->y.c,
            .rows = s->pixels,
            .z = z,
            .residual = d->residual ? (const char *)a->x[1] + (size_t)i * nbytes : NULL,
            .mean = a->param[NN_RUNNING_MEAN],
            .scale = k.scale,
            .bias = a->param[NN_BIAS]};
        s->kernels->norm->apply(&rows, (char *)a->y + (size_t)i * nbytes);
    }
    return CM_OK;
}

static cm_status norm_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return op->desc.training ? forward_training(op, a) : forward_inference(op, a);
}

/* dparam: dw | db | n mean | n unbiased variance. mean_g and slope for the second pass. */
static void parameter_gradients(const struct nn_op *op, const struct nn_op_args *a,
                                const struct statistics *stat, const struct coefficients *k)
{
    const struct norm *s = op->state;
    const struct nn_op_desc *d = &op->desc;
    double m = (double)a->n * (double)s->pixels;
    float *dw = a->dparam, *db = dw + s->channels;
    float *mean = db + s->channels, *var = mean + s->channels;
    memset(a->dparam, 0, 4 * s->channels * sizeof(float));
    for (int i = 0; i < d->y.c; i++) {
        double weight = k->sum_sq[i] * (double)stat->rstd[i];
        dw[i] = d->freeze_weight ? 0.0f : (float)weight;
        db[i] = d->freeze_bias ? 0.0f : (float)k->sum[i];
        mean[i] = (float)(a->n * (double)stat->mean[i]);
        var[i] = (float)(a->n * (double)stat->var[i] * (m / (m - 1.0)));
        k->mean_g[i] = (float)(k->sum[i] / m);
        k->slope[i] = (float)(weight * (double)stat->rstd[i] / m);
    }
}

static void input_gradient(const struct nn_op *op, const struct nn_op_args *a,
                           const struct nn_norm_rows *all, const void *g,
                           const struct coefficients *k)
{
    const struct norm *s = op->state;
    if (!s->pooled) {
        s->kernels->norm->backward_apply(all, g, k->mean_g, k->slope, a->dx[0]);
        return;
    }
    char *tile = (char *)a->scratch + s->tile_at;
    const uint8_t *places = places_at(s, a->saved, a->n);
    struct nn_norm_rows image = *all;
    image.rows = s->pixels;
    for (size_t i = 0; i < (size_t)a->n; i++) {
        size_t at = i * s->elements * s->size;
        image.z = (const char *)all->z + at;
        s->kernels->norm->backward_apply(&image, (const char *)g + at, k->mean_g, k->slope, tile);
        s->kernels->pool->max_backward(&s->window, op->desc.dtype, tile, places + i * s->elements,
                                       (char *)a->dx[0] + i * input_nbytes(op));
    }
}

static cm_status norm_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct norm *s = op->state;
    const struct nn_op_desc *d = &op->desc;
    struct coefficients k = coefficients_at(s, a->scratch);
    struct statistics stat = statistics_at(s, a->saved);
    for (int i = 0; i < d->y.c; i++)
        k.scale[i] = a->param[NN_WEIGHT][i] * stat.rstd[i];
    const struct nn_norm_rows rows = {.dtype = d->dtype,
                                      .act = d->act,
                                      .c = d->y.c,
                                      .rows = (size_t)a->n * s->pixels,
                                      .z = s->pooled ? pooled_at(s, a->saved) : a->x[0],
                                      .residual = d->residual ? a->x[1] : NULL,
                                      .mean = stat.mean,
                                      .scale = k.scale,
                                      .bias = a->param[NN_BIAS]};
    /* g, the gradient in front of the activation, is also the residual's. */
    void *g = d->residual && a->dx[1] ? a->dx[1]
              : d->act != NN_ACT_NONE ? (char *)a->scratch + s->g_at
                                      : NULL;
    memset(k.sum, 0, 2 * s->channels * sizeof(double));
    s->kernels->norm->backward_sums(&rows, a->dy, g, k.sum, k.sum_sq);
    parameter_gradients(op, a, &stat, &k);
    if (a->dx[0])
        input_gradient(op, a, &rows, g ? g : a->dy, &k);
    return CM_OK;
}

const struct nn_op_impl nn_batchnorm_cpu = {
    .name = "norm/cpu",
    .open = norm_open,
    .close = norm_close,
    .forward = norm_forward,
    .backward = norm_backward,
};
