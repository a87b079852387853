#include "tests/parity/driver_host.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/cuda/gpu.h"
#include "tests/parity/comm_host.h"
#include "tests/parity/host_streams.h"

#define NONE        35 /* codes as CUDA's */
#define BAD_LAUNCH  9
#define MOST_RANGES 8192

static const char *name_of(int code)
{
    return code == HOST_NO_MEMORY     ? "no memory"
           : code == HOST_BAD_CAPTURE ? "not in a capture"
           : code == HOST_NOT_READY   ? "not ready"
                                      : "bad launch";
}

static int count(int *n)
{
    const char *asked = getenv("FLYWHEEL_HOST_GPUS");
    *n = asked ? (int)strtol(asked, NULL, 10) : 1;
    return 0;
}

static int describe(int ordinal, struct nn_driver_info *info)
{
    *info = (struct nn_driver_info){.name = "the host",
                                    .libraries = "no CUDA",
                                    .major = 8,
                                    .driver = 13000,
                                    .multiprocessors = 1};
    snprintf(info->uuid, sizeof info->uuid, "host-%d", ordinal);
    return 0;
}

static int use(int ordinal)
{
    int n;
    (void)count(&n);
    return ordinal < n ? 0 : NONE;
}

static int memory(size_t *available, size_t *total)
{
    *available = *total = 1u << 30;
    return 0;
}

/* --- memory --- */

/* What the GPU reaches: its own memory, and the host's that was pinned. */
static struct {
    pthread_mutex_t lock;
    struct range {
        char *begin;
        size_t nbytes;
    } range[MOST_RANGES];
    int n;
} reached = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_reached(const void *p)
{
    bool found = false;
    pthread_mutex_lock(&reached.lock);
    for (int i = 0; i < reached.n && !found; i++)
        found = (uintptr_t)p - (uintptr_t)reached.range[i].begin < reached.range[i].nbytes;
    pthread_mutex_unlock(&reached.lock);
    return found;
}

/* At 256 bytes, as a GPU's. Not zeroed: the backend has to. */
static int take(void **out, size_t nbytes)
{
    *out = NULL;
    if (host_is_capturing())
        return HOST_BAD_CAPTURE;
    char *p = aligned_alloc(256, (nbytes + 255) / 256 * 256);
    pthread_mutex_lock(&reached.lock);
    bool room = reached.n < MOST_RANGES;
    if (p && room)
        reached.range[reached.n++] = (struct range){p, nbytes};
    pthread_mutex_unlock(&reached.lock);
    if (!p || !room) {
        free(p);
        return HOST_NO_MEMORY;
    }
    memset(p, 0xa5, nbytes);
    *out = p;
    return 0;
}

/* As cudaFree, waits for all that was enqueued. */
static int give(void *p)
{
    host_streams_drain();
    pthread_mutex_lock(&reached.lock);
    for (int i = 0; i < reached.n; i++)
        if (reached.range[i].begin == (char *)p)
            reached.range[i--] = reached.range[--reached.n];
    pthread_mutex_unlock(&reached.lock);
    free(p);
    return 0;
}

/* --- work that copies bytes --- */

struct transfer {
    void *dst;
    const void *src; /* NULL: zeros */
    size_t nbytes;
};

static bool run_transfer(const void *args)
{
    const struct transfer *t = args;
    if (t->src)
        memmove(t->dst, t->src, t->nbytes);
    else
        memset(t->dst, 0, t->nbytes);
    return true;
}

static int stream_open(void **out, bool urgent)
{
    (void)urgent;
    return host_stream_open(out);
}

static int zero(void *stream, void *p, size_t nbytes)
{
    struct transfer t = {.dst = p, .nbytes = nbytes};
    return nbytes ? host_stream_put(stream, run_transfer, &t, sizeof t) : 0;
}

