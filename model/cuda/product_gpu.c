/* conv2d and linear on a GPU: one op, since both are a product with weights that a library of the
 * driver computes; the bias is our own (bias_gpu.c).
 *
 * The filters are kept in the op's dtype as (out, kernel, kernel, in); dparam: dw in that order,
 * fp32 | db, the second at a multiple of 16 floats. Where the library has no product that gives dw
 * in fp32, or a search finds those slower, it is computed in the op's dtype and widened. */
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "model/conv2d.h"
#include "model/cuda/gpu.h"
#include "model/linear.h"

#define PASSES     3
#define CAST_SHARE 0.9 /* of a product's time, at most, that one in a narrower type may take */

/* In a table, instead of a way: dw is not taken in fp32, though the library has ways. */
#define NARROWER "narrower"
enum { NO_WAY = -1 }; /* beside a driver's codes */

struct product {
    size_t out, in, taps;
    void *filters;                /* the op's dtype, on the device */
    struct nn_product_plan *plan; /* PASSES for each batch size */
    bool wide;                    /* dw comes in fp32 */
    size_t db;                    /* floats of dparam in front of it */
    size_t workspace;             /* bytes, of the largest plan; then bias space, then narrow dw */
    size_t bias_at, narrow_at;    /* bytes in scratch */
};

static size_t filter_count(const struct product *p)
{
    return p->out * p->in * p->taps;
}

static void product_close(struct nn_op *op)
{
    struct product *p = op->state;
    if (!p)
        return;
    const struct nn_driver *driver = nn_gpu_of(op->backend)->driver;
    for (int i = 0; p->plan && i < PASSES * op->desc.nbatches; i++)
        if (p->plan[i].handle)
            driver->product_close(p->plan[i].handle);
    op->backend->release(op->backend, &p->filters);
    cm_free(&p->plan);
    cm_free(&op->state);
}

static struct nn_product describe(const struct nn_op_desc *d, enum nn_product_pass pass, int n)
{
    bool linear = d->kind == NN_OP_LINEAR;
    return (struct nn_product){.linear = linear,
                               .pass = pass,
                               .dtype = d->dtype,
                               .n = n,
                               .x = d->x,
                               .y = d->y,
                               .kernel = linear ? 1 : d->kernel,
                               .stride = linear ? 1 : d->stride,
                               .pad = linear ? 0 : d->pad};
}

static const char *const names[PASSES] = {"forward", "data gradient", "filter gradient"};

/* What an engine is for: all that the library may base its choice on, and a name. */
static cm_status make_key(char key[NN_ENGINE_KEY], const char *name, const struct nn_product *p)
{
    int n =
        snprintf(key, NN_ENGINE_KEY, "%s %s n%d %dx%dx%d to %dx%dx%d k%d s%d p%d %s%s", name,
                 names[p->pass], p->n, p->x.c, p->x.h, p->x.w, p->y.c, p->y.h, p->y.w, p->kernel,
                 p->stride, p->pad, nn_dtype_name(p->dtype), p->wide ? " to fp32" : "");
    return n < NN_ENGINE_KEY ? CM_OK : CM_FAIL(CM_EINVAL, "%s: name too long", name);
}

static bool is_narrower(const struct nn_engine *known)
{
    return known && strcmp(known->name, NARROWER) == 0;
}

static cm_status note_narrower(struct nn_engines *table, const char *key)
{
    struct nn_engine engine = {.name = NARROWER};
    snprintf(engine.key, sizeof engine.key, "%s", key);
    return nn_engines_add(table, &engine);
}

/* plan gives dw in fp32, and was found in seconds: is it faster in the op's own dtype, by more than
 * the cast takes that then follows? */
static cm_status try_narrower(struct nn_op *op, const struct nn_product *wide, const char *key,
                              struct nn_product_plan *plan, double seconds, int *code)
{
    const struct nn_device *gpu = nn_gpu_of(op->backend);
    struct nn_engine_search *search = op->desc.engines->search;
    struct nn_product product = *wide;
    struct nn_product_plan narrower = {0};
    char own_key[NN_ENGINE_KEY];
    double own_s;
    int none;
    product.wide = false;
    CM_TRY(make_key(own_key, nn_op_kind_name(op->desc.kind), &product));
    cm_status st = nn_gpu_search(gpu, &product, own_key, search, &narrower, &own_s, &none);
    if (narrower.handle) /* if it is the faster one, it is opened again */
        gpu->driver->product_close(narrower.handle);
    if (st != CM_OK || none || own_s <= 0 || own_s >= CAST_SHARE * seconds)
        return st;
    gpu->driver->product_close(plan->handle);
    *plan = (struct nn_product_plan){0};
    *code = NO_WAY;
    return note_narrower(&search->found, key);
}

