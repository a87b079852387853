/* Muon on a device (model/muon.h, whose bits these are): all its matrices at once, one in each row
 * of blocks. A product's tiles and blocks of factors are blocks of the grid; each leaves partial
 * sums, which the map that follows adds up in order.
 *
 *   momentum ─► norms ─► map BEGIN ─► (product, map GRAM ─► product, map POLYNOMIAL
 *                                      ─► product, map STEP) × iterations ─► map END */
#ifndef MODEL_CUDA_MUON_KERNEL_H
#define MODEL_CUDA_MUON_KERNEL_H

#include <math.h>

#include "model/cuda/arena_kernel.h"
#include "model/muon.h"

/* What a map makes, and the product before it. */
enum nn_muon_pass {
    NN_MUON_BEGIN,      /* X = factor u */
    NN_MUON_GRAM,       /* A = X X^T */
    NN_MUON_POLYNOMIAL, /* A = b A + c A A */
    NN_MUON_STEP,       /* X = a X + A X */
    NN_MUON_END         /* w = factor w - lr X */
};

/* A matrix's floats of the space: X (short, long), A (short, short), the partial sums. */
struct nn_muon_room {
    size_t x, a, partial;
};

struct nn_muon_args {
    enum nn_muon_pass pass;
    const struct nn_muon_matrix *matrices; /* these two of one length: the grid's y */
    const struct nn_muon_room *rooms;
    const struct nn_coefficients *coefficients; /* by span */
    const struct nn_step_values *values;
    float *weights, *momentum; /* arenas */
    const float *gradients;
    float *space;
    struct nn_muon_factors *factors; /* of each matrix */
};

CM_HD bool nn_muon_idle(const struct nn_muon_args *a, const struct nn_muon_matrix *m)
{
    return a->values->out.skip || a->coefficients[m->span].frozen;
}

/* Floats of what pass makes from a product: its elements. */
CM_HD size_t nn_muon_count(enum nn_muon_pass pass, const struct nn_muon_matrix *m)
{
    size_t r = nn_muon_short(m);
    return pass == NN_MUON_GRAM || pass == NN_MUON_POLYNOMIAL ? r * r : r * nn_muon_long(m);
}

/* Factors that an element of pass's product sums over. */
CM_HD size_t nn_muon_depth(enum nn_muon_pass pass, const struct nn_muon_matrix *m)
{
    return pass == NN_MUON_GRAM ? nn_muon_long(m) : nn_muon_short(m);
}

CM_HD size_t nn_muon_blocks(size_t depth)
{
    return (depth + NN_MUON_BLOCK - 1) / NN_MUON_BLOCK;
}

CM_HD void nn_kernel_muon_momentum(const struct nn_muon_args *a, const struct nn_cell *cell,
                                   int phase)
{
    (void)phase;
    const struct nn_muon_matrix *m = &a->matrices[cell->y];
    const struct nn_coefficients *c = &a->coefficients[m->span];
    if (nn_muon_idle(a, m))
        return;
    for (size_t i = nn_cell_first(cell); i < m->rows * m->cols; i += nn_cell_stride(cell))
        a->space[a->rooms[cell->y].x + nn_muon_place(m, i)] = nn_muon_momentum(
            c, a->values->out.scale, a->gradients[m->offset + i], &a->momentum[m->offset + i]);
}

/* One block for each matrix: sums of squares of w and of u, of NN_MUON_LANES threads. */
#define NN_MUON_LEVELS       10 /* 2^10 lanes */
#define NN_MUON_NORMS_PHASES (NN_MUON_LEVELS + 2)

CM_HD void nn_kernel_muon_norms(const struct nn_muon_args *a, const struct nn_cell *cell, int phase)
{
    const struct nn_muon_matrix *m = &a->matrices[cell->y];
    double *w = (double *)cell->shared, *u = w + NN_MUON_LANES;
    unsigned t = cell->thread, half = NN_MUON_LANES >> phase;
    if (phase == NN_MUON_NORMS_PHASES - 1) {
        if (t == 0)
            a->factors[cell->y] = nn_muon_factors_of(m->rows, w[0], u[0]);
        return;
    }
    if (phase > 0) {
        if (t < half) {
            w[t] += w[t + half];
            u[t] += u[t + half];
        }
        return;
    }
    const float *weights = a->weights + m->offset, *x = a->space + a->rooms[cell->y].x;
    w[t] = u[t] = 0;
    for (size_t i = t; i < m->rows * m->cols; i += NN_MUON_LANES) {
        w[t] += (double)weights[i] * (double)weights[i];
        u[t] += (double)x[i] * (double)x[i];
    }
}

