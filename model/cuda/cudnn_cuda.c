/* conv2d through cuDNN's graph interface: one operation, the engines that its heuristic names, and
 * of those the ones whose bits repeat. An engine is its number and its knobs, "12 3=1 7=0": enough
 * to build the same one on another rank, and to be compared in a fingerprint. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/cuda/stream_cuda.h"

typedef cudnnBackendDescriptor_t descriptor;

#define MOST_ENGINES 64 /* of one heuristic */
#define MOST_KNOBS   32
#define ALIGN        16 /* bytes at which every operand lies */
enum { UID_X = 1, UID_W, UID_Y };

struct convolution {
    const struct nn_product_library *library; /* first: see stream_cuda.h */
    enum nn_product_pass pass;
    descriptor tensor[3], shape, operation, graph, plan; /* x, w, y */
    int64_t workspace;
};

/* --- descriptors; each keeps the first failure --- */

static void set(cudnnStatus_t *st, descriptor d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    if (*st == CUDNN_STATUS_SUCCESS)
        *st = cudnnBackendSetAttribute(d, name, type, n, value);
}

static descriptor make(cudnnStatus_t *st, cudnnBackendDescriptorType_t type)
{
    descriptor d = NULL;
    if (*st == CUDNN_STATUS_SUCCESS)
        *st = cudnnBackendCreateDescriptor(type, &d);
    return d;
}

static void finalize(cudnnStatus_t *st, descriptor d)
{
    if (*st == CUDNN_STATUS_SUCCESS)
        *st = cudnnBackendFinalize(d);
}

static void destroy(descriptor *d)
{
    if (*d)
        (void)cudnnBackendDestroyDescriptor(*d);
    *d = NULL;
}

/* --- the operation --- */

static cudnnDataType_t type_of(enum nn_dtype dtype)
{
    return dtype == NN_F32 ? CUDNN_DATA_FLOAT
                           : (dtype == NN_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF);
}

