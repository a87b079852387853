#include "tests/parity/driver_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/cuda/gpu.h"

#define NONE       35 /* codes as CUDA's */
#define NO_MEMORY  2
#define BAD_LAUNCH 9

static const char *name_of(int code)
{
    return code == NO_MEMORY ? "no memory" : "bad launch";
}

static int count(int *n)
{
    *n = 1;
    return 0;
}

static int describe(int ordinal, struct nn_driver_info *info)
{
    (void)ordinal;
    *info = (struct nn_driver_info){
        .name = "the host", .libraries = "no CUDA", .major = 8, .multiprocessors = 1};
    return 0;
}

static int use(int ordinal)
{
    return ordinal == 0 ? 0 : NONE;
}

static int memory(size_t *available, size_t *total)
{
    *available = *total = 1u << 30;
    return 0;
}

/* At 256 bytes, as a GPU's. Not zeroed: the backend has to. */
static int take(void **out, size_t nbytes)
{
    *out = aligned_alloc(256, (nbytes + 255) / 256 * 256);
    if (*out)
        memset(*out, 0xa5, nbytes);
    return *out ? 0 : NO_MEMORY;
}

static int give(void *p)
{
    free(p);
    return 0;
}

/* --- what a capture keeps --- */

enum { MOST_CALLS = 4096, MOST_ARGS = 512 };

struct call {
    enum { ZERO, COPY, LAUNCH, PRODUCT } what;
    int kernel;
    struct nn_grid grid;
    size_t nbytes;
    void *dst, *handle, *workspace;
    const void *src, *other;
    unsigned char args[MOST_ARGS];
};

struct tape {
    int n;
    struct call call[MOST_CALLS];
};

static struct tape *recording; /* of the one thread that captures; NULL: calls are carried out */

/* Whether the call is only kept. */
static bool kept(const struct call *call, int *code)
{
    if (!recording)
        return false;
    *code = recording->n < MOST_CALLS ? 0 : BAD_LAUNCH;
    if (*code == 0)
        recording->call[recording->n++] = *call;
    return true;
}

static int open_thing(void **out)
{
    return take(out, 1);
}

static int stream_open(void **out, bool urgent)
{
    (void)urgent;
    return open_thing(out);
}

static int is_done(void *thing, bool *yes)
{
    (void)thing;
    *yes = true;
    return recording ? BAD_LAUNCH : 0; /* as a GPU: a capture does not wait */
}

static int zero(void *stream, void *p, size_t nbytes)
{
    int code;
    (void)stream;
    if (kept(&(struct call){.what = ZERO, .dst = p, .nbytes = nbytes}, &code))
        return code;
    memset(p, 0, nbytes);
    return 0;
}

static int copy(void *stream, void *dst, const void *src, size_t nbytes)
{
    int code;
    (void)stream;
    if (kept(&(struct call){.what = COPY, .dst = dst, .src = src, .nbytes = nbytes}, &code))
        return code;
    memmove(dst, src, nbytes);
    return 0;
}

static int at_event(void *event, void *stream)
{
    (void)event;
    (void)stream;
    return 0;
}

/* --- launching --- */

static void run_phase(int kernel, const void *args, const struct nn_cell *cell, int phase)
{
    switch ((enum nn_kernel)kernel) {
#define TYPED(name, type, phases)                                                                  \
    case NN_KERNEL_##name: {                                                                       \
        const type *a = args;                                                                      \
        nn_kernel_##name(a, cell, phase, a->dtype, a->width);                                      \
        return;                                                                                    \
    }
        NN_TYPED_KERNELS(TYPED)
#undef TYPED
#define PLAIN(name, type, phases)                                                                  \
    case NN_KERNEL_##name:                                                                         \
        nn_kernel_##name(args, cell, phase);                                                       \
        return;
        NN_PLAIN_KERNELS(PLAIN)
#undef PLAIN
    case NN_KERNEL_COUNT:
        return;
    }
}

static int phases_of(int kernel)
{
    static const int phases[NN_KERNEL_COUNT] = {
#define PHASES(name, type, n) n,
        NN_TYPED_KERNELS(PHASES) NN_PLAIN_KERNELS(PHASES)
#undef PHASES
    };
    return phases[kernel];
}

