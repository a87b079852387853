/* Batch norm's kernels (batchnorm.h has the formulas), on z (rows, c): the pooled input.
 *
 *   sums    a block takes some rows of some channels: a thread a pack of channels and every
 *           down-th row, then a tree over the block's threads ─► partial (blocks, 3, c)
 *   fold    a block of threads per 32 channels adds the partials up, in double ─► saved, dparam
 *   apply   the elementwise rest
 *
 * Forward sums are a block's mean and its squares about that mean, both held against the block's
 * first row (base), so nothing cancels however large the mean is. The cut into blocks is a function
 * of (rows, c, width) only. */
#ifndef MODEL_CUDA_NORM_KERNEL_H
#define MODEL_CUDA_NORM_KERNEL_H

#include <math.h>

#include "model/cuda/map_kernel.h"

#define NN_NORM_THREADS 256
#define NN_NORM_PHASES  10 /* rows, up to 8 halvings, the result */
#define NN_NORM_BLOCKS  1024
#define NN_NORM_PARTS   3 /* numbers of a block and channel */

/* How (rows, c) is cut. */
struct nn_columns {
    unsigned packs;        /* of channels */
    unsigned across, down; /* threads of a block: packs side by side, rows below each other */
    unsigned blocks;       /* of rows */
    size_t rows_per_block;
};

CM_HD struct nn_columns nn_columns_of(size_t rows, int c, int width)
{
    struct nn_columns s;
    s.packs = (unsigned)(c / width);
    s.across = 1;
    while (s.across < 32 && s.across < s.packs)
        s.across *= 2;
    s.down = NN_NORM_THREADS / s.across;
    size_t least = 4 * (size_t)s.down; /* fewer are not worth a block */
    s.rows_per_block = (rows + NN_NORM_BLOCKS - 1) / NN_NORM_BLOCKS;
    s.rows_per_block = s.rows_per_block < least ? least : s.rows_per_block;
    s.blocks = (unsigned)((rows + s.rows_per_block - 1) / s.rows_per_block);
    return s;
}

CM_HD struct nn_grid nn_columns_grid(const struct nn_columns *s, int width)
{
    struct nn_grid g;
    g.x = s->blocks;
    g.y = (s->packs + s->across - 1) / s->across;
    g.threads = NN_NORM_THREADS;
    g.shared = (size_t)NN_NORM_THREADS * (2 * (size_t)width + 1) * sizeof(float);
    return g;
}

struct nn_norm_args {
    enum nn_dtype dtype;
    int width;
    enum nn_act act;
    int c;
    size_t rows;
    struct nn_columns columns;
    const void *z, *residual, *dy; /* (rows, c); residual NULL: none; z NULL: only sum dy */
    void *y;                       /* apply: y; backward: dz */
    void *g;                       /* backward: dy through the activation; NULL: not wanted */
    const float *mean, *invstd, *weight, *bias; /* (c) */
    const float *mean_g, *mean_gx;              /* (c): sum g / m, sum g xhat / m */
    float *partial; /* (blocks, 3, c): mean - base, squares, base; or two sums and 0 */
};

/* A thread's place in the cut. */
struct nn_column {
    bool any;
    size_t channel, begin, end; /* rows begin, begin + down, … below end */
};

CM_HD struct nn_column nn_column_of(const struct nn_columns *s, size_t rows, int width,
                                    const struct nn_cell *cell)
{
    struct nn_column o;
    unsigned pack = cell->y * s->across + cell->thread % s->across;
    size_t first = cell->x * s->rows_per_block;
    o.any = pack < s->packs;
    o.channel = (size_t)pack * (size_t)width;
    o.begin = first + cell->thread / s->across;
    o.end = first + s->rows_per_block < rows ? first + s->rows_per_block : rows;
    return o;
}

/* Shared memory of the sums: two numbers for each channel of each thread, and its count of rows. */
struct nn_norm_shared {
    float *a, *b, *count;
};

CM_HD struct nn_norm_shared nn_norm_shared_of(void *shared, int width)
{
    struct nn_norm_shared s;
    s.a = (float *)shared;
    s.b = s.a + NN_NORM_THREADS * width;
    s.count = s.b + NN_NORM_THREADS * width;
    return s;
}

/* Joins (count, mean, squares about the mean) of two parts (Chan, Golub and LeVeque, 1983), or adds
 * two pairs of sums. */
