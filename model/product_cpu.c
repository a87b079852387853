/* conv2d and linear on the CPU: one op, since oneDNN's convolution and inner product take the same
 * operands. The bias gradient is a column sum of dy, our own, so that it does not need the weight
 * gradient when weights are frozen.
 *
 * With emulate_bf16, operands are converted to fp32 in scratch, oneDNN computes in fp32 with
 * weights rounded to bf16, and the result is rounded: what bf16 hardware does, up to the order of
 * sums. An op for which oneDNN has no bf16 kernel, in whichever pass, emulates in all of them.
 *
 * dparam: dw in oneDNN's order | db (O), the second at a multiple of 16 floats. */
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/vec.h"
#include "model/conv2d.h"
#include "model/dnnl.h"
#include "model/kernels/kernels.h"
#include "model/linear.h"

#define ALIGN 64 /* bytes: a cache line, and 16 floats */

struct product {
    struct nn_dnnl_layer *forward, *backward_data, *backward_weights; /* the last two may be NULL */
    const struct nn_kernels *kernels;
    float *rounded;       /* arena-ordered weights rounded to bf16; emulation only */
    size_t weights, bias; /* floats of dparam, the first with its gap */
    /* offsets in a lane's scratch, bytes */
    size_t x_at, y_at, sums_at;
};

static size_t aligned(size_t nbytes)
{
    return (nbytes + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int largest_batch(const struct nn_op_desc *d)
{
    return d->batches[d->nbatches - 1];
}

static size_t weight_count(const struct nn_op_desc *d)
{
    size_t taps = d->kind == NN_OP_CONV ? (size_t)d->kernel * (size_t)d->kernel : 1;
    return (size_t)d->y.c * (size_t)d->x.c * taps;
}

static void close_layers(struct product *p)
{
    nn_dnnl_close(&p->forward);
    nn_dnnl_close(&p->backward_data);
    nn_dnnl_close(&p->backward_weights);
}

static void product_close(struct nn_op *op)
{
    struct product *p = op->state;
    if (!p)
        return;
    close_layers(p);
    cm_free(&p->rounded);
    cm_free(&op->state);
}

static cm_status open_layers(struct product *p, const struct nn_op_desc *d)
{
    struct nn_dnnl_config cfg = {
        .desc = d, .pass = NN_DNNL_FORWARD, .dtype = d->emulate_bf16 ? NN_F32 : d->dtype};
    CM_TRY(nn_dnnl_open(&p->forward, &cfg));
    if (d->training && d->need_dx) {
        cfg.pass = NN_DNNL_BACKWARD_DATA;
        CM_TRY(nn_dnnl_open(&p->backward_data, &cfg));
    }
    if (d->training) {
        cfg.pass = NN_DNNL_BACKWARD_WEIGHTS;
        CM_TRY(nn_dnnl_open(&p->backward_weights, &cfg));
    }
    return CM_OK;
}

/* The layers in the op's dtype, else, for want of a bf16 kernel, in emulation. */
static cm_status open_some_layers(struct nn_op *op)
{
    struct product *p = op->state;
    struct nn_op_desc *d = &op->desc;
    cm_status st = open_layers(p, d);
    if (st != CM_EUNSUPPORTED || d->dtype != NN_BF16 || d->emulate_bf16)
        return st;
    cm_log_info("%s: no bf16 kernel (%s), computed in fp32 from bf16", d->name, cm_error_text());
    close_layers(p);
    d->emulate_bf16 = true;
    return open_layers(p, d);
}

static void place_scratch(struct nn_op *op, struct product *p)
{
    const struct nn_op_desc *d = &op->desc;
    size_t n = (size_t)largest_batch(d), at = nn_dnnl_scratch(p->forward);
    if (p->backward_data)
        at = max_size(at, nn_dnnl_scratch(p->backward_data));
    if (p->backward_weights)
        at = max_size(at, nn_dnnl_scratch(p->backward_weights));
    p->sums_at = aligned(at);
    at = p->sums_at;
    if (d->training && d->bias)
        at += aligned((size_t)d->y.c * (2 * sizeof(double) + sizeof(float)));
    p->x_at = at;
    if (d->emulate_bf16)
        at += aligned(n * nn_shape_count(d->x) * sizeof(float));
    p->y_at = at;
    if (d->emulate_bf16)
        at += aligned(n * nn_shape_count(d->y) * sizeof(float));
    op->needs.scratch = at;
}

static cm_status product_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    struct product *p = NULL;
    CM_TRY(cm_alloc(&p, 1, sizeof *p, d->name));
    op->state = p;
    p->kernels = nn_kernels_best();
    CM_TRY(open_some_layers(op));
    if (d->emulate_bf16)
        CM_TRY(cm_alloc_aligned(&p->rounded, weight_count(d), sizeof(float), d->name));
    if (p->backward_weights) {
        p->weights = aligned(nn_dnnl_weights_nbytes(p->backward_weights)) / sizeof(float);
        p->bias = d->bias ? (size_t)d->y.c : 0;
        op->needs.dparam = p->weights + aligned(p->bias * sizeof(float)) / sizeof(float);
    }
    place_scratch(op, p);
    return CM_OK;
}

static cm_status product_prepare(struct nn_op *op, struct ln_lane *lane,
                                 const float *const param[4])
{
    (void)lane;
    struct product *p = op->state;
    const float *weights = param[NN_WEIGHT];
    if (p->rounded) {
        size_t n = weight_count(&op->desc);
        memcpy(p->rounded, weights, n * sizeof(float));
        cm_vec_round_bf16(p->rounded, n);
        weights = p->rounded;
    }
    CM_TRY(nn_dnnl_import(p->forward, weights));
    return p->backward_data ? nn_dnnl_import(p->backward_data, weights) : CM_OK;
}

/* v (n elements of the op's dtype) as oneDNN takes it: itself, or when emulating an fp32 copy at
 * space. */
static const void *operand(const struct nn_op *op, const void *v, size_t n, void *space)
{
    if (!op->desc.emulate_bf16)
        return v;
    cm_vec_from_bf16(space, v, n);
    return space;
}

static cm_status product_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct product *p = op->state;
    const struct nn_op_desc *d = &op->desc;
    char *scratch = a->scratch;
    size_t nx = (size_t)a->n * nn_shape_count(d->x), ny = (size_t)a->n * nn_shape_count(d->y);
    const void *x = operand(op, a->x[0], nx, scratch + p->x_at);
    void *y = d->emulate_bf16 ? scratch + p->y_at : a->y;
    CM_TRY(nn_dnnl_forward(p->forward, a->n, a->lane, x, d->bias ? a->param[NN_BIAS] : NULL, y,
                           scratch));
    if (d->emulate_bf16)
        cm_vec_to_bf16(a->y, y, ny);
    return CM_OK;
}