static void run_block(int kernel, const void *args, struct nn_cell *cell)
{
    for (int phase = 0; phase < phases_of(kernel); phase++)
        for (cell->thread = 0; cell->thread < cell->threads; cell->thread++)
            run_phase(kernel, args, cell, phase);
}

static size_t size_of_args(int kernel)
{
    static const size_t sizes[NN_KERNEL_COUNT] = {
#define SIZE(name, type, n) sizeof(type),
        NN_TYPED_KERNELS(SIZE) NN_PLAIN_KERNELS(SIZE)
#undef SIZE
    };
    return sizes[kernel];
}

static int launch(void *stream, int kernel, const struct nn_grid *grid, const void *args)
{
    int code;
    struct call call = {.what = LAUNCH, .kernel = kernel, .grid = *grid};
    (void)stream;
    if (size_of_args(kernel) > sizeof call.args)
        return BAD_LAUNCH;
    memcpy(call.args, args, size_of_args(kernel));
    if (grid->x == 0 || grid->y == 0 || grid->y > 65535 || grid->threads == 0 ||
        grid->threads > NN_MAX_THREADS || grid->threads % 32 != 0 || grid->shared > NN_MAX_SHARED)
        return BAD_LAUNCH;
    if (kept(&call, &code))
        return code;
    /* malloc'ed to the byte, so that AddressSanitizer sees a kernel leave its shared memory; what a
     * block leaves there means nothing to the next. */
    void *shared = malloc(grid->shared > 0 ? grid->shared : 1);
    if (!shared)
        return NO_MEMORY;
    struct nn_cell cell = {.blocks_x = grid->x, .threads = grid->threads, .shared = shared};
    for (cell.y = 0; cell.y < grid->y; cell.y++)
        for (cell.x = 0; cell.x < grid->x; cell.x++) {
            memset(shared, 0xff, grid->shared);
            run_block(kernel, args, &cell);
        }
    free(shared);
    return 0;
}

/* --- products --- */

static size_t pixel(struct nn_shape s, int n, int i, int j)
{
    return (((size_t)n * (size_t)s.h + (size_t)i) * (size_t)s.w + (size_t)j) * (size_t)s.c;
}

struct operands {
    const struct nn_product *p;
    const void *a, *b;
    float *sum; /* of c */
};

/* Adds what one pair of pixels, under one tap of the filters, gives to c. */
static void add_pair(const struct operands *o, size_t x, size_t y, size_t tap)
{
    const struct nn_product *p = o->p;
    size_t taps = (size_t)p->kernel * (size_t)p->kernel, in = (size_t)p->x.c;
    for (size_t k = 0; k < (size_t)p->y.c; k++)
        for (size_t c = 0; c < in; c++) {
            size_t w = (k * taps + tap) * in + c;
            if (p->pass == NN_PRODUCT_FORWARD)
                o->sum[y + k] += nn_get(p->dtype, o->a, x + c) * nn_get(p->dtype, o->b, w);
            else if (p->pass == NN_PRODUCT_DATA)
                o->sum[x + c] += nn_get(p->dtype, o->a, y + k) * nn_get(p->dtype, o->b, w);
            else
                o->sum[w] += nn_get(p->dtype, o->a, x + c) * nn_get(p->dtype, o->b, y + k);
        }
}

static void add_output(const struct operands *o, int n, int i, int j)
{
    const struct nn_product *p = o->p;
    for (int u = 0; u < p->kernel; u++)
        for (int v = 0; v < p->kernel; v++) {
            int r = i * p->stride + u - p->pad, q = j * p->stride + v - p->pad;
            if (r >= 0 && r < p->x.h && q >= 0 && q < p->x.w)
                add_pair(o, pixel(p->x, n, r, q), pixel(p->y, n, i, j),
                         (size_t)u * (size_t)p->kernel + (size_t)v);
        }
}

static size_t result_count(const struct nn_product *p)
{
    if (p->pass == NN_PRODUCT_FILTER)
        return (size_t)p->y.c * (size_t)p->x.c * (size_t)p->kernel * (size_t)p->kernel;
    return (size_t)p->n * nn_shape_count(p->pass == NN_PRODUCT_DATA ? p->x : p->y);
}