CM_HD void nn_norm_join(const struct nn_norm_shared *s, unsigned to, unsigned from, int width,
                        bool moments)
{
    float na = s->count[to], nb = s->count[from], n = na + nb;
    for (int k = 0; k < width; k++) {
        unsigned i = (unsigned)k * NN_NORM_THREADS + to, j = (unsigned)k * NN_NORM_THREADS + from;
        if (!moments) {
            s->a[i] += s->a[j];
            s->b[i] += s->b[j];
        } else if (nb > 0) {
            float apart = s->a[j] - s->a[i];
            s->a[i] += apart * (nb / n);
            s->b[i] += s->b[j] + apart * apart * (na * nb / n);
        }
    }
    s->count[to] = n;
}

/* Phases after the first: halvings, then the block's result. */
CM_HD void nn_norm_join_phase(const struct nn_norm_args *a, const struct nn_cell *cell, int phase,
                              int width, bool moments)
{
    struct nn_norm_shared s = nn_norm_shared_of(cell->shared, width);
    const struct nn_columns *cut = &a->columns;
    unsigned row = cell->thread / cut->across, half = cut->down >> phase;
    if (phase < NN_NORM_PHASES - 1) {
        if (row < half)
            nn_norm_join(&s, cell->thread, cell->thread + half * cut->across, width, moments);
        return;
    }
    struct nn_column o = nn_column_of(cut, a->rows, width, cell);
    struct nn_pack base = {{0}};
    if (row != 0 || !o.any)
        return;
    float *to = a->partial + (size_t)cell->x * NN_NORM_PARTS * (size_t)a->c + o.channel;
    if (moments)
        base = nn_get_pack(a->dtype, width, a->z,
                           cell->x * cut->rows_per_block * (size_t)a->c + o.channel);
    for (int k = 0; k < width; k++) {
        to[k] = s.a[(unsigned)k * NN_NORM_THREADS + cell->thread];
        to[a->c + k] = s.b[(unsigned)k * NN_NORM_THREADS + cell->thread];
        to[2 * a->c + k] = base.v[k];
    }
}

CM_HD void nn_kernel_norm_sums(const struct nn_norm_args *a, const struct nn_cell *cell, int phase,
                               enum nn_dtype t, int width)
{
    if (phase > 0) {
        nn_norm_join_phase(a, cell, phase, width, true);
        return;
    }
    struct nn_norm_shared s = nn_norm_shared_of(cell->shared, width);
    struct nn_column o = nn_column_of(&a->columns, a->rows, width, cell);
    struct nn_pack shift = {{0}}, sum = {{0}}, squares = {{0}};
    float count = 0;
    for (size_t r = o.begin; o.any && r < o.end; r += a->columns.down) {
        struct nn_pack z = nn_get_pack(t, width, a->z, r * (size_t)a->c + o.channel);
        if (count == 0) /* the thread's own first value: near its mean, whatever the others have */
            shift = z;
        for (int k = 0; k < width; k++) {
            float d = z.v[k] - shift.v[k];
            sum.v[k] += d;
            squares.v[k] += d * d;
        }
        count += 1;
    }
    /* Means are held against the block's first row, so that a large one does not round them. */
    struct nn_pack base = shift;
    if (o.any)
        base = nn_get_pack(t, width, a->z,
                           cell->x * a->columns.rows_per_block * (size_t)a->c + o.channel);
    for (int k = 0; k < width; k++) {
        float mean = count > 0 ? sum.v[k] / count : 0;
        float about = squares.v[k] - sum.v[k] * mean;
        s.a[(unsigned)k * NN_NORM_THREADS + cell->thread] = shift.v[k] - base.v[k] + mean;
        s.b[(unsigned)k * NN_NORM_THREADS + cell->thread] = about < 0 ? 0 : about;
    }
    s.count[cell->thread] = count;
}

/* A channel's numbers, kept in registers over the rows. */
struct nn_norm_channels {
    struct nn_pack mean, invstd, weight, bias;
};

CM_HD struct nn_norm_channels nn_norm_channels_of(const struct nn_norm_args *a, size_t channel,
                                                  int width)
{
    struct nn_norm_channels p = {{{0}}, {{0}}, {{0}}, {{0}}};
    for (int k = 0; k < width; k++) {
        p.mean.v[k] = a->mean[channel + (size_t)k];
        p.invstd.v[k] = a->invstd[channel + (size_t)k];
        p.weight.v[k] = a->weight[channel + (size_t)k];
        p.bias.v[k] = a->bias[channel + (size_t)k];
    }
    return p;
}