/* The host's own memory waits for the stream, which a capture forbids. */
static int copy(void *stream, void *dst, const void *src, size_t nbytes)
{
    struct transfer t = {.dst = dst, .src = src, .nbytes = nbytes};
    bool waits = nbytes > 0 && (!is_reached(dst) || !is_reached(src)), idle;
    if (waits && host_is_capturing())
        return HOST_BAD_CAPTURE;
    int code = nbytes ? host_stream_put(stream, run_transfer, &t, sizeof t) : 0;
    return code || !waits ? code : host_stream_idle(stream, &idle);
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

/* What its registers were planned for: a GPU refuses more. */
static unsigned most_threads(int kernel)
{
    static const unsigned most[NN_KERNEL_COUNT] = {
#define MOST(name, type, n) NN_MAX_TYPED,
        NN_TYPED_KERNELS(MOST)
#undef MOST
#define MOST(name, type, n) NN_MAX_THREADS,
            NN_PLAIN_KERNELS(MOST)
#undef MOST
    };
    return most[kernel];
}

enum { MOST_ARGS = 512 };

struct launch {
    int kernel;
    struct nn_grid grid;
    _Alignas(16) unsigned char args[MOST_ARGS];
};

static bool run_launch(const void *args)
{
    const struct launch *l = args;
    /* malloc'ed to the byte, so that AddressSanitizer sees a kernel leave its shared memory; what a
     * block leaves there means nothing to the next. */
    void *shared = malloc(l->grid.shared > 0 ? l->grid.shared : 1);
    if (!shared)
        abort();
    struct nn_cell cell = {.blocks_x = l->grid.x, .threads = l->grid.threads, .shared = shared};
    for (cell.y = 0; cell.y < l->grid.y; cell.y++)
        for (cell.x = 0; cell.x < l->grid.x; cell.x++) {
            memset(shared, 0xff, l->grid.shared);
            run_block(l->kernel, l->args, &cell);
        }
    free(shared);
    return true;
}

static int launch(void *stream, int kernel, const struct nn_grid *grid, const void *args)
{
    struct launch l = {.kernel = kernel, .grid = *grid};
    if (size_of_args(kernel) > sizeof l.args)
        return BAD_LAUNCH;
    memcpy(l.args, args, size_of_args(kernel));
    if (grid->x == 0 || grid->y == 0 || grid->y > 65535 || grid->threads == 0 ||
        grid->threads > most_threads(kernel) || grid->threads % 32 != 0 ||
        grid->shared > NN_MAX_SHARED)
        return BAD_LAUNCH;
    return host_stream_put(stream, run_launch, &l, sizeof l);
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

/* What the way takes longer; false: there is no such way. */
static bool find_way(int way, int64_t *longer_ms)
{
    const char *at = getenv("FLYWHEEL_HOST_WAYS");
    for (int i = 0; i < way && at; i++) {
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    *longer_ms = at ? strtol(at, NULL, 10) : 0;
    return at || way == 0;
}

static void write_way(char engine[NN_ENGINE_TEXT], int way)
{
    if (way == 0)
        snprintf(engine, NN_ENGINE_TEXT, "loops");
    else
        snprintf(engine, NN_ENGINE_TEXT, "loops %d", way);
}

static int product_ways(void *stream, const struct nn_product *product,
                        char (*engines)[NN_ENGINE_TEXT], int most)
{
    int64_t unused;
    int n = 0;
    (void)stream;
    (void)product;
    for (; n < most && find_way(n, &unused); n++)
        write_way(engines[n], n);
    return n;
}

/* A product in one of the ways. */
struct way {
    struct nn_product product;
    int64_t longer_ms;
};

/* As a library may: dw in fp32 only from fp32, or of some numbers of images. */
static int product_open(void *stream, const struct nn_product *product, const char *engine,
                        struct nn_product_plan *out)
{
    struct way way = {.product = *product};
    int number = 0;
    (void)stream;
    *out = (struct nn_product_plan){.workspace = result_count(product) * sizeof(float)};
    if (engine && sscanf(engine, "loops %d", &number) != 1)
        number = strcmp(engine, "loops") == 0 ? 0 : -1;
    if (number < 0 || !find_way(number, &way.longer_ms) ||
        (product->wide && product->dtype != NN_F32 && product->n % 3 == 0)) {
        snprintf(out->why, sizeof out->why, "no such engine");
        return BAD_LAUNCH;
    }
    write_way(out->engine, number);
    int code = take(&out->handle, sizeof way);
    if (code == 0)
        memcpy(out->handle, &way, sizeof way);
    return code;
}

static void product_close(void *handle)
{
    (void)give(handle);
}

/* A library trusts these and would read or write past, or fail, where they are not so. */
static bool is_at(const void *p, size_t nbytes)
{
    return (uintptr_t)p % nbytes == 0;
}

struct product_call {
    const struct way *way;
    const void *a, *b;
    void *c, *workspace;
};

static bool run_product(const void *args)
{
    const struct product_call *call = args;
    const struct nn_product *p = &call->way->product;
    struct operands o = {.p = p, .a = call->a, .b = call->b, .sum = call->workspace};
    size_t n = result_count(p);
    memset(call->workspace, 0, n * sizeof(float));
    for (int image = 0; image < p->n; image++)
        for (int i = 0; i < p->y.h; i++)
            for (int j = 0; j < p->y.w; j++)
                add_output(&o, image, i, j);
    for (size_t i = 0; i < n; i++)
        nn_put(p->wide ? NN_F32 : p->dtype, call->c, i, o.sum[i]);
    host_skip_ms(call->way->longer_ms);
    return true;
}

static int product_run(void *stream, void *handle, const void *a, const void *b, void *c,
                       void *workspace)
{
    struct product_call call = {.way = handle, .a = a, .b = b, .c = c, .workspace = workspace};
    if (!is_at(a, 16) || !is_at(b, 16) || !is_at(c, 16) || !is_at(workspace, NN_GPU_ALIGN))
        return BAD_LAUNCH;
    return host_stream_put(stream, run_product, &call, sizeof call);
}

const struct nn_driver driver_host = {
    .library = "no CUDA",
    .out_of_memory = HOST_NO_MEMORY,
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
    .stream_close = host_stream_close,
    .stream_idle = host_stream_idle,
    .zero = zero,
    .copy = copy,
    .launch = launch,
    .product_open = product_open,
    .product_ways = product_ways,
    .product_close = product_close,
    .product_run = product_run,
    .event_open = host_event_open,
    .event_close = host_event_close,
    .event_record = host_event_record,
    .event_wait = host_event_wait,
    .event_happened = host_event_happened,
    .timer_open = host_event_open,
    .timer_between = host_event_between,
    .capture_begin = host_capture_begin,
    .capture_end = host_capture_end,
    .graph_launch = host_graph_launch,
    .graph_close = host_graph_close,
    .comm = &comm_host,
};