/* A tile of NN_MUON_TILE^2 elements and one block of factors: 16 of the elements for each of 256
 * threads. A chunk of both operands lies in shared memory, a factor's lines side by side, and so do
 * the sums, which last from chunk to chunk. */
#define NN_MUON_TILE           64
#define NN_MUON_PITCH          (NN_MUON_TILE + 1) /* threads that store a line meet no other's bank */
#define NN_MUON_CHUNK          32
#define NN_MUON_THREADS        256
#define NN_MUON_SHARED         (2 * NN_MUON_CHUNK * NN_MUON_PITCH + NN_MUON_TILE * NN_MUON_TILE)
#define NN_MUON_PRODUCT_PHASES (2 * NN_MUON_BLOCK / NN_MUON_CHUNK)

struct nn_muon_tile {
    size_t rows, cols, depth; /* of the product */
    size_t row, col;          /* the tile's first */
    size_t first, end;        /* factors of its block; none: the tile is beyond the product */
    size_t block;
};

CM_HD size_t nn_muon_tiles(size_t n)
{
    return (n + NN_MUON_TILE - 1) / NN_MUON_TILE;
}

/* Blocks of the grid that pass's product of a matrix takes. */
CM_HD size_t nn_muon_grid(enum nn_muon_pass pass, const struct nn_muon_matrix *m)
{
    size_t r = nn_muon_short(m);
    return nn_muon_tiles(r) * nn_muon_tiles(nn_muon_count(pass, m) / r) *
           nn_muon_blocks(nn_muon_depth(pass, m));
}

CM_HD struct nn_muon_tile nn_muon_tile_of(enum nn_muon_pass pass, const struct nn_muon_matrix *m,
                                          size_t number)
{
    struct nn_muon_tile t;
    t.rows = nn_muon_short(m);
    t.cols = nn_muon_count(pass, m) / t.rows;
    t.depth = nn_muon_depth(pass, m);
    size_t down = nn_muon_tiles(t.rows), across = nn_muon_tiles(t.cols);
    t.row = number % down * NN_MUON_TILE;
    t.col = number / down % across * NN_MUON_TILE;
    t.block = number / down / across;
    t.first = t.block * NN_MUON_BLOCK;
    t.end = t.depth - t.first < NN_MUON_BLOCK ? t.depth : t.first + NN_MUON_BLOCK;
    if (t.block >= nn_muon_blocks(t.depth))
        t.first = t.end = 0;
    return t;
}

/* Lines [line, line + tile) of (lines, depth), their factors from first on; zeros past an end. */
CM_HD void nn_muon_load_lines(const struct nn_cell *cell, float *to, const float *from, size_t line,
                              size_t lines, const struct nn_muon_tile *t, size_t first)
{
    for (unsigned i = cell->thread; i < NN_MUON_CHUNK * NN_MUON_TILE; i += cell->threads) {
        unsigned k = i % NN_MUON_CHUNK, l = i / NN_MUON_CHUNK;
        bool any = first + k < t->end && line + l < lines;
        to[k * NN_MUON_PITCH + l] = any ? from[(line + l) * t->depth + first + k] : 0;
    }
}

/* Columns of (depth, cols) instead. */
CM_HD void nn_muon_load_columns(const struct nn_cell *cell, float *to, const float *from,
                                const struct nn_muon_tile *t, size_t first)
{
    for (unsigned i = cell->thread; i < NN_MUON_CHUNK * NN_MUON_TILE; i += cell->threads) {
        unsigned k = i / NN_MUON_TILE, l = i % NN_MUON_TILE;
        bool any = first + k < t->end && t->col + l < t->cols;
        to[k * NN_MUON_PITCH + l] = any ? from[(first + k) * t->cols + t->col + l] : 0;
    }
}

CM_HD void nn_muon_load(const struct nn_muon_args *a, const struct nn_muon_tile *t,
                        const struct nn_cell *cell, size_t first)
{
    const struct nn_muon_room *room = &a->rooms[cell->y];
    const float *x = a->space + room->x, *square = a->space + room->a;
    float *left = (float *)cell->shared, *right = left + NN_MUON_CHUNK * NN_MUON_PITCH;
    nn_muon_load_lines(cell, left, a->pass == NN_MUON_GRAM ? x : square, t->row, t->rows, t, first);
    if (a->pass == NN_MUON_GRAM)
        nn_muon_load_lines(cell, right, x, t->col, t->cols, t, first);
    else
        nn_muon_load_columns(cell, right, a->pass == NN_MUON_STEP ? x : square, t, first);
}

