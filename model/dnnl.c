#include "model/dnnl.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

#define OPERANDS 4 /* x, weights, y, bias */

/* What one lane holds for one size: memory objects, which are only handles. */
struct binding {
    dnnl_memory_t x, weights, y, bias, scratch;
};

struct sized {
    int n;
    dnnl_primitive_t primitive;
    struct binding *lanes; /* nlanes */
};

struct nn_dnnl_layer {
    enum nn_dnnl_pass pass;
    int threads, nlanes, nsizes;
    struct sized *sizes; /* as desc.batches */
    dnnl_engine_t engine;
    dnnl_stream_t *streams; /* nlanes */
    size_t scratch, weights_nbytes;

    void *weights;            /* in the layer's order; NULL for the weight gradient */
    dnnl_primitive_t reorder; /* arena order to the layer's, or back for the weight gradient */
    dnnl_memory_t reorder_arena, reorder_own, reorder_scratch;
    void *reorder_space;
};

static cm_status translate(dnnl_status_t st, const char *call)
{
    if (st == dnnl_success)
        return CM_OK;
    cm_status code = st == dnnl_out_of_memory   ? CM_ENOMEM
                     : st == dnnl_unimplemented ? CM_EUNSUPPORTED
                                                : CM_EINTERNAL;
    return CM_FAIL(code, "oneDNN: %s: %s (%d)", call, dnnl_status2str(st), (int)st);
}

#define DNNL_TRY(call)             CM_TRY(translate((call), #call))
#define DNNL_GOTO(st, call, label) CM_GOTO(st, translate((call), #call), label)

bool nn_dnnl_has_bf16(void)
{
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    unsigned bf16 = (unsigned)dnnl_cpu_isa_avx512_core_bf16;
    return (isa & bf16) == bf16;
}

const char *nn_dnnl_isa_name(void)
{
    return dnnl_cpu_isa2str(dnnl_get_effective_cpu_isa());
}

void nn_dnnl_version(char *text, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    (void)snprintf(text, size, "%d.%d.%d", v->major, v->minor, v->patch);
}

/* The calling thread's OpenMP thread count becomes threads; returns what it was. Primitives split
 * their work by the count at creation: a run that gets fewer threads leaves parts undone, or waits
 * for ever in oneDNN's own barriers. So OpenMP may not choose (OMP_DYNAMIC). */
static int switch_threads(int threads)
{
    int before = omp_get_max_threads();
    omp_set_dynamic(0);
    if (before != threads)
        omp_set_num_threads(threads);
    return before;
}

static dnnl_data_type_t data_type(enum nn_dtype dtype)
{
    return dtype == NN_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* Memory descriptors of one op at one size, all passes. */
struct shapes {
    dnnl_memory_desc_t x, weights, y, bias;
    dnnl_memory_desc_t arena; /* weights as the arena has them */
};

static cm_status describe(struct shapes *s, const struct nn_dnnl_config *cfg, int n)
{
    const struct nn_op_desc *d = cfg->desc;
    bool conv = d->kind == NN_OP_CONV;
    int ndims = conv ? 4 : 2;
    dnnl_data_type_t type = data_type(cfg->dtype);
    dnnl_data_type_t weights_type = cfg->pass == NN_DNNL_BACKWARD_WEIGHTS ? dnnl_f32 : type;
    const dnnl_dims_t x = {n, d->x.c, d->x.h, d->x.w}, y = {n, d->y.c, d->y.h, d->y.w};
    const dnnl_dims_t w = {d->y.c, d->x.c, d->kernel, d->kernel}, bias = {d->y.c};
    dnnl_format_tag_t rows = conv ? dnnl_nhwc : dnnl_ab;
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&s->x, ndims, x, type, rows));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&s->y, ndims, y, type, rows));
    DNNL_TRY(
        dnnl_memory_desc_init_by_tag(&s->weights, ndims, w, weights_type, dnnl_format_tag_any));
    DNNL_TRY(
        dnnl_memory_desc_init_by_tag(&s->arena, ndims, w, dnnl_f32, conv ? dnnl_oihw : dnnl_ab));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&s->bias, 1, bias, dnnl_f32, dnnl_a));
    return CM_OK;
}

