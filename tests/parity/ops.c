#include "tests/parity/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/vec.h"
#include "model/cuda/number.h"

#define GUARD      8192 /* bytes behind a buffer */
#define GUARD_BYTE 0xa5

#define CONV(in, ih, iw, out, size, step, edge, has_bias, dx)                                      \
    {                                                                                              \
        .kind = NN_OP_CONV, .x = {in, ih, iw}, .y = {.c = out}, .kernel = size, .stride = step,    \
        .pad = edge, .bias = has_bias, .need_dx = dx                                               \
    }
#define NORM(in, ih, iw, size, step, has_residual, f)                                              \
    {                                                                                              \
        .kind = NN_OP_NORM, .x = {in, ih, iw}, .kernel = size, .stride = step,                     \
        .residual = has_residual, .act = f, .eps = 1e-5, .need_dx = true                           \
    }
#define ACT(in, ih, iw, f)                                                                         \
    {                                                                                              \
        .kind = NN_OP_ACT, .x = {in, ih, iw}, .act = f, .need_dx = true                            \
    }
#define POOL(in, ih, iw, size, step, edge, is_average)                                             \
    {                                                                                              \
        .kind = NN_OP_POOL, .x = {in, ih, iw}, .kernel = size, .stride = step, .pad = edge,        \
        .average = is_average, .need_dx = true                                                     \
    }
#define LINEAR(in, out, has_bias)                                                                  \
    {                                                                                              \
        .kind = NN_OP_LINEAR, .x = {in, 1, 1}, .y = {.c = out}, .bias = has_bias, .need_dx = true  \
    }
#define PLAIN(op_kind, in, ih, iw, value)                                                          \
    {                                                                                              \
        .kind = op_kind, .x = {in, ih, iw}, .p = value, .need_dx = true                            \
    }
#define LOSS(classes, loss_kind, smoothing)                                                        \
    {                                                                                              \
        .kind = NN_OP_LOSS, .x = {classes, 1, 1}, .loss = loss_kind, .label_smoothing = smoothing, \
        .need_dx = true                                                                            \
    }
#define INPUT(in, ih, iw, mode)                                                                    \
    {                                                                                              \
        .kind = NN_OP_INPUT, .x = {in, ih, iw}, .pad_mode = mode, .mean = {0.5f, 0.4f, 0.3f},      \
        .std = {                                                                                   \
            0.25f,                                                                                 \
            0.2f,                                                                                  \
            0.3f                                                                                   \
        }                                                                                          \
    }