/* The fastest way. Of two that differ in dw's type alone the largest batch decides. */
static cm_status search_plan(struct nn_op *op, const struct nn_product *product,
                             struct nn_product_plan *plan, int *code)
{
    const struct nn_op_desc *d = &op->desc;
    struct nn_engine_search *search = d->engines->search;
    char key[NN_ENGINE_KEY];
    double seconds;
    CM_TRY(make_key(key, nn_op_kind_name(d->kind), product));
    if (is_narrower(nn_engines_find(&search->found, key))) {
        *code = NO_WAY;
        search->nknown++;
        return CM_OK;
    }
    CM_TRY(nn_gpu_search(nn_gpu_of(op->backend), product, key, search, plan, &seconds, code));
    bool largest = product->n == d->batches[d->nbatches - 1];
    bool mixed = product->wide && product->dtype != NN_F32;
    return largest && mixed && seconds > 0 ? try_narrower(op, product, key, plan, seconds, code)
                                           : CM_OK;
}

/* The way that the table names, or else what is chosen now, which the table then gets. */
static cm_status choose(struct nn_op *op, const struct nn_product *product,
                        struct nn_product_plan *plan, int *code)
{
    const struct nn_op_desc *d = &op->desc;
    const struct nn_device *gpu = nn_gpu_of(op->backend);
    struct nn_engine engine = {0};
    CM_TRY(make_key(engine.key, d->name, product));
    const struct nn_engine *known = d->engines ? nn_engines_find(d->engines, engine.key) : NULL;
    if (is_narrower(known))
        *code = NO_WAY;
    else if (!known && d->engines && d->engines->search)
        CM_TRY(search_plan(op, product, plan, code));
    else
        *code = gpu->driver->product_open(gpu->stream, product, known ? known->name : NULL, plan);
    if (*code == NO_WAY) /* for the other ranks, too */
        return note_narrower(d->engines, engine.key);
    if (known && *code)
        return CM_FAIL(CM_EMISMATCH, "engine '%s' for '%s' is not to be had on %s: %s", known->name,
                       engine.key, gpu->description, plan->why);
    if (*code || known || !d->engines)
        return CM_OK;
    snprintf(engine.name, sizeof engine.name, "%s", plan->engine);
    engine.workspace = plan->workspace;
    return nn_engines_add(d->engines, &engine);
}

/* *found: whether the library has a way; why not is in the plan. */
static cm_status try_plan(struct nn_op *op, int batch, enum nn_product_pass pass, bool *found)
{
    struct product *p = op->state;
    const struct nn_op_desc *d = &op->desc;
    struct nn_product product = describe(d, pass, d->batches[batch]);
    struct nn_product_plan *plan = &p->plan[batch * PASSES + (int)pass];
    product.wide = pass == NN_PRODUCT_FILTER && p->wide;
    int code;
    CM_TRY(choose(op, &product, plan, &code));
    *found = code == 0;
    if (*found && plan->workspace > p->workspace)
        p->workspace = plan->workspace;
    return CM_OK;
}

static cm_status open_plan(struct nn_op *op, int batch, enum nn_product_pass pass)
{
    const struct product *p = op->state;
    const struct nn_op_desc *d = &op->desc;
    bool found;
    CM_TRY(try_plan(op, batch, pass, &found));
    return found ? CM_OK
                 : CM_FAIL(CM_EUNSUPPORTED,
                           "%s of %d images in %s: no engine that repeats its bits: %s",
                           names[pass], d->batches[batch], nn_dtype_name(d->dtype),
                           p->plan[batch * PASSES + (int)pass].why);
}

/* All batch sizes give dw in one type, since they share a place for it: fp32 where the library has
 * a way for each, and no search found that slower, else the op's own. */
static cm_status open_filter_plans(struct nn_op *op)
{
    struct product *p = op->state;
    const struct nn_driver *driver = nn_gpu_of(op->backend)->driver;
    for (int i = 0; i < op->desc.nbatches && p->wide; i++)
        CM_TRY(try_plan(op, i, NN_PRODUCT_FILTER, &p->wide));
    for (int i = 0; i < op->desc.nbatches && !p->wide; i++) {
        struct nn_product_plan *plan = &p->plan[i * PASSES + NN_PRODUCT_FILTER];
        if (plan->handle)
            driver->product_close(plan->handle);
        *plan = (struct nn_product_plan){0};
        CM_TRY(open_plan(op, i, NN_PRODUCT_FILTER));
    }
    return CM_OK;
}

static cm_status open_plans(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    for (int i = 0; i < d->nbatches; i++) {
        CM_TRY(open_plan(op, i, NN_PRODUCT_FORWARD));
        if (d->training && d->need_dx)
            CM_TRY(open_plan(op, i, NN_PRODUCT_DATA));
    }
    return d->training && !d->freeze_weight ? open_filter_plans(op) : CM_OK;
}

static void place(struct nn_op *op, struct product *p)
{
    const struct nn_op_desc *d = &op->desc;
    size_t bias = 0;
    for (int i = 0; d->training && d->bias && i < d->nbatches; i++) {
        size_t space = nn_gpu_bias_space(d, d->batches[i]);
        bias = space > bias ? space : bias;
    }
    p->bias_at = nn_gpu_aligned(p->workspace);
    p->narrow_at = p->bias_at + bias;
    op->needs.scratch = p->narrow_at;
    if (d->training && !p->wide)
        op->needs.scratch += filter_count(p) * nn_dtype_size(d->dtype);
    p->db = nn_gpu_padded(filter_count(p));
    if (d->training)
        op->needs.dparam = p->db + (d->bias ? nn_gpu_padded(p->out) : 0);
}