/* op: a convolution or inner product descriptor of the pass. */
union pass_desc {
    dnnl_convolution_desc_t conv;
    dnnl_inner_product_desc_t product;
};

static cm_status init_conv(dnnl_convolution_desc_t *c, const struct nn_op_desc *d,
                           enum nn_dnnl_pass pass, const struct shapes *s)
{
    const dnnl_dims_t strides = {d->stride, d->stride}, pad = {d->pad, d->pad};
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    switch (pass) {
    case NN_DNNL_FORWARD:
        DNNL_TRY(dnnl_convolution_forward_desc_init(
            c, d->training ? dnnl_forward_training : dnnl_forward_inference, direct, &s->x,
            &s->weights, d->bias ? &s->bias : NULL, &s->y, strides, pad, pad));
        break;
    case NN_DNNL_BACKWARD_DATA:
        DNNL_TRY(dnnl_convolution_backward_data_desc_init(c, direct, &s->x, &s->weights, &s->y,
                                                          strides, pad, pad));
        break;
    case NN_DNNL_BACKWARD_WEIGHTS:
        DNNL_TRY(dnnl_convolution_backward_weights_desc_init(c, direct, &s->x, &s->weights, NULL,
                                                             &s->y, strides, pad, pad));
        break;
    }
    return CM_OK;
}

static cm_status init_product(dnnl_inner_product_desc_t *p, const struct nn_op_desc *d,
                              enum nn_dnnl_pass pass, const struct shapes *s)
{
    switch (pass) {
    case NN_DNNL_FORWARD:
        DNNL_TRY(dnnl_inner_product_forward_desc_init(
            p, d->training ? dnnl_forward_training : dnnl_forward_inference, &s->x, &s->weights,
            d->bias ? &s->bias : NULL, &s->y));
        break;
    case NN_DNNL_BACKWARD_DATA:
        DNNL_TRY(dnnl_inner_product_backward_data_desc_init(p, &s->x, &s->weights, &s->y));
        break;
    case NN_DNNL_BACKWARD_WEIGHTS:
        DNNL_TRY(dnnl_inner_product_backward_weights_desc_init(p, &s->x, &s->weights, NULL, &s->y));
        break;
    }
    return CM_OK;
}

static cm_status init_pass(union pass_desc *u, const struct nn_op_desc *d, enum nn_dnnl_pass pass,
                           const struct shapes *s)
{
    if (d->kind == NN_OP_CONV)
        return init_conv(&u->conv, d, pass, s);
    return init_product(&u->product, d, pass, s);
}

static cm_status kernel_name(const char **name, const_dnnl_primitive_desc_t pd)
{
    DNNL_TRY(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, name));
    return CM_OK;
}

/* What oneDNN offers and we refuse:
 * - bf16 in its reference loops ("ref:any"), which our own emulation outruns by far;
 * - the 1x1 kernels for the weight gradient of a strided convolution with few input channels: they
 *   pick the pixels into a space that is sized by the channels and written by their block (8 or
 *   16), past its end (oneDNN issue 6035; seen in 2.6.3 with fewer than 8 on AVX2). */
static bool is_usable(const struct nn_dnnl_config *cfg, const char *kernel)
{
    const struct nn_op_desc *d = cfg->desc;
    if (cfg->dtype == NN_BF16 && strncmp(kernel, "ref", 3) == 0)
        return false;
    bool few = d->kind == NN_OP_CONV && d->kernel == 1 && d->stride > 1 && d->x.c < 16;
    return !(few && cfg->pass == NN_DNNL_BACKWARD_WEIGHTS && strstr(kernel, "1x1"));
}