const struct op_case op_cases[] = {
    {"conv 3x7x5 to 4, k3 pad 1", CONV(3, 7, 5, 4, 3, 1, 1, true, true), 2, false},
    {"conv 1x6x6 to 3, k2", CONV(1, 6, 6, 3, 2, 1, 0, true, true), 3, false},
    {"conv 5x9x7 to 7, k3 stride 2 pad 1, no bias", CONV(5, 9, 7, 7, 3, 2, 1, false, true), 1,
     false},
    {"conv 8x4x4 to 16, k1 stride 2", CONV(8, 4, 4, 16, 1, 2, 0, true, true), 2, false},
    {"conv 3x11x9 to 4, k7 stride 2 pad 3", CONV(3, 11, 9, 4, 7, 2, 3, false, true), 2, false},
    {"conv 17x5x5 to 9, k3 pad 1", CONV(17, 5, 5, 9, 3, 1, 1, true, true), 3, true},
    {"conv 2x4x4 to 3, k4 (one pixel)", CONV(2, 4, 4, 3, 4, 1, 0, true, true), 2, false},
    {"conv 3x8x8 to 24, k2, of the image", CONV(3, 8, 8, 24, 2, 1, 0, true, false), 4, true},
    {"conv 3x32x32 to 8, k1 stride 2, of the image", CONV(3, 32, 32, 8, 1, 2, 0, false, false), 2,
     true},
    {"conv 24x9x9 to 64, k3 pad 1", CONV(24, 9, 9, 64, 3, 1, 1, false, true), 3, true},
    {"conv 64x6x6 to 32, k3 pad 1", CONV(64, 6, 6, 32, 3, 1, 1, false, true), 5, true},
    {"norm 5x4x3", NORM(5, 4, 3, 0, 0, false, NN_ACT_NONE), 3, false},
    {"norm 4x3x3, relu", NORM(4, 3, 3, 0, 0, false, NN_ACT_RELU), 3, false},
    {"norm 3x5x4, gelu", NORM(3, 5, 4, 0, 0, false, NN_ACT_GELU), 2, false},
    {"norm 6x1x1 of two values", NORM(6, 1, 1, 0, 0, false, NN_ACT_NONE), 2, false},
    {"norm 4x4x4 + residual", NORM(4, 4, 4, 0, 0, true, NN_ACT_NONE), 2, false},
    {"norm 4x4x3 + residual, relu", NORM(4, 4, 3, 0, 0, true, NN_ACT_RELU), 3, false},
    {"norm 3x4x3 + residual, tanh", NORM(3, 4, 3, 0, 0, true, NN_ACT_TANH), 2, false},
    {"pool 2, norm 3x7x5, gelu", NORM(3, 7, 5, 2, 2, false, NN_ACT_GELU), 2, false},
    {"pool 2, norm 4x6x6, sigmoid", NORM(4, 6, 6, 2, 2, false, NN_ACT_SIGMOID), 1, false},
    {"pool 3 stride 2, norm 3x7x7 + residual, relu", NORM(3, 7, 7, 3, 2, true, NN_ACT_RELU), 2,
     false},
    {"pool 2, norm 64x15x15, gelu", NORM(64, 15, 15, 2, 2, false, NN_ACT_GELU), 6, true},
    {"norm 67x9x9 + residual, relu", NORM(67, 9, 9, 0, 0, true, NN_ACT_RELU), 5, true},
    {"relu", ACT(5, 3, 7, NN_ACT_RELU), 2, false},
    {"gelu", ACT(5, 3, 7, NN_ACT_GELU), 2, false},
    {"sigmoid", ACT(3, 5, 1, NN_ACT_SIGMOID), 3, false},
    {"tanh", ACT(1, 1, 13, NN_ACT_TANH), 3, false},
    {"maxpool 2", POOL(3, 7, 5, 2, 2, 0, false), 2, false},
    {"maxpool 3 stride 2 pad 1", POOL(3, 7, 8, 3, 2, 1, false), 2, false},
    {"maxpool 3 stride 1", POOL(2, 5, 5, 3, 1, 0, false), 2, false},
    {"maxpool 3, one window", POOL(33, 3, 3, 3, 3, 0, false), 3, false},
    {"avgpool 2", POOL(3, 6, 5, 2, 2, 0, true), 2, false},
    {"avgpool 3 stride 2 pad 1", POOL(3, 7, 6, 3, 2, 1, true), 2, false},
    {"avgpool, global", POOL(19, 5, 4, 0, 1, 0, true), 2, false},
    {"linear 13 to 7", LINEAR(13, 7, true), 3, false},
    {"linear 33 to 10, no bias", LINEAR(33, 10, false), 5, false},
    {"linear 256 to 10", LINEAR(256, 10, true), 17, true},
    {"add", PLAIN(NN_OP_ADD, 5, 3, 3, 0), 3, false},
    {"scale", PLAIN(NN_OP_SCALE, 11, 1, 1, 0.125), 3, false},
    {"flatten", PLAIN(NN_OP_FLATTEN, 5, 3, 4, 0), 2, false},
    {"dropout 0.3", PLAIN(NN_OP_DROPOUT, 7, 3, 3, 0.3), 4, false},
    {"cross-entropy", LOSS(10, NN_LOSS_CROSS_ENTROPY, 0), 7, false},
    {"cross-entropy, smoothing 0.2", LOSS(7, NN_LOSS_CROSS_ENTROPY, 0.2), 5, false},
    {"squared error", LOSS(6, NN_LOSS_MSE, 0), 4, false},
    {"input, reflect", INPUT(3, 9, 7, NN_PAD_REFLECT), 8, false},
    {"input, zero, grey", INPUT(1, 8, 8, NN_PAD_ZERO), 8, false},
};
const size_t op_ncases = sizeof op_cases / sizeof *op_cases;

const char *const op_out_names[] = {"y",    "dx",      "dx of the residual", "dweight", "dbias",
                                    "mean", "variance"};

double op_get(const struct op_run *run, const void *p, size_t i)
{
    switch (run->op.desc.dtype) {
    case NN_BF16:
        return (double)cm_bf16_to_f32(((const uint16_t *)p)[i]);
    case NN_F16:
        return (double)nn_f16_to_f32(((const uint16_t *)p)[i]);
    case NN_F64:
        return ((const double *)p)[i];
    default:
        return (double)((const float *)p)[i];
    }
}

