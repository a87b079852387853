/* Where a kernel's thread is. A kernel is an inline function of its arguments, its cell and a
 * phase: all threads of a block end one phase before any begins the next (a barrier), and what must
 * last from phase to phase lies in the block's shared memory. A GPU runs the phases with its
 * barriers in between (launch_cuda.cu); a test runs the same text on a CPU, thread after thread,
 * phase after phase (launch_host.c). No kernel adds floats in an order that time decides: there are
 * no float atomics, and the grid is a function of shapes, never of the GPU. */
#ifndef MODEL_CUDA_CELL_H
#define MODEL_CUDA_CELL_H

#include <stddef.h>

#include "common/host_device.h"

struct nn_cell {
    unsigned x, y;            /* block */
    unsigned blocks_x;        /* of the grid */
    unsigned thread, threads; /* in the block */
    void *shared;
};

struct nn_grid {
    unsigned x, y;    /* blocks */
    unsigned threads; /* of a block, at most NN_MAX_THREADS */
    size_t shared;    /* bytes, at most NN_MAX_SHARED */
};

#define NN_MAX_THREADS 1024
#define NN_MAX_TYPED   256   /* threads of a kernel by dtype and width (kernels_list.h) */
#define NN_MAX_SHARED  49152 /* what every GPU gives without asking */

/* One thread for each of n items, or several items for each where there are very many. */
CM_HD struct nn_grid nn_grid_of(size_t n)
{
    struct nn_grid g = {1, 1, 256, 0};
    size_t blocks = (n + 255) / 256;
    g.x = blocks < 1 ? 1 : (blocks > 65535 ? 65535u : (unsigned)blocks);
    return g;
}

/* for (size_t i = nn_cell_first(cell); i < n; i += nn_cell_stride(cell)) */
CM_HD size_t nn_cell_first(const struct nn_cell *cell)
{
    return (size_t)cell->x * cell->threads + cell->thread;
}

CM_HD size_t nn_cell_stride(const struct nn_cell *cell)
{
    return (size_t)cell->blocks_x * cell->threads;
}

#endif