/* The first of oneDNN's implementations, best first, that is usable. */
static cm_status choose_primitive_desc(dnnl_primitive_desc_t *out, const struct nn_dnnl_config *cfg,
                                       const union pass_desc *u, const_dnnl_primitive_attr_t attr,
                                       dnnl_engine_t engine, const_dnnl_primitive_desc_t hint)
{
    dnnl_primitive_desc_iterator_t next = NULL;
    const char *kernel = "none";
    cm_status st = CM_OK;
    DNNL_TRY(dnnl_primitive_desc_iterator_create(&next, u, attr, engine, hint));
    for (;;) {
        *out = dnnl_primitive_desc_iterator_fetch(next);
        DNNL_GOTO(st, *out ? dnnl_success : dnnl_out_of_memory, out);
        CM_GOTO(st, kernel_name(&kernel, *out), out);
        if (is_usable(cfg, kernel))
            break;
        dnnl_primitive_desc_destroy(*out);
        *out = NULL;
        dnnl_status_t more = dnnl_primitive_desc_iterator_next(next);
        DNNL_GOTO(st, more == dnnl_iterator_ends ? dnnl_unimplemented : more, out);
    }
out:
    dnnl_primitive_desc_iterator_destroy(next);
    return st;
}

/* oneDNN wants to see the forward pass that a gradient belongs to. */
static cm_status make_primitive_desc(dnnl_primitive_desc_t *out, const struct nn_dnnl_config *cfg,
                                     const struct shapes *s, const_dnnl_primitive_attr_t attr,
                                     dnnl_engine_t engine)
{
    const struct nn_op_desc *d = cfg->desc;
    dnnl_primitive_desc_t hint = NULL;
    union pass_desc u;
    cm_status st = CM_OK;
    if (cfg->pass != NN_DNNL_FORWARD) {
        struct nn_dnnl_config forward = *cfg;
        forward.pass = NN_DNNL_FORWARD;
        struct shapes any;
        CM_TRY(describe(&any, &forward, (int)s->x.dims[0]));
        CM_TRY(init_pass(&u, d, NN_DNNL_FORWARD, &any));
        DNNL_TRY(dnnl_primitive_desc_create(&hint, &u, attr, engine, NULL));
    }
    CM_GOTO(st, init_pass(&u, d, cfg->pass, s), out);
    st = choose_primitive_desc(out, cfg, &u, attr, engine, hint);
out:
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    return st;
}

static dnnl_memory_desc_t own_weights_desc(const_dnnl_primitive_desc_t pd, enum nn_dnnl_pass pass)
{
    return *dnnl_primitive_desc_query_md(
        pd, pass == NN_DNNL_BACKWARD_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md,
        0);
}

/* A memory object of desc over p (NULL: bound later). oneDNN reads a NULL handle as "none". */
static cm_status make_memory(dnnl_memory_t *m, const dnnl_memory_desc_t *desc, void *p,
                             dnnl_engine_t engine)
{
    DNNL_TRY(dnnl_memory_create(m, desc, engine, DNNL_MEMORY_NONE));
    if (p)
        DNNL_TRY(dnnl_memory_set_data_handle(*m, p));
    return CM_OK;
}

static cm_status make_binding(struct nn_dnnl_layer *l, struct binding *b, const struct shapes *s,
                              const dnnl_memory_desc_t *scratch)
{
    CM_TRY(make_memory(&b->x, &s->x, NULL, l->engine));
    /* Weights are bound here, once: binding writes zeros into their padding, which in a run would
     * race. */
    CM_TRY(make_memory(&b->weights, &s->weights, l->weights, l->engine));
    CM_TRY(make_memory(&b->y, &s->y, NULL, l->engine));
    CM_TRY(make_memory(&b->bias, &s->bias, NULL, l->engine));
    return make_memory(&b->scratch, scratch, NULL, l->engine);
}

