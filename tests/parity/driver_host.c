#include "tests/parity/driver_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/cuda/kernels_list.h"

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
    *info = (struct nn_driver_info){.name = "the host", .major = 8, .multiprocessors = 1};
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
    return 0;
}

static int zero(void *stream, void *p, size_t nbytes)
{
    (void)stream;
    memset(p, 0, nbytes);
    return 0;
}

static int copy(void *stream, void *dst, const void *src, size_t nbytes)
{
    (void)stream;
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

static int launch(void *stream, int kernel, const struct nn_grid *grid, const void *args)
{
    (void)stream;
    if (grid->x == 0 || grid->y == 0 || grid->y > 65535 || grid->threads == 0 ||
        grid->threads > NN_MAX_THREADS || grid->threads % 32 != 0 || grid->shared > NN_MAX_SHARED)
        return BAD_LAUNCH;
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

static int no_capture(void *stream)
{
    (void)stream;
    return BAD_LAUNCH;
}

static int no_graph(void *a, void **graph)
{
    (void)a;
    *graph = NULL;
    return BAD_LAUNCH;
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
    .event_open = open_thing,
    .event_close = give,
    .event_record = at_event,
    .event_wait = at_event,
    .event_happened = is_done,
    .capture_begin = no_capture,
    .capture_end = no_graph,
    .graph_launch = at_event,
    .graph_close = give,
};