static void bias_gradient(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct product *p = op->state;
    const struct nn_op_desc *d = &op->desc;
    size_t c = (size_t)d->y.c, rows = (size_t)a->n * (size_t)d->y.h * (size_t)d->y.w;
    double *sum = (double *)(void *)((char *)a->scratch + p->sums_at), *unused = sum + c;
    float *zero = (float *)(unused + c), *db = a->dparam + p->weights;
    memset(sum, 0, c * (2 * sizeof(double) + sizeof(float)));
    if (!d->freeze_bias)
        p->kernels->norm->sums(d->dtype, a->dy, rows, d->y.c, zero, sum, unused);
    for (size_t i = 0; i < c; i++)
        db[i] = (float)sum[i];
}

static cm_status product_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct product *p = op->state;
    const struct nn_op_desc *d = &op->desc;
    char *scratch = a->scratch;
    size_t nx = (size_t)a->n * nn_shape_count(d->x), ny = (size_t)a->n * nn_shape_count(d->y);
    const void *dy = operand(op, a->dy, ny, scratch + p->y_at);
    if (d->freeze_weight) {
        memset(a->dparam, 0, p->weights * sizeof(float));
    } else {
        const void *x = operand(op, a->x[0], nx, scratch + p->x_at);
        CM_TRY(nn_dnnl_backward_weights(p->backward_weights, a->n, a->lane, x, dy, a->dparam,
                                        scratch));
    }
    if (d->bias)
        bias_gradient(op, a);
    if (!a->dx[0])
        return CM_OK;
    void *dx = d->emulate_bf16 ? scratch + p->x_at : a->dx[0];
    CM_TRY(nn_dnnl_backward_data(p->backward_data, a->n, a->lane, dy, dx, scratch));
    if (d->emulate_bf16)
        cm_vec_to_bf16(a->dx[0], dx, nx);
    return CM_OK;
}

static cm_status product_finish(const struct nn_op *op, struct ln_lane *lane, const float *dparam,
                                float *const grad[4])
{
    (void)lane;
    const struct product *p = op->state;
    CM_TRY(nn_dnnl_export(p->backward_weights, dparam, grad[NN_WEIGHT]));
    if (grad[NN_BIAS])
        memcpy(grad[NN_BIAS], dparam + p->weights, p->bias * sizeof(float));
    return CM_OK;
}

#define PRODUCT_OP(label)                                                                          \
    {                                                                                              \
        .name = label, .open = product_open, .close = product_close, .prepare = product_prepare,   \
        .forward = product_forward, .backward = product_backward, .finish = product_finish         \
    }

const struct nn_op_impl nn_conv2d_cpu = PRODUCT_OP("conv/cpu");
const struct nn_op_impl nn_linear_cpu = PRODUCT_OP("linear/cpu");