/* Fills *size; the first call fixes the order of the weights in *weights, later ones keep to it. */
static cm_status make_sized(struct nn_dnnl_layer *l, struct sized *size,
                            const struct nn_dnnl_config *cfg, int n,
                            const_dnnl_primitive_attr_t attr, dnnl_memory_desc_t *weights)
{
    struct shapes s;
    dnnl_primitive_desc_t pd = NULL;
    cm_status st = CM_OK;
    CM_TRY(describe(&s, cfg, n));
    if (l->weights_nbytes > 0)
        s.weights = *weights;
    CM_TRY(make_primitive_desc(&pd, cfg, &s, attr, l->engine));
    if (l->weights_nbytes == 0) {
        *weights = own_weights_desc(pd, cfg->pass);
        l->weights_nbytes = dnnl_memory_desc_get_size(weights);
        if (cfg->pass != NN_DNNL_BACKWARD_WEIGHTS)
            CM_GOTO(st, cm_alloc_aligned(&l->weights, l->weights_nbytes, 1, "weights"), out);
    }
    s.weights = *weights;
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    size_t nbytes = dnnl_memory_desc_get_size(scratch);
    l->scratch = nbytes > l->scratch ? nbytes : l->scratch;
    size->n = n;
    DNNL_GOTO(st, dnnl_primitive_create(&size->primitive, pd), out);
    CM_GOTO(st, cm_alloc(&size->lanes, (size_t)l->nlanes, sizeof *size->lanes, "oneDNN handles"),
            out);
    for (int i = 0; i < l->nlanes && st == CM_OK; i++)
        st = make_binding(l, &size->lanes[i], &s, scratch);
out:
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    return st;
}

static cm_status make_reorder(struct nn_dnnl_layer *l, const struct nn_dnnl_config *cfg,
                              const_dnnl_primitive_attr_t attr, const dnnl_memory_desc_t *own)
{
    struct shapes s;
    dnnl_primitive_desc_t pd = NULL;
    cm_status st = CM_OK;
    CM_TRY(describe(&s, cfg, 1));
    bool import = cfg->pass != NN_DNNL_BACKWARD_WEIGHTS;
    DNNL_TRY(dnnl_reorder_primitive_desc_create(&pd, import ? &s.arena : own, l->engine,
                                                import ? own : &s.arena, l->engine, attr));
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    CM_GOTO(st,
            cm_alloc_aligned(&l->reorder_space, dnnl_memory_desc_get_size(scratch), 1,
                             "reorder scratch"),
            out);
    CM_GOTO(st, make_memory(&l->reorder_scratch, scratch, l->reorder_space, l->engine), out);
    CM_GOTO(st, make_memory(&l->reorder_arena, &s.arena, NULL, l->engine), out);
    CM_GOTO(st, make_memory(&l->reorder_own, own, l->weights, l->engine), out);
    DNNL_GOTO(st, dnnl_primitive_create(&l->reorder, pd), out);
out:
    dnnl_primitive_desc_destroy(pd);
    return st;
}

static cm_status make_all(struct nn_dnnl_layer *l, const struct nn_dnnl_config *cfg,
                          const_dnnl_primitive_attr_t attr)
{
    const struct nn_op_desc *d = cfg->desc;
    dnnl_memory_desc_t weights;
    DNNL_TRY(dnnl_engine_create(&l->engine, dnnl_cpu, 0));
    CM_TRY(cm_alloc(&l->streams, (size_t)l->nlanes, sizeof *l->streams, "oneDNN streams"));
    for (int i = 0; i < l->nlanes; i++)
        DNNL_TRY(dnnl_stream_create(&l->streams[i], l->engine, dnnl_stream_default_flags));
    CM_TRY(cm_alloc(&l->sizes, (size_t)l->nsizes, sizeof *l->sizes, "oneDNN primitives"));
    for (int i = l->nsizes - 1; i >= 0; i--) /* the largest chooses the weights' order */
        CM_TRY(make_sized(l, &l->sizes[i], cfg, d->batches[i], attr, &weights));
    return make_reorder(l, cfg, attr, &weights);
}