void op_put(const struct op_run *run, void *p, size_t i, double v)
{
    switch (run->op.desc.dtype) {
    case NN_BF16:
        ((uint16_t *)p)[i] = cm_f32_to_bf16((float)v);
        break;
    case NN_F16:
        ((uint16_t *)p)[i] = nn_f32_to_f16((float)v);
        break;
    case NN_F64:
        ((double *)p)[i] = v;
        break;
    default:
        ((float *)p)[i] = (float)v;
    }
}

unsigned op_seed(void)
{
    const char *text = getenv("FLYWHEEL_TEST_SEED");
    return text ? (unsigned)strtoul(text, NULL, 10) : 0;
}

/* A bijection of 12 bits, mixed enough to look random: multiples of 2^-10 from -2 to 2, off by
 * half a step. */
static double value(unsigned seed, size_t stream, size_t i)
{
    unsigned v = (unsigned)(i * 1597 + stream * 811 + seed) & 4095;
    v = ((v ^ (v >> 5)) * 2909 + seed / 4096) & 4095;
    v = ((v ^ (v >> 7)) * 1229) & 4095;
    return ((double)v - 2047.5) / 1024;
}

static double rounded(double v, bool to_bf16)
{
    return to_bf16 ? (double)cm_bf16_to_f32(cm_f32_to_bf16((float)v)) : v;
}

static struct nn_shape output_shape(const struct nn_op_desc *d)
{
    struct nn_shape y = d->x;
    if (d->kind == NN_OP_FLATTEN)
        y = (struct nn_shape){(int)nn_shape_count(d->x), 1, 1};
    if (d->kind == NN_OP_CONV || d->kind == NN_OP_LINEAR)
        y.c = d->y.c;
    bool window =
        d->kind == NN_OP_CONV || d->kind == NN_OP_POOL || (d->kind == NN_OP_NORM && d->kernel > 0);
    if (window && d->kernel > 0) {
        y.h = (d->x.h + 2 * d->pad - d->kernel) / d->stride + 1;
        y.w = (d->x.w + 2 * d->pad - d->kernel) / d->stride + 1;
    } else if (window) {
        y.h = y.w = 1;
    }
    return y;
}

static void count_params(struct op_run *run)
{
    const struct nn_op_desc *d = &run->op.desc;
    size_t in = (size_t)d->x.c, out = (size_t)d->y.c, area = (size_t)d->kernel * (size_t)d->kernel;
    if (d->kind == NN_OP_CONV)
        run->nparam[NN_WEIGHT] = out * in * area;
    if (d->kind == NN_OP_LINEAR)
        run->nparam[NN_WEIGHT] = out * in;
    if (d->bias)
        run->nparam[NN_BIAS] = out;
    for (int role = 0; d->kind == NN_OP_NORM && role < NN_ROLE_COUNT; role++)
        run->nparam[role] = in;
}

static cm_status fill_params(struct op_run *run, bool round_bf16)
{
    bool norm = run->op.desc.kind == NN_OP_NORM;
    for (size_t role = 0; role < NN_ROLE_COUNT; role++) {
        size_t n = run->nparam[role];
        if (n == 0)
            continue;
        CM_TRY(cm_alloc_aligned(&run->param[role], n, sizeof(float), "parameters"));
        CM_TRY(cm_alloc_aligned(&run->grad[role], n, sizeof(float), "gradients"));
        for (size_t i = 0; i < n; i++) {
            double v = rounded(value(run->seed, 10 + role, i), round_bf16 && !norm);
            run->param[role][i] = (float)(role == NN_RUNNING_VAR ? fabs(v) + 0.5 : v);
        }
    }
    return CM_OK;
}

/* Labels, and images with every kind of augmentation among them. */
static cm_status fill_batch(struct op_run *run, int n)
{
    const struct nn_op_desc *d = &run->op.desc;
    size_t image = nn_shape_count(d->x);
    uint8_t *images;
    int32_t *labels;
    uint32_t *index;
    struct nn_augment *augment;
    run->batch.n = n;
    CM_TRY(cm_alloc(&images, 16 * image, 1, "images"));
    run->batch.images = images;
    for (size_t i = 0; i < 16 * image; i++)
        images[i] = (uint8_t)(i * 37 + i / 255);
    CM_TRY(cm_alloc(&labels, (size_t)n, sizeof *labels, "labels"));
    run->batch.labels = labels;
    CM_TRY(cm_alloc(&index, (size_t)n, sizeof *index, "index"));
    run->batch.index = index;
    CM_TRY(cm_alloc(&augment, (size_t)n, sizeof *augment, "augment"));
    run->batch.augment = augment;
    for (int i = 0; i < n; i++) {
        labels[i] = i * 3 % d->x.c;
        index[i] = (uint32_t)(15 - i);
        augment[i] = (struct nn_augment){.dy = (int8_t)(i * 3 - 7),
                                         .dx = (int8_t)(5 - i * 2),
                                         .flip = (uint8_t)(i % 2),
                                         .cut_n = (uint8_t)(i % 3 == 0 ? 4 : 0),
                                         .cut_y = (int16_t)(i - 2),
                                         .cut_x = (int16_t)(i)};
    }
    return CM_OK;
}