/* (n, c, h, w) as cuDNN names dimensions; c is the innermost in memory. */
static descriptor make_tensor(cudnnStatus_t *st, int64_t uid, cudnnDataType_t type, int64_t n,
                              int64_t c, int64_t h, int64_t w)
{
    const int64_t dims[4] = {n, c, h, w}, strides[4] = {h * w * c, 1, w * c, c}, align = ALIGN;
    descriptor d = make(st, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(st, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set(st, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(st, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    set(st, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(st, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    finalize(st, d);
    return d;
}

static descriptor make_shape(cudnnStatus_t *st, const struct nn_product *p)
{
    const int64_t two = 2, one[2] = {1, 1};
    const int64_t pad[2] = {p->pad, p->pad}, stride[2] = {p->stride, p->stride};
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    descriptor d = make(st, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(st, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums);
    set(st, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(st, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &two);
    set(st, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, one);
    set(st, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    set(st, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(st, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    finalize(st, d);
    return d;
}

/* Attribute names of a pass: its kind of descriptor, and where x, w, y, shape, alpha and beta go.
 */
struct pass_names {
    cudnnBackendDescriptorType_t kind;
    cudnnBackendAttributeName_t tensor[3], shape, alpha, beta;
};
static const struct pass_names pass_names[] = {
    [NN_PRODUCT_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                            {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [NN_PRODUCT_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                         {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [NN_PRODUCT_FILTER] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                           {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY},
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static cudnnStatus_t build_graph(struct convolution *c, cudnnHandle_t handle,
                                 const struct nn_product *p)
{
    cudnnStatus_t st = CUDNN_STATUS_SUCCESS;
    const struct pass_names *names = &pass_names[p->pass];
    cudnnDataType_t type = type_of(p->dtype), of_w = p->wide ? CUDNN_DATA_FLOAT : type;
    const float one = 1, none = 0;
    c->tensor[0] = make_tensor(&st, UID_X, type, p->n, p->x.c, p->x.h, p->x.w);
    c->tensor[1] = make_tensor(&st, UID_W, of_w, p->y.c, p->x.c, p->kernel, p->kernel);
    c->tensor[2] = make_tensor(&st, UID_Y, type, p->n, p->y.c, p->y.h, p->y.w);
    c->shape = make_shape(&st, p);
    c->operation = make(&st, names->kind);
    for (int i = 0; i < 3; i++)
        set(&st, c->operation, names->tensor[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c->tensor[i]);
    set(&st, c->operation, names->shape, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c->shape);
    set(&st, c->operation, names->alpha, CUDNN_TYPE_FLOAT, 1, &one);
    set(&st, c->operation, names->beta, CUDNN_TYPE_FLOAT, 1, &none);
    finalize(&st, c->operation);
    c->graph = make(&st, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(&st, c->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &c->operation);
    set(&st, c->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    finalize(&st, c->graph);
    return st;
}

/* --- engines --- */

/* Whether an engine repeats its bits and sums as promised: fp32 sums, no transform that trades
 * accuracy for speed, and for fp32 operands no shortening of them on tensor cores. */
static bool is_honest(descriptor engine, enum nn_dtype dtype)
{
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t n = 0;
    if (cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                 CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n,
                                 note) != CUDNN_STATUS_SUCCESS ||
        n > CUDNN_NUMERICAL_NOTE_TYPE_COUNT) /* a newer library's, of which some would be missed */
        return false;
    for (int64_t i = 0; i < n; i++) {
        bool tensor_core = note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
        bool fine = note[i] == CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP;
        if (!fine && !(tensor_core && dtype != NN_F32))
            return false;
    }
    return true;
}

/* The engine of a configuration; the caller destroys it. */
static descriptor engine_of(cudnnStatus_t *st, descriptor config)
{
    int64_t n = 0;
    descriptor engine = make(st, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    if (*st == CUDNN_STATUS_SUCCESS)
        *st = cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine);
    return engine;
}

/* The plan of a configuration, when it works within the workspace. */
static cudnnStatus_t build_plan(struct convolution *c, cudnnHandle_t handle, descriptor config)
{
    cudnnStatus_t st = CUDNN_STATUS_SUCCESS;
    int64_t n = 0;
    descriptor plan = make(&st, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set(&st, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set(&st, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &config);
    finalize(&st, plan);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                      CUDNN_TYPE_INT64, 1, &n, &c->workspace);
    if (st == CUDNN_STATUS_SUCCESS && c->workspace > (int64_t)NN_MOST_WORKSPACE)
        st = CUDNN_STATUS_NOT_SUPPORTED;
    if (st == CUDNN_STATUS_SUCCESS)
        c->plan = plan;
    else
        destroy(&plan);
    return st;
}

/* "number knob=value …" of a configuration. */
static cudnnStatus_t write_engine(descriptor config, char text[NN_ENGINE_TEXT])
{
    cudnnStatus_t st = CUDNN_STATUS_SUCCESS;
    descriptor engine = engine_of(&st, config), knob[MOST_KNOBS] = {NULL};
    int64_t number = 0, n = 0, nknobs = 0;
    for (int i = 0; i < MOST_KNOBS; i++)
        knob[i] = make(&st, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                                      &n, &number);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                      CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_KNOBS, &nknobs, knob);
    if (nknobs > MOST_KNOBS) /* the text would name another way */
        st = CUDNN_STATUS_NOT_SUPPORTED;
    size_t at = (size_t)snprintf(text, NN_ENGINE_TEXT, "%lld", (long long)number);
    for (int64_t i = 0; i < nknobs && st == CUDNN_STATUS_SUCCESS; i++) {
        cudnnBackendKnobType_t type;
        int64_t value;
        st = cudnnBackendGetAttribute(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE,
                                      CUDNN_TYPE_KNOB_TYPE, 1, &n, &type);
        if (st == CUDNN_STATUS_SUCCESS)
            st = cudnnBackendGetAttribute(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE,
                                          CUDNN_TYPE_INT64, 1, &n, &value);
        if (st == CUDNN_STATUS_SUCCESS)
            at += (size_t)snprintf(text + at, NN_ENGINE_TEXT - at, " %d=%lld", (int)type,
                                   (long long)value);
        if (at >= NN_ENGINE_TEXT)
            st = CUDNN_STATUS_NOT_SUPPORTED;
    }
    for (int i = 0; i < MOST_KNOBS; i++)
        destroy(&knob[i]);
    destroy(&engine);
    return st;
}

/* A configuration's text, where its engine will do. */
static cudnnStatus_t name_engine(descriptor config, enum nn_dtype dtype, char text[NN_ENGINE_TEXT])
{
    cudnnStatus_t st = CUDNN_STATUS_SUCCESS;
    descriptor engine = engine_of(&st, config);
    if (st == CUDNN_STATUS_SUCCESS && !is_honest(engine, dtype))
        st = CUDNN_STATUS_NOT_SUPPORTED;
    destroy(&engine);
    return st == CUDNN_STATUS_SUCCESS ? write_engine(config, text) : st;
}

/* Tries a configuration; on success the plan and its text are there. */
static cudnnStatus_t take(struct convolution *c, cudnnHandle_t handle, descriptor config,
                          enum nn_dtype dtype, char text[NN_ENGINE_TEXT])
{
    cudnnStatus_t st = name_engine(config, dtype, text);
    return st == CUDNN_STATUS_SUCCESS ? build_plan(c, handle, config) : st;
}

/* --- heuristics --- */

/* What a heuristic names, n of them; the caller destroys all. */
struct configs {
    descriptor config[MOST_ENGINES];
    int n;
};

static cudnnStatus_t ask(struct configs *found, const struct convolution *c,
                         cudnnBackendHeurMode_t mode)
{
    cudnnStatus_t st = CUDNN_STATUS_SUCCESS;
    int64_t n = 0;
    descriptor heuristic = make(&st, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set(&st, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &c->graph);
    set(&st, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    finalize(&st, heuristic);
    for (int i = 0; i < MOST_ENGINES; i++)
        found->config[i] = make(&st, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                      CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_ENGINES, &n,
                                      found->config);
    destroy(&heuristic);
    found->n = st != CUDNN_STATUS_SUCCESS ? 0 : (int)(n < MOST_ENGINES ? n : MOST_ENGINES);
    return st;
}

static void destroy_all(struct configs *found)
{
    for (int i = 0; i < MOST_ENGINES; i++)
        destroy(&found->config[i]);
}

/* Takes the first that works. */
static cudnnStatus_t choose(struct convolution *c, cudnnHandle_t handle,
                            cudnnBackendHeurMode_t mode, const struct nn_product *p,
                            char text[NN_ENGINE_TEXT])
{
    struct configs found;
    cudnnStatus_t st = ask(&found, c, mode), last = CUDNN_STATUS_NOT_SUPPORTED;
    for (int i = 0; i < found.n && !c->plan; i++)
        last = take(c, handle, found.config[i], p->dtype, text);
    destroy_all(&found);
    return st == CUDNN_STATUS_SUCCESS ? last : st;
}

/* Behind the n that are there. Returns how many there are now. */
static int list(const struct convolution *c, cudnnBackendHeurMode_t mode, enum nn_dtype dtype,
                char (*engines)[NN_ENGINE_TEXT], int n, int most)
{
    struct configs found;
    (void)ask(&found, c, mode); /* it fails: none */
    for (int i = 0; i < found.n && n < most; i++)
        n += name_engine(found.config[i], dtype, engines[n]) == CUDNN_STATUS_SUCCESS;
    destroy_all(&found);
    return n;
}

/* The configuration that a text names. */
static cudnnStatus_t rebuild(struct convolution *c, cudnnHandle_t handle, const char *text,
                             const struct nn_product *p, char again[NN_ENGINE_TEXT])
{
    cudnnStatus_t st = CUDNN_STATUS_SUCCESS;
    descriptor knob[MOST_KNOBS] = {NULL};
    int64_t nknobs = 0;
    char *rest;
    int64_t number = strtoll(text, &rest, 10);
    descriptor engine = make(&st, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    set(&st, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &c->graph);
    set(&st, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &number);
    finalize(&st, engine);
    while (*rest == ' ' && nknobs < MOST_KNOBS) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)strtol(rest, &rest, 10);
        int64_t value = *rest == '=' ? strtoll(rest + 1, &rest, 10) : -1;
        descriptor d = knob[nknobs++] = make(&st, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        set(&st, d, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
        set(&st, d, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
        finalize(&st, d);
    }
    descriptor config = make(&st, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    set(&st, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine);
    if (nknobs > 0)
        set(&st, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, nknobs,
            knob);
    finalize(&st, config);
    if (st == CUDNN_STATUS_SUCCESS)
        st = *rest == '\0' ? take(c, handle, config, p->dtype, again) : CUDNN_STATUS_BAD_PARAM;
    destroy(&config);
    for (int64_t i = 0; i < nknobs; i++)
        destroy(&knob[i]);
    destroy(&engine);
    return st;
}

/* --- the product --- */

static void close_convolution(void *handle)
{
    struct convolution *c = handle;
    destroy(&c->plan);
    destroy(&c->graph);
    destroy(&c->operation);
    destroy(&c->shape);
    for (int i = 0; i < 3; i++)
        destroy(&c->tensor[i]);
    free(c);
}

/* A pack of pointers is made for each call; a captured step makes it once. */
static int run_convolution(struct nn_cuda_stream *s, void *handle, const void *a, const void *b,
                           void *result, void *workspace)
{
    static const int64_t uid[][3] = {[NN_PRODUCT_FORWARD] = {UID_X, UID_W, UID_Y},
                                     [NN_PRODUCT_DATA] = {UID_Y, UID_W, UID_X},
                                     [NN_PRODUCT_FILTER] = {UID_X, UID_Y, UID_W}};
    const struct convolution *c = handle;
    const void *pointer[3] = {a, b, result};
    cudnnStatus_t st = CUDNN_STATUS_SUCCESS;
    descriptor pack = make(&st, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    set(&st, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, uid[c->pass]);
    set(&st, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointer);
    set(&st, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    finalize(&st, pack);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendExecute(s->cudnn, c->plan, pack);
    destroy(&pack);
    return nn_code_of_cudnn(st);
}

static const struct nn_product_library library = {.close = close_convolution,
                                                  .run = run_convolution};

/* dw in another type than its operands. What would do as a last resort loses to dw in their type,
 * widened. */
static bool is_mixed(const struct nn_product *p)
{
    return p->wide && p->dtype != NN_F32;
}

int nn_cudnn_open(struct nn_cuda_stream *s, const struct nn_product *p, const char *engine,
                  struct nn_product_plan *out)
{
    struct convolution *c = calloc(1, sizeof *c);
    if (!c)
        return (int)cudaErrorMemoryAllocation;
    c->library = &library;
    c->pass = p->pass;
    cudnnStatus_t st = build_graph(c, s->cudnn, p);
    if (st == CUDNN_STATUS_SUCCESS && engine) {
        st = rebuild(c, s->cudnn, engine, p, out->engine);
    } else if (st == CUDNN_STATUS_SUCCESS) {
        st = choose(c, s->cudnn, CUDNN_HEUR_MODE_A, p, out->engine);
        if (!c->plan && !is_mixed(p))
            st = choose(c, s->cudnn, CUDNN_HEUR_MODE_FALLBACK, p, out->engine);
    }
    if (st != CUDNN_STATUS_SUCCESS || !c->plan) {
        st = st == CUDNN_STATUS_SUCCESS ? CUDNN_STATUS_NOT_SUPPORTED : st;
        int n = snprintf(out->why, sizeof out->why, "cuDNN: %s: ", cudnnGetErrorString(st));
        cudnnGetLastErrorString(out->why + n, sizeof out->why - (size_t)n);
        close_convolution(c);
        return nn_code_of_cudnn(st);
    }
    out->handle = c;
    out->workspace = (size_t)c->workspace;
    return 0;
}

int nn_cudnn_ways(struct nn_cuda_stream *s, const struct nn_product *p,
                  char (*engines)[NN_ENGINE_TEXT], int most)
{
    int n = 0;
    struct convolution *c = calloc(1, sizeof *c);
    if (!c)
        return 0;
    if (build_graph(c, s->cudnn, p) == CUDNN_STATUS_SUCCESS) {
        n = list(c, CUDNN_HEUR_MODE_A, p->dtype, engines, n, most);
        if (!is_mixed(p))
            n = list(c, CUDNN_HEUR_MODE_FALLBACK, p->dtype, engines, n, most);
    }
    close_convolution(c);
    return n;
}