cm_status nn_dnnl_open(struct nn_dnnl_layer **out, const struct nn_dnnl_config *cfg)
{
    struct nn_dnnl_layer *self = NULL;
    dnnl_primitive_attr_t attr = NULL;
    cm_status st = CM_OK;
    *out = NULL;
    if (cfg->desc->threads > omp_get_thread_limit())
        return CM_FAIL(CM_ECONFIG,
                       "%d threads are wanted in an op, the environment's OMP_THREAD_LIMIT is %d",
                       cfg->desc->threads, omp_get_thread_limit());
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "oneDNN layer"));
    self->pass = cfg->pass;
    self->threads = cfg->desc->threads;
    self->nlanes = cfg->desc->nlanes;
    self->nsizes = cfg->desc->nbatches;
    int before = switch_threads(self->threads);
    DNNL_GOTO(st, dnnl_primitive_attr_create(&attr), out);
    DNNL_GOTO(st, dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), out);
    CM_GOTO(st, make_all(self, cfg, attr), out);
    *out = self;
    self = NULL;
out:
    switch_threads(before);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    nn_dnnl_close(&self);
    return st;
}

static void destroy_memory(dnnl_memory_t m)
{
    if (m)
        dnnl_memory_destroy(m);
}

static void release_sized(struct sized *size, int nlanes)
{
    for (int i = 0; i < nlanes && size->lanes; i++) {
        struct binding *b = &size->lanes[i];
        const dnnl_memory_t all[] = {b->x, b->weights, b->y, b->bias, b->scratch};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
            destroy_memory(all[k]);
    }
    cm_free(&size->lanes);
    if (size->primitive)
        dnnl_primitive_destroy(size->primitive);
}

void nn_dnnl_close(struct nn_dnnl_layer **layer)
{
    struct nn_dnnl_layer *l = *layer;
    if (!l)
        return;
    for (int i = 0; i < l->nsizes && l->sizes; i++)
        release_sized(&l->sizes[i], l->nlanes);
    cm_free(&l->sizes);
    destroy_memory(l->reorder_arena);
    destroy_memory(l->reorder_own);
    destroy_memory(l->reorder_scratch);
    if (l->reorder)
        dnnl_primitive_destroy(l->reorder);
    for (int i = 0; i < l->nlanes && l->streams; i++)
        if (l->streams[i])
            dnnl_stream_destroy(l->streams[i]);
    cm_free(&l->streams);
    if (l->engine)
        dnnl_engine_destroy(l->engine);
    cm_free(&l->weights);
    cm_free(&l->reorder_space);
    cm_free(layer);
}

size_t nn_dnnl_scratch(const struct nn_dnnl_layer *layer)
{
    return layer->scratch;
}

size_t nn_dnnl_weights_nbytes(const struct nn_dnnl_layer *layer)
{
    return layer->weights_nbytes;
}

/* oneDNN's handles are not const, also for what it only reads. */
static cm_status bind(dnnl_memory_t m, const void *p)
{
    return translate(dnnl_memory_set_data_handle(m, (void *)(uintptr_t)p), "set_data_handle");
}

static cm_status execute(const struct nn_dnnl_layer *l, int lane, dnnl_primitive_t primitive,
                         int nargs, const dnnl_exec_arg_t *args)
{
    int before = switch_threads(l->threads);
    dnnl_status_t st = dnnl_primitive_execute(primitive, l->streams[lane], nargs, args);
    if (st == dnnl_success)
        st = dnnl_stream_wait(l->streams[lane]);
    switch_threads(before);
    return translate(st, "dnnl_primitive_execute");
}