/* nbytes and behind them guard bytes, which nobody may touch. */
static cm_status take_fenced(struct op_run *run, void *out, size_t nbytes, const char *what)
{
    if (run->nfences == OP_FENCES)
        return CM_FAIL(CM_EINTERNAL, "more than %d buffers", OP_FENCES);
    CM_TRY(cm_alloc_aligned(out, nbytes + GUARD, 1, what));
    uint8_t *end = *(uint8_t **)out + nbytes;
    memset(end, GUARD_BYTE, GUARD);
    run->fence[run->nfences++] = (struct op_fence){what, end};
    return CM_OK;
}

static cm_status take_buffer(struct op_run *run, void **p, size_t n, size_t stream, bool round_bf16)
{
    static const char *const what[] = {
        "x", "y", "dy", "dx", "x of the residual", "dx of the residual"};
    CM_TRY(take_fenced(run, p, n * nn_dtype_size(run->op.desc.dtype), what[stream]));
    for (size_t i = 0; i < n; i++)
        op_put(run, *p, i, rounded(value(run->seed, stream, i), round_bf16));
    return CM_OK;
}

static cm_status take_buffers(struct op_run *run, int n, bool round_bf16)
{
    const struct nn_op_desc *d = &run->op.desc;
    const struct nn_op_needs *needs = &run->op.needs;
    bool two = d->residual || d->kind == NN_OP_ADD;
    run->nx = (size_t)n * nn_shape_count(d->x);
    run->ny = (size_t)n * nn_shape_count(d->y);
    CM_TRY(take_buffer(run, &run->x[0], run->nx, 0, round_bf16));
    CM_TRY(take_buffer(run, &run->y, run->ny, 1, false));
    CM_TRY(take_buffer(run, &run->dy, run->ny, 2, round_bf16));
    if (d->need_dx)
        CM_TRY(take_buffer(run, &run->dx[0], run->nx, 3, false));
    if (two) {
        CM_TRY(take_buffer(run, &run->x[1], run->ny, 4, round_bf16));
        CM_TRY(take_buffer(run, &run->dx[1], run->ny, 5, false));
    }
    CM_TRY(take_fenced(run, &run->saved, needs->saved_fixed + needs->saved_per_image * (size_t)n,
                       "saved"));
    CM_TRY(take_fenced(run, &run->scratch, needs->scratch, "scratch"));
    CM_TRY(take_fenced(run, &run->dparam, needs->dparam * sizeof(float), "dparam"));
    /* dparam is written, never added to: what it held before must not matter. */
    memset(run->dparam, 0x7f, needs->dparam * sizeof(float));
    CM_TRY(fill_params(run, round_bf16));
    return fill_batch(run, n);
}

/* --- on a device --- */

static cm_status seat(struct op_run *run, const void *host, size_t nbytes)
{
    const struct nn_backend *backend = run->op.backend;
    if (!run->device || !host)
        return CM_OK;
    if (run->nmirrors == OP_MIRRORS)
        return CM_FAIL(CM_EINTERNAL, "more than %d buffers", OP_MIRRORS);
    struct op_mirror *m = &run->mirror[run->nmirrors];
    CM_TRY(backend->alloc(backend, &m->there, nbytes, "a test's buffer"));
    m->host = host;
    m->nbytes = nbytes;
    run->nmirrors++;
    return CM_OK;
}