/* As a library may: dw in fp32 only from fp32, or of some numbers of images. */
static int product_open(void *stream, const struct nn_product *product, const char *engine,
                        int rank, struct nn_product_plan *out)
{
    (void)stream;
    *out = (struct nn_product_plan){.workspace = result_count(product) * sizeof(float)};
    snprintf(out->engine, sizeof out->engine, "loops");
    if ((engine && strcmp(engine, "loops") != 0) || rank > 0 ||
        (product->wide && product->dtype != NN_F32 && product->n % 3 == 0)) {
        snprintf(out->why, sizeof out->why, "no such engine");
        return BAD_LAUNCH;
    }
    int code = take(&out->handle, sizeof *product);
    if (code == 0)
        memcpy(out->handle, product, sizeof *product);
    return code;
}

static void product_close(void *handle)
{
    free(handle);
}

/* A library trusts these and would read or write past, or fail, where they are not so. */
static bool is_at(const void *p, size_t nbytes)
{
    return (uintptr_t)p % nbytes == 0;
}

static int product_run(void *stream, void *handle, const void *a, const void *b, void *c,
                       void *workspace)
{
    int code;
    (void)stream;
    if (kept(&(struct call){.what = PRODUCT,
                            .handle = handle,
                            .src = a,
                            .other = b,
                            .dst = c,
                            .workspace = workspace},
             &code))
        return code;
    const struct nn_product *p = handle;
    if (!is_at(a, 16) || !is_at(b, 16) || !is_at(c, 16) || !is_at(workspace, NN_GPU_ALIGN))
        return BAD_LAUNCH;
    struct operands o = {.p = p, .a = a, .b = b, .sum = workspace};
    size_t count = result_count(p);
    memset(workspace, 0, count * sizeof(float));
    for (int n = 0; n < p->n; n++)
        for (int i = 0; i < p->y.h; i++)
            for (int j = 0; j < p->y.w; j++)
                add_output(&o, n, i, j);
    for (size_t i = 0; i < count; i++)
        nn_put(p->wide ? NN_F32 : p->dtype, c, i, o.sum[i]);
    return 0;
}

/* --- graphs --- */

static int capture_begin(void *stream)
{
    (void)stream;
    if (recording)
        return BAD_LAUNCH;
    recording = calloc(1, sizeof *recording);
    return recording ? 0 : NO_MEMORY;
}

static int capture_end(void *stream, void **graph)
{
    (void)stream;
    *graph = recording;
    recording = NULL;
    return *graph ? 0 : BAD_LAUNCH;
}

static int carry_out(void *stream, const struct call *c)
{
    switch (c->what) {
    case ZERO:
        return zero(stream, c->dst, c->nbytes);
    case COPY:
        return copy(stream, c->dst, c->src, c->nbytes);
    case LAUNCH:
        return launch(stream, c->kernel, &c->grid, c->args);
    case PRODUCT:
        return product_run(stream, c->handle, c->src, c->other, c->dst, c->workspace);
    }
    return BAD_LAUNCH;
}

static int graph_launch(void *graph, void *stream)
{
    const struct tape *tape = graph;
    int code = 0;
    for (int i = 0; i < tape->n && code == 0; i++)
        code = carry_out(stream, &tape->call[i]);
    return code;
}

const struct nn_driver driver_host = {
    .library = "no CUDA",
    .out_of_memory = NO_MEMORY,
    .no_driver = NONE,
    .name_of = name_of,
    .text_of = name_of,
    .count = count,
    .describe = describe,
    .use = use,
    .memory = memory,
    .alloc = take,
    .release = give,
    .pin = take,
    .unpin = give,
    .stream_open = stream_open,
    .stream_close = give,
    .stream_idle = is_done,
    .zero = zero,
    .copy = copy,
    .launch = launch,
    .product_open = product_open,
    .product_close = product_close,
    .product_run = product_run,
    .event_open = open_thing,
    .event_close = give,
    .event_record = at_event,
    .event_wait = at_event,
    .event_happened = is_done,
    .capture_begin = capture_begin,
    .capture_end = capture_end,
    .graph_launch = graph_launch,
    .graph_close = give,
};