static cm_status product_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    struct product *p;
    CM_TRY(nn_gpu_check_dtype(d));
    CM_TRY(cm_alloc(&p, 1, sizeof *p, d->name));
    op->state = p;
    p->out = (size_t)d->y.c;
    p->in = (size_t)d->x.c;
    p->taps = d->kind == NN_OP_LINEAR ? 1 : (size_t)d->kernel * (size_t)d->kernel;
    p->wide = true;
    CM_TRY(cm_alloc(&p->plan, (size_t)(PASSES * d->nbatches), sizeof *p->plan, d->name));
    CM_TRY(op->backend->alloc(op->backend, &p->filters, filter_count(p) * nn_dtype_size(d->dtype),
                              d->name));
    CM_TRY(open_plans(op));
    place(op, p);
    return CM_OK;
}

static cm_status product_prepare(struct nn_op *op, struct ln_lane *lane,
                                 const float *const param[4])
{
    struct product *p = op->state;
    struct nn_filter_args args = {.out = p->out,
                                  .in = p->in,
                                  .taps = p->taps,
                                  .dtype = op->desc.dtype,
                                  .from = param[NN_WEIGHT],
                                  .to = p->filters};
    return nn_gpu_launch(op->backend, lane, NN_KERNEL_filter_import, nn_grid_of(filter_count(p)),
                         &args);
}

static cm_status run(const struct nn_op *op, const struct nn_op_args *a, enum nn_product_pass pass,
                     const void *first, const void *second, void *result)
{
    const struct product *p = op->state;
    const struct nn_op_desc *d = &op->desc;
    const struct nn_device *gpu = nn_gpu_of(op->backend);
    for (int i = 0; i < d->nbatches; i++) {
        const struct nn_product_plan *plan = &p->plan[i * PASSES + (int)pass];
        if (d->batches[i] == a->n)
            return nn_gpu_check(gpu,
                                gpu->driver->product_run(nn_gpu_stream(op->backend, a->stream),
                                                         plan->handle, first, second, result,
                                                         a->scratch),
                                d->name);
    }
    return CM_FAIL(CM_EINVAL, "%s: %d images were not planned", d->name, a->n);
}

static cm_status product_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct product *p = op->state;
    CM_TRY(run(op, a, NN_PRODUCT_FORWARD, a->x[0], p->filters, a->y));
    return op->desc.bias ? nn_gpu_bias_add(op, a) : CM_OK;
}

static cm_status filter_gradient(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct product *p = op->state;
    if (p->wide)
        return run(op, a, NN_PRODUCT_FILTER, a->x[0], a->dy, a->dparam);
    void *narrow = (char *)a->scratch + p->narrow_at;
    CM_TRY(run(op, a, NN_PRODUCT_FILTER, a->x[0], a->dy, narrow));
    return nn_device_cast(nn_gpu_of(op->backend), a->stream, NN_F32, a->dparam, op->desc.dtype,
                          narrow, filter_count(p));
}

static cm_status product_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    const struct product *p = op->state;
    const struct nn_op_desc *d = &op->desc;
    /* Gaps between tensors hold zeros, as do frozen parts. */
    CM_TRY(op->backend->zero(op->backend, a->stream, a->dparam, op->needs.dparam * sizeof(float)));
    if (!d->freeze_weight)
        CM_TRY(filter_gradient(op, a));
    if (d->bias && !d->freeze_bias)
        CM_TRY(nn_gpu_bias_gradient(op, a, a->dparam + p->db, (char *)a->scratch + p->bias_at));
    return a->dx[0] ? run(op, a, NN_PRODUCT_DATA, a->dy, p->filters, a->dx[0]) : CM_OK;
}

static cm_status product_finish(const struct nn_op *op, struct ln_lane *lane, const float *dparam,
                                float *const grad[4])
{
    const struct product *p = op->state;
    const struct nn_backend *backend = op->backend;
    struct nn_filter_args args = {
        .out = p->out, .in = p->in, .taps = p->taps, .from = dparam, .to = grad[NN_WEIGHT]};
    CM_TRY(
        nn_gpu_launch(backend, lane, NN_KERNEL_filter_export, nn_grid_of(filter_count(p)), &args));
    return grad[NN_BIAS]
               ? backend->copy(backend, lane, grad[NN_BIAS], dparam + p->db, p->out * sizeof(float))
               : CM_OK;
}

#define PRODUCT_OP(label)                                                                          \
    {                                                                                              \
        .name = label, .open = product_open, .close = product_close, .prepare = product_prepare,   \
        .forward = product_forward, .backward = product_backward, .finish = product_finish         \
    }

const struct nn_op_impl nn_conv2d_gpu = PRODUCT_OP("conv/cuda");
const struct nn_op_impl nn_linear_gpu = PRODUCT_OP("linear/cuda");