static cm_status seat_all(struct op_run *run, int n)
{
    const struct nn_op_desc *d = &run->op.desc;
    const struct nn_op_needs *needs = &run->op.needs;
    size_t size = nn_dtype_size(d->dtype), image = nn_shape_count(d->x);
    bool two = d->residual || d->kind == NN_OP_ADD;
    CM_TRY(seat(run, run->x[0], run->nx * size + GUARD));
    CM_TRY(seat(run, run->y, run->ny * size + GUARD));
    CM_TRY(seat(run, run->dy, run->ny * size + GUARD));
    CM_TRY(seat(run, run->dx[0], run->nx * size + GUARD));
    CM_TRY(seat(run, two ? run->x[1] : NULL, run->ny * size + GUARD));
    CM_TRY(seat(run, two ? run->dx[1] : NULL, run->ny * size + GUARD));
    CM_TRY(seat(run, run->saved, needs->saved_fixed + needs->saved_per_image * (size_t)n + GUARD));
    CM_TRY(seat(run, run->scratch, needs->scratch + GUARD));
    CM_TRY(seat(run, run->dparam, needs->dparam * sizeof(float) + GUARD));
    for (int role = 0; role < NN_ROLE_COUNT; role++) {
        CM_TRY(seat(run, run->param[role], run->nparam[role] * sizeof(float)));
        CM_TRY(seat(run, run->grad[role], run->nparam[role] * sizeof(float)));
    }
    CM_TRY(seat(run, run->batch.images, 16 * image));
    CM_TRY(seat(run, run->batch.index, (size_t)n * sizeof *run->batch.index));
    CM_TRY(seat(run, run->batch.augment, (size_t)n * sizeof *run->batch.augment));
    CM_TRY(seat(run, run->batch.labels, (size_t)n * sizeof *run->batch.labels));
    return seat(run, &run->result, sizeof run->result);
}

/* Where the op finds a buffer. */
static void *there(const struct op_run *run, const void *host)
{
    void *p;
    for (int i = 0; i < run->nmirrors; i++)
        if (run->mirror[i].host == host)
            return run->mirror[i].there;
    memcpy(&p, &host, sizeof p);
    return p;
}

static cm_status send_all(struct op_run *run)
{
    for (int i = 0; i < run->nmirrors; i++)
        CM_TRY(nn_device_copy(run->device, NULL, run->mirror[i].there, run->mirror[i].host,
                              run->mirror[i].nbytes));
    return CM_OK;
}

static cm_status fetch_all(struct op_run *run)
{
    for (int i = 0; i < run->nmirrors; i++) {
        void *host;
        memcpy(&host, &run->mirror[i].host, sizeof host);
        CM_TRY(
            nn_device_copy(run->device, NULL, host, run->mirror[i].there, run->mirror[i].nbytes));
    }
    return CM_OK;
}

cm_status op_run_open(struct op_run *run, const struct nn_backend *backend, const struct op_case *c,
                      struct op_options options)
{
    struct nn_op_desc d = c->desc;
    memset(run, 0, sizeof *run);
    run->device = options.device;
    d.name = c->name;
    d.dtype = options.dtype;
    d.emulate_bf16 = options.emulate_bf16;
    d.y = output_shape(&d);
    /* The gradient of a norm of two values is what is left of their difference, so it loses as many
     * digits as they are near. */
    bool two = d.kind == NN_OP_NORM && c->n * d.y.h * d.y.w == 2;
    run->seed = two ? 0 : op_seed();
    d.training = !options.inference;
    d.nlanes = d.threads = 1;
    run->batches[0] = c->n;
    run->batches[1] = c->n + 3;
    d.batches = run->batches;
    d.nbatches = 2;
    cm_status st = nn_op_open(&run->op, backend, &d);
    if (st == CM_OK) {
        count_params(run);
        st = take_buffers(run, c->n, options.round_bf16);
    }
    if (st == CM_OK)
        st = seat_all(run, c->n);
    if (st != CM_OK)
        op_run_close(run);
    return st;
}

/* The batch's arrays are const for ops; here they are the owner's. */
static void free_const(const void *p)
{
    void *own;
    memcpy(&own, &p, sizeof own);
    cm_free(&own);
}

void op_run_close(struct op_run *run)
{
    for (int i = 0; i < run->nmirrors; i++)
        run->op.backend->release(run->op.backend, &run->mirror[i].there);
    nn_op_close(&run->op);
    for (int k = 0; k < 2; k++) {
        cm_free(&run->x[k]);
        cm_free(&run->dx[k]);
    }
    for (int role = 0; role < NN_ROLE_COUNT; role++) {
        cm_free(&run->param[role]);
        cm_free(&run->grad[role]);
    }
    cm_free(&run->y);
    cm_free(&run->dy);
    cm_free(&run->saved);
    cm_free(&run->scratch);
    cm_free(&run->dparam);
    free_const(run->batch.images);
    free_const(run->batch.labels);
    free_const(run->batch.index);
    free_const(run->batch.augment);
    memset(run, 0, sizeof *run);
}