/* xhat and u + r of a pack. */
CM_HD struct nn_pack nn_norm_before(const struct nn_norm_args *a, const struct nn_norm_channels *p,
                                    size_t i, enum nn_dtype t, int width, struct nn_pack *xhat)
{
    struct nn_pack z = nn_get_pack(t, width, a->z, i), u = {{0}}, r = {{0}};
    if (a->residual)
        r = nn_get_pack(t, width, a->residual, i);
    for (int k = 0; k < width; k++) {
        xhat->v[k] = (z.v[k] - p->mean.v[k]) * p->invstd.v[k];
        u.v[k] = p->weight.v[k] * xhat->v[k] + p->bias.v[k] + (a->residual ? r.v[k] : 0);
    }
    return u;
}

CM_HD void nn_kernel_norm_apply(const struct nn_norm_args *a, const struct nn_cell *cell, int phase,
                                enum nn_dtype t, int width)
{
    (void)phase;
    struct nn_column o = nn_column_of(&a->columns, a->rows, width, cell);
    if (!o.any)
        return;
    struct nn_norm_channels p = nn_norm_channels_of(a, o.channel, width);
    for (size_t r = o.begin; r < o.end; r += a->columns.down) {
        size_t i = r * (size_t)a->c + o.channel;
        struct nn_pack xhat = {{0}}, u = nn_norm_before(a, &p, i, t, width, &xhat);
        for (int k = 0; k < width; k++)
            u.v[k] = nn_act_of(a->act, u.v[k]);
        nn_put_pack(t, width, a->y, i, &u);
    }
}

/* dy through the activation; xhat beside it. */
CM_HD struct nn_pack nn_norm_gradient(const struct nn_norm_args *a,
                                      const struct nn_norm_channels *p, size_t i, enum nn_dtype t,
                                      int width, struct nn_pack *xhat)
{
    struct nn_pack u = nn_norm_before(a, p, i, t, width, xhat);
    struct nn_pack g = nn_get_pack(t, width, a->dy, i);
    for (int k = 0; k < width; k++)
        g.v[k] = nn_act_back(a->act, u.v[k], g.v[k]);
    return g;
}

/* Sums of g and g xhat; writes g where wanted. */
CM_HD void nn_kernel_norm_backward_sums(const struct nn_norm_args *a, const struct nn_cell *cell,
                                        int phase, enum nn_dtype t, int width)
{
    if (phase > 0) {
        nn_norm_join_phase(a, cell, phase, width, false);
        return;
    }
    struct nn_norm_shared s = nn_norm_shared_of(cell->shared, width);
    struct nn_column o = nn_column_of(&a->columns, a->rows, width, cell);
    struct nn_norm_channels p = {{{0}}, {{0}}, {{0}}, {{0}}};
    struct nn_pack sum = {{0}}, with_xhat = {{0}}, xhat = {{0}};
    if (o.any && a->z)
        p = nn_norm_channels_of(a, o.channel, width);
    for (size_t r = o.begin; o.any && r < o.end; r += a->columns.down) {
        size_t i = r * (size_t)a->c + o.channel;
        struct nn_pack g =
            a->z ? nn_norm_gradient(a, &p, i, t, width, &xhat) : nn_get_pack(t, width, a->dy, i);
        for (int k = 0; k < width; k++) {
            sum.v[k] += g.v[k];
            with_xhat.v[k] += g.v[k] * xhat.v[k];
        }
        if (a->g)
            nn_put_pack(t, width, a->g, i, &g);
    }
    for (int k = 0; k < width; k++) {
        s.a[(unsigned)k * NN_NORM_THREADS + cell->thread] = sum.v[k];
        s.b[(unsigned)k * NN_NORM_THREADS + cell->thread] = with_xhat.v[k];
    }
    s.count[cell->thread] = 0;
}

CM_HD void nn_kernel_norm_backward_apply(const struct nn_norm_args *a, const struct nn_cell *cell,
                                         int phase, enum nn_dtype t, int width)
{
    (void)phase;
    struct nn_column o = nn_column_of(&a->columns, a->rows, width, cell);
    if (!o.any)
        return;
    struct nn_norm_channels p = nn_norm_channels_of(a, o.channel, width);
    for (size_t r = o.begin; r < o.end; r += a->columns.down) {
        size_t i = r * (size_t)a->c + o.channel;
        struct nn_pack xhat = {{0}}, g = nn_norm_gradient(a, &p, i, t, width, &xhat);
        for (int k = 0; k < width; k++) {
            size_t c = o.channel + (size_t)k;
            g.v[k] =
                p.weight.v[k] * p.invstd.v[k] * (g.v[k] - a->mean_g[c] - xhat.v[k] * a->mean_gx[c]);
        }
        nn_put_pack(t, width, a->y, i, &g);
    }
}

#endif