static cm_status run_reorder(const struct nn_dnnl_layer *l, bool from_arena)
{
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_FROM, from_arena ? l->reorder_arena : l->reorder_own},
        {DNNL_ARG_TO, from_arena ? l->reorder_own : l->reorder_arena},
        {DNNL_ARG_SCRATCHPAD, l->reorder_scratch},
    };
    return execute(l, 0, l->reorder, 3, args);
}

cm_status nn_dnnl_import(struct nn_dnnl_layer *layer, const float *weights)
{
    CM_TRY(bind(layer->reorder_arena, weights));
    return run_reorder(layer, true);
}

cm_status nn_dnnl_export(const struct nn_dnnl_layer *layer, const float *dweights, float *arena)
{
    CM_TRY(bind(layer->reorder_own, dweights));
    CM_TRY(bind(layer->reorder_arena, arena));
    return run_reorder(layer, false);
}

/* The primitive for n images, and the lane's handles with x, y and scratch in them; x and y are
 * values or gradients, as the pass has it. */
static cm_status begin_run(const struct nn_dnnl_layer *l, int n, int lane, const void *x,
                           const void *y, void *scratch, dnnl_primitive_t *primitive,
                           struct binding **b)
{
    int i = 0;
    while (i < l->nsizes && l->sizes[i].n != n)
        i++;
    if (i == l->nsizes)
        return CM_FAIL(CM_EINVAL, "%d images: not one of the op's %d sizes", n, l->nsizes);
    *primitive = l->sizes[i].primitive;
    *b = &l->sizes[i].lanes[lane];
    CM_TRY(bind((*b)->x, x));
    CM_TRY(bind((*b)->y, y));
    return bind((*b)->scratch, scratch);
}

cm_status nn_dnnl_forward(const struct nn_dnnl_layer *layer, int n, int lane, const void *x,
                          const float *bias, void *y, void *scratch)
{
    dnnl_primitive_t primitive = NULL;
    struct binding *b = NULL;
    CM_TRY(begin_run(layer, n, lane, x, y, scratch, &primitive, &b));
    dnnl_exec_arg_t args[OPERANDS + 1] = {
        {DNNL_ARG_SRC, b->x},     {DNNL_ARG_WEIGHTS, b->weights},
        {DNNL_ARG_DST, b->y},     {DNNL_ARG_SCRATCHPAD, b->scratch},
        {DNNL_ARG_BIAS, b->bias},
    };
    if (bias)
        CM_TRY(bind(b->bias, bias));
    return execute(layer, lane, primitive, bias ? OPERANDS + 1 : OPERANDS, args);
}

cm_status nn_dnnl_backward_data(const struct nn_dnnl_layer *layer, int n, int lane, const void *dy,
                                void *dx, void *scratch)
{
    dnnl_primitive_t primitive = NULL;
    struct binding *b = NULL;
    CM_TRY(begin_run(layer, n, lane, dx, dy, scratch, &primitive, &b));
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_DIFF_DST, b->y},
        {DNNL_ARG_WEIGHTS, b->weights},
        {DNNL_ARG_DIFF_SRC, b->x},
        {DNNL_ARG_SCRATCHPAD, b->scratch},
    };
    return execute(layer, lane, primitive, OPERANDS, args);
}

cm_status nn_dnnl_backward_weights(const struct nn_dnnl_layer *layer, int n, int lane,
                                   const void *x, const void *dy, float *dweights, void *scratch)
{
    dnnl_primitive_t primitive = NULL;
    struct binding *b = NULL;
    CM_TRY(begin_run(layer, n, lane, x, dy, scratch, &primitive, &b));
    CM_TRY(bind(b->weights, dweights));
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, b->x},
        {DNNL_ARG_DIFF_DST, b->y},
        {DNNL_ARG_DIFF_WEIGHTS, b->weights},
        {DNNL_ARG_SCRATCHPAD, b->scratch},
    };
    return execute(layer, lane, primitive, OPERANDS, args);
}