const char *op_run_trespass(const struct op_run *run)
{
    for (int k = 0; k < run->nfences; k++)
        for (size_t i = 0; i < GUARD; i++)
            if (run->fence[k].end[i] != GUARD_BYTE)
                return run->fence[k].what;
    return NULL;
}

static struct nn_op_args args_of(struct op_run *run)
{
    run->batch_there = (struct nn_batch){.n = run->batch.n,
                                         .images = there(run, run->batch.images),
                                         .index = there(run, run->batch.index),
                                         .augment = there(run, run->batch.augment),
                                         .labels = there(run, run->batch.labels)};
    struct nn_op_args a = {.n = run->batch.n,
                           .x = {there(run, run->x[0]), there(run, run->x[1])},
                           .y = there(run, run->y),
                           .saved = there(run, run->saved),
                           .scratch = there(run, run->scratch),
                           .batch = &run->batch_there,
                           .result = there(run, &run->result),
                           .seed = 99,
                           .step = 5,
                           .first_sample = 1000};
    for (int role = 0; role < NN_ROLE_COUNT; role++)
        a.param[role] = there(run, run->param[role]);
    if (run->op.desc.kind == NN_OP_LOSS)
        a.dx[0] = there(run, run->dx[0]);
    return a;
}

cm_status op_run_forward(struct op_run *run)
{
    struct nn_op_args a = args_of(run);
    CM_TRY(send_all(run));
    if (run->op.impl->prepare)
        CM_TRY(run->op.impl->prepare(&run->op, NULL, a.param));
    CM_TRY(run->op.impl->forward(&run->op, &a));
    return fetch_all(run);
}

static void take_plain_gradient(struct op_run *run)
{
    const float *next = run->dparam;
    for (int role = 0; role < NN_ROLE_COUNT; role++) {
        size_t n = run->nparam[role];
        if (n > 0)
            memcpy(run->grad[role], next, n * sizeof(float));
        next += (n + 15) / 16 * 16;
    }
}

cm_status op_run_backward(struct op_run *run)
{
    struct nn_op_args a = args_of(run);
    float *grad[NN_ROLE_COUNT];
    if (!run->op.impl->backward)
        return CM_OK;
    a.dy = there(run, run->dy);
    a.dx[0] = there(run, run->dx[0]);
    a.dx[1] = there(run, run->dx[1]);
    a.dparam = there(run, run->dparam);
    for (int role = 0; role < NN_ROLE_COUNT; role++)
        grad[role] = there(run, run->grad[role]);
    CM_TRY(send_all(run));
    CM_TRY(run->op.impl->backward(&run->op, &a));
    if (run->op.impl->finish)
        CM_TRY(run->op.impl->finish(&run->op, NULL, a.dparam, grad));
    CM_TRY(fetch_all(run));
    if (!run->op.impl->finish)
        take_plain_gradient(run);
    return CM_OK;
}

size_t op_out_count(const struct op_run *run, enum op_out out)
{
    switch (out) {
    case OUT_Y:
        return run->op.desc.kind == NN_OP_LOSS ? 0 : run->ny;
    case OUT_DX0:
        return run->dx[0] ? run->nx : 0;
    case OUT_DX1:
        return run->dx[1] ? run->ny : 0;
    default:
        return run->nparam[out - OUT_WEIGHT];
    }
}

double op_out_value(const struct op_run *run, enum op_out out, size_t i)
{
    switch (out) {
    case OUT_Y:
        return op_get(run, run->y, i);
    case OUT_DX0:
        return op_get(run, run->dx[0], i);
    case OUT_DX1:
        return op_get(run, run->dx[1], i);
    default:
        return (double)run->grad[out - OUT_WEIGHT][i];
    }
}

double op_out_terms(const struct op_run *run, enum op_out out)
{
    const struct nn_op_desc *d = &run->op.desc;
    double area = d->kernel > 0 ? (double)d->kernel * d->kernel : 1;
    double pixels = (double)run->batch.n * d->y.h * d->y.w;
    if (out >= OUT_WEIGHT || d->kind == NN_OP_NORM)
        return pixels;
    if (d->kind == NN_OP_CONV || d->kind == NN_OP_LINEAR)
        return area * (out == OUT_Y ? d->x.c : d->y.c);
    if (d->kind == NN_OP_LOSS)
        return d->x.c;
    return d->kernel == 0 ? (double)d->x.h * d->x.w : area;
}
