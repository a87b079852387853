/* Adding up what blocks have left, in double and in an order that is fixed: the second half of
 * every sum. */
#ifndef MODEL_CUDA_FOLD_KERNEL_H
#define MODEL_CUDA_FOLD_KERNEL_H

#include <math.h>

#include "model/cuda/norm_kernel.h"

/* 32 channels side by side, 32 rows of partials each. */
#define NN_FOLD_ACROSS 32
#define NN_FOLD_DOWN   32
#define NN_FOLD_LEVELS 5
#define NN_FOLD_PHASES (2 * (NN_FOLD_LEVELS + 1) + 1)

struct nn_fold_args {
    int c, n; /* channels, images */
    size_t rows;
    struct nn_columns columns;
    const float *partial; /* (blocks, 3, c) */
    /* forward writes saved: mean, 1 / sqrt(var + eps), var m / (m - 1); c each */
    float *saved;
    double eps;
    /* backward writes means (sum a / m, sum b / m; c each) and, at stride floats from each other,
     * dparam: dw | db | n mean | n var; saved is read. Without saved: only sum a, to db. */
    float *means, *dw, *db, *statistics;
    size_t stride;
    bool freeze_weight, freeze_bias;
};

CM_HD struct nn_grid nn_fold_grid(int c)
{
    struct nn_grid g;
    g.x = ((unsigned)c + NN_FOLD_ACROSS - 1) / NN_FOLD_ACROSS;
    g.y = 1;
    g.threads = NN_FOLD_ACROSS * NN_FOLD_DOWN;
    g.shared = 2 * g.threads * sizeof(double);
    return g;
}

CM_HD size_t nn_fold_channel(const struct nn_cell *cell)
{
    return (size_t)cell->x * NN_FOLD_ACROSS + cell->thread % NN_FOLD_ACROSS;
}

/* level 1 … NN_FOLD_LEVELS of a tree over the rows of both halves of shared. */
CM_HD void nn_fold_halve(const struct nn_cell *cell, int level)
{
    double *sum = (double *)cell->shared, *second = sum + cell->threads;
    unsigned half = NN_FOLD_DOWN >> level, from = cell->thread + half * NN_FOLD_ACROSS;
    if (cell->thread / NN_FOLD_ACROSS < half) {
        sum[cell->thread] += sum[from];
        second[cell->thread] += second[from];
    }
}

CM_HD double nn_fold_count(const struct nn_fold_args *a, unsigned block)
{
    size_t begin = block * a->columns.rows_per_block;
    size_t left = a->rows - begin;
    return (double)(left < a->columns.rows_per_block ? left : a->columns.rows_per_block);
}

/* Sum over blocks of count * mean, then, about the mean of all, of squares + count * (mean - mean
 * of all)^2. */
CM_HD void nn_kernel_norm_fold(const struct nn_fold_args *a, const struct nn_cell *cell, int phase)
{
    double *sum = (double *)cell->shared, *second = sum + cell->threads;
    size_t c = nn_fold_channel(cell);
    unsigned column = cell->thread % NN_FOLD_ACROSS;
    bool any = c < (size_t)a->c;
    bool about_mean = phase > NN_FOLD_LEVELS;
    int level = about_mean ? phase - NN_FOLD_LEVELS - 1 : phase;
    double m = (double)a->rows;
    if (phase == NN_FOLD_PHASES - 1) {
        if (!any || cell->thread >= NN_FOLD_ACROSS)
            return;
        double var = second[column] / m;
        a->saved[c] = (float)(sum[column] / m);
        a->saved[(size_t)a->c + c] = (float)(1 / sqrt(var + a->eps));
        a->saved[2 * (size_t)a->c + c] = (float)(var * m / (m - 1));
        return;
    }
    if (level > 0) {
        /* The first tree's sum must outlive the second tree: that one sums only `second`. */
        unsigned half = NN_FOLD_DOWN >> level;
        double *tree = about_mean ? second : sum;
        if (cell->thread / NN_FOLD_ACROSS < half)
            tree[cell->thread] += tree[cell->thread + half * NN_FOLD_ACROSS];
        return;
    }
    double mean = about_mean ? sum[column] / m : 0, total = 0;
    for (unsigned b = cell->thread / NN_FOLD_ACROSS; any && b < a->columns.blocks;
         b += NN_FOLD_DOWN) {
        const float *from = a->partial + (size_t)b * NN_NORM_PARTS * (size_t)a->c + c;
        double own = (double)from[0] + (double)from[2 * a->c], apart = own - mean;
        total += about_mean ? (double)from[a->c] + nn_fold_count(a, b) * apart * apart
                            : nn_fold_count(a, b) * own;
    }
    if (about_mean)
        second[cell->thread] = total;
    else
        sum[cell->thread] = total;
}

CM_HD void nn_fold_write(const struct nn_fold_args *a, size_t c, double g, double gx)
{
    double m = (double)a->rows;
    a->db[c] = a->freeze_bias ? 0 : (float)g;
    if (!a->saved)
        return;
    a->dw[c] = a->freeze_weight ? 0 : (float)gx;
    a->means[c] = (float)(g / m);
    a->means[(size_t)a->c + c] = (float)(gx / m);
    a->statistics[c] = (float)a->n * a->saved[c];
    a->statistics[a->stride + c] = (float)a->n * a->saved[2 * (size_t)a->c + c];
}

CM_HD void nn_kernel_norm_backward_fold(const struct nn_fold_args *a, const struct nn_cell *cell,
                                        int phase)
{
    double *sum = (double *)cell->shared, *second = sum + cell->threads;
    size_t c = nn_fold_channel(cell);
    bool any = c < (size_t)a->c;
    if (phase == NN_FOLD_LEVELS + 1) {
        if (any && cell->thread < NN_FOLD_ACROSS)
            nn_fold_write(a, c, sum[cell->thread], second[cell->thread]);
        return;
    }
    if (phase > 0) {
        nn_fold_halve(cell, phase);
        return;
    }
    double first = 0, other = 0;
    for (unsigned b = cell->thread / NN_FOLD_ACROSS; any && b < a->columns.blocks;
         b += NN_FOLD_DOWN) {
        const float *from = a->partial + (size_t)b * NN_NORM_PARTS * (size_t)a->c + c;
        first += (double)from[0];
        other += (double)from[a->c];
    }
    sum[cell->thread] = first;
    second[cell->thread] = other;
}

/* Inference: mean and 1 / sqrt(var + eps) of the running statistics. */
struct nn_running_args {
    int c;
    double eps;
    const float *mean, *var;
    float *saved; /* mean, invstd */
};

CM_HD void nn_kernel_norm_running(const struct nn_running_args *a, const struct nn_cell *cell,
                                  int phase)
{
    (void)phase;
    size_t n = (size_t)a->c;
    for (size_t i = nn_cell_first(cell); i < n; i += nn_cell_stride(cell)) {
        a->saved[i] = a->mean[i];
        a->saved[n + i] = (float)(1 / sqrt((double)a->var[i] + a->eps));
    }
}

#endif