/* A thread has every 16th row and column of the tile: neighbours read and write neighbours. */
CM_HD void nn_muon_multiply(const struct nn_muon_tile *t, const struct nn_cell *cell, size_t first,
                            float sum[4][4])
{
    const float *left = (const float *)cell->shared + cell->thread / 16;
    const float *right =
        (const float *)cell->shared + NN_MUON_CHUNK * NN_MUON_PITCH + cell->thread % 16;
    size_t n = t->end - first < NN_MUON_CHUNK ? t->end - first : NN_MUON_CHUNK;
    for (size_t k = 0; k < n; k++, left += NN_MUON_PITCH, right += NN_MUON_PITCH)
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                sum[i][j] = fmaf(left[16 * i], right[16 * j], sum[i][j]);
}

CM_HD void nn_muon_leave(const struct nn_muon_args *a, const struct nn_muon_tile *t,
                         const struct nn_cell *cell, float sum[4][4])
{
    float *partial = a->space + a->rooms[cell->y].partial + t->block * t->rows * t->cols;
    size_t row = t->row + cell->thread / 16, col = t->col + cell->thread % 16;
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++)
            if (row + 16 * i < t->rows && col + 16 * j < t->cols)
                partial[(row + 16 * i) * t->cols + col + 16 * j] = sum[i][j];
}

/* Even phases bring a chunk, odd ones multiply it. */
CM_HD void nn_kernel_muon_product(const struct nn_muon_args *a, const struct nn_cell *cell,
                                  int phase)
{
    const struct nn_muon_matrix *m = &a->matrices[cell->y];
    struct nn_muon_tile t = nn_muon_tile_of(a->pass, m, cell->x);
    size_t first = t.first + (size_t)phase / 2 * NN_MUON_CHUNK;
    float *kept = (float *)cell->shared + 2 * NN_MUON_CHUNK * NN_MUON_PITCH + cell->thread;
    float sum[4][4];
    if (nn_muon_idle(a, m) || first >= t.end)
        return;
    if (phase % 2 == 0) {
        nn_muon_load(a, &t, cell, first);
        return;
    }
    for (int i = 0; i < 16; i++)
        sum[i / 4][i % 4] = phase == 1 ? 0 : kept[i * NN_MUON_THREADS];
    nn_muon_multiply(&t, cell, first, sum);
    for (int i = 0; i < 16; i++)
        kept[i * NN_MUON_THREADS] = sum[i / 4][i % 4];
    if (first + NN_MUON_CHUNK >= t.end)
        nn_muon_leave(a, &t, cell, sum);
}

CM_HD void nn_muon_element(const struct nn_muon_args *a, const struct nn_muon_matrix *m,
                           unsigned number, size_t i)
{
    const struct nn_muon_room *room = &a->rooms[number];
    float *x = a->space + room->x, *square = a->space + room->a;
    const float *partial = a->space + room->partial;
    size_t n = nn_muon_count(a->pass, m), blocks = nn_muon_blocks(nn_muon_depth(a->pass, m));
    float sum = 0, *w = a->weights + m->offset;
    if (a->pass == NN_MUON_BEGIN) {
        x[i] *= a->factors[number].x;
        return;
    }
    if (a->pass == NN_MUON_END) {
        w[i] = w[i] * a->factors[number].w - a->coefficients[m->span].lr * x[nn_muon_place(m, i)];
        return;
    }
    for (size_t b = 0; b < blocks; b++)
        sum += partial[b * n + i];
    if (a->pass == NN_MUON_GRAM)
        square[i] = sum;
    else if (a->pass == NN_MUON_POLYNOMIAL)
        square[i] = nn_muon_polynomial(square[i], sum);
    else
        x[i] = NN_MUON_A * x[i] + sum;
}

CM_HD void nn_kernel_muon_map(const struct nn_muon_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    const struct nn_muon_matrix *m = &a->matrices[cell->y];
    if (nn_muon_idle(a, m))
        return;
    for (size_t i = nn_cell_first(cell); i < nn_muon_count(a->pass, m); i += nn_cell_stride(cell))
        nn_muon_element(a, m, cell->y, i);
}

#endif
