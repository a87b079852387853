/* Arithmetic on arenas (common/vec.h), with the CPU's bits; weights between the arena's order and
 * the products'; and what ends a step. */
#ifndef MODEL_CUDA_ARENA_KERNEL_H
#define MODEL_CUDA_ARENA_KERNEL_H

#include <math.h>

#include "model/cuda/cell.h"
#include "model/cuda/number.h"
#include "model/step.h"
#include "model/update.h"

/* dst = [round to bf16](dst + src): a node of the tree. src NULL: only rounded. */
struct nn_merge_args {
    float *dst;
    const float *src;
    size_t n;
    bool round;
};

CM_HD void nn_kernel_merge(const struct nn_merge_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    for (size_t i = nn_cell_first(cell); i < a->n; i += nn_cell_stride(cell)) {
        float v = a->src ? a->dst[i] + a->src[i] : a->dst[i];
        a->dst[i] = a->round ? cm_bf16_to_f32(cm_f32_to_bf16(v)) : v;
    }
}

/* Sum of squares as cm_vec_sum_squares adds: 16 lanes in a block of 4,096, folded, then a tree. A
 * block of 16 blocks' lanes per cell. */
#define NN_SQUARES_LANES  16
#define NN_SQUARES_PHASES 5

struct nn_squares_args {
    const float *x;
    size_t n;
    double *block; /* one for each 4,096 elements */
};

CM_HD size_t nn_squares_blocks(size_t n)
{
    return (n + CM_VEC_BLOCK - 1) / CM_VEC_BLOCK;
}

CM_HD struct nn_grid nn_squares_grid(size_t n)
{
    struct nn_grid g = {1, 1, 256, 256 * sizeof(double)};
    size_t per = 256 / NN_SQUARES_LANES;
    g.x = (unsigned)((nn_squares_blocks(n) + per - 1) / per);
    g.x = g.x < 1 ? 1 : g.x;
    return g;
}

CM_HD void nn_kernel_squares(const struct nn_squares_args *a, const struct nn_cell *cell, int phase)
{
    double *sum = (double *)cell->shared + cell->thread;
    unsigned lane = cell->thread % NN_SQUARES_LANES;
    size_t block =
        (size_t)cell->x * (cell->threads / NN_SQUARES_LANES) + cell->thread / NN_SQUARES_LANES;
    size_t begin = block * CM_VEC_BLOCK, end = begin + CM_VEC_BLOCK;
    if (phase > 0) {
        unsigned half = NN_SQUARES_LANES >> phase;
        if (lane < half)
            sum[0] += sum[half];
        if (phase == NN_SQUARES_PHASES - 1 && lane == 0 && begin < a->n)
            a->block[block] = sum[0];
        return;
    }
    double total = 0;
    for (size_t i = begin + lane; i < end && i < a->n; i += NN_SQUARES_LANES)
        total += (double)a->x[i] * (double)a->x[i];
    sum[0] = total;
}

/* Pairs of neighbours, then pairs of pairs, an odd one left as it is: what the binary counter of
 * vec.c makes. One block; level l joins blocks 2^l apart. */
#define NN_TREE_LEVELS 32

struct nn_tree_args {
    double *block; /* destroyed */
    size_t n;
    double *out;
};

CM_HD void nn_kernel_tree(const struct nn_tree_args *a, const struct nn_cell *cell, int phase)
{
    size_t apart = (size_t)1 << phase;
    if (phase == NN_TREE_LEVELS) {
        if (cell->thread == 0)
            *a->out = a->n > 0 ? a->block[0] : 0;
        return;
    }
    for (size_t i = 2 * apart * cell->thread; i + apart < a->n; i += 2 * apart * cell->threads)
        a->block[i] += a->block[i + apart];
}

/* The shards' results, joined as the gradients are: n is a power of two. */
struct nn_results_args {
    const struct nn_result *shards;
    int n;
    double *sum; /* loss, correct, count; 3 n doubles of space */
};

CM_HD void nn_kernel_results(const struct nn_results_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    if (cell->thread != 0)
        return;
    for (int s = 0; s < a->n; s++) {
        a->sum[3 * s] = a->shards[s].loss;
        a->sum[3 * s + 1] = (double)a->shards[s].correct;
        a->sum[3 * s + 2] = (double)a->shards[s].count;
    }
    for (int n = a->n; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++)
            for (int k = 0; k < 3; k++)
                a->sum[3 * i + k] = a->sum[6 * i + k] + a->sum[6 * i + 3 + k];
}

/* The same of n ranks, any number of them: neighbours first. */
struct nn_join_args {
    int n;
    double *node; /* (n, 3): loss, correct, count of each; used up */
    double *sum;  /* 3 */
};

CM_HD void nn_kernel_join(const struct nn_join_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    unsigned k = cell->thread;
    if (k >= 3)
        return;
    for (int step = 1; step < a->n; step *= 2)
        for (int left = 0; left + step < a->n; left += 2 * step)
            a->node[3 * left + (int)k] += a->node[3 * (left + step) + (int)k];
    a->sum[k] = a->node[k];
}

struct nn_decide_args {
    struct nn_step_values *values;
    struct nn_step_rule rule;
    const double *sum;     /* loss, correct, count */
    const double *squares; /* of the parameters' gradients, of the statistics */
};

CM_HD void nn_kernel_decide(const struct nn_decide_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    if (cell->thread == 0)
        nn_step_decide(a->values, &a->rule, a->sum, a->squares);
}

/* All spans in one launch. */
struct nn_span {
    size_t begin, end; /* floats of the arena; spans rise */
};

struct nn_update_args {
    enum nn_optimizer optimizer;
    bool momentum; /* sgd, rmsprop: keep b */
    size_t n;      /* floats of the parameter part */
    float *weights;
    const float *gradients;
    float *first, *second; /* state; NULL: none */
    int nspans;
    const struct nn_span *spans;
    const struct nn_coefficients *coefficients; /* of this step, by span */
    const struct nn_step_values *values;
};

/* The span of element i, or -1 in a gap. */
CM_HD int nn_span_of(const struct nn_span *spans, int n, size_t i)
{
    int low = 0, high = n; /* the first whose end is past i lies in [low, high] */
    while (low < high) {
        int middle = (low + high) / 2;
        if (spans[middle].end > i)
            high = middle;
        else
            low = middle + 1;
    }
    return low < n && spans[low].begin <= i ? low : -1;
}

CM_HD void nn_update_element(const struct nn_update_args *a, size_t i,
                             const struct nn_coefficients *c)
{
    float scale = a->values->out.scale, g = a->gradients[i];
    struct nn_element e = {a->weights[i], a->first ? a->first[i] : 0, a->second ? a->second[i] : 0};
    switch (a->optimizer) {
    case NN_SGD:
    case NN_MUON:
        e = nn_update_sgd(c, a->momentum, scale, g, e);
        break;
    case NN_ADAM:
        e = nn_update_adam(c, scale, g, e);
        break;
    case NN_RMSPROP:
        e = nn_update_rmsprop(c, a->momentum, scale, g, e);
        break;
    case NN_ADAGRAD:
        e = nn_update_adagrad(c, scale, g, e);
        break;
    }
    a->weights[i] = e.w;
    if (a->first)
        a->first[i] = e.first;
    if (a->second)
        a->second[i] = e.second;
}

CM_HD void nn_kernel_update(const struct nn_update_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    if (a->values->out.skip)
        return;
    for (size_t i = nn_cell_first(cell); i < a->n; i += nn_cell_stride(cell)) {
        int span = nn_span_of(a->spans, a->nspans, i);
        if (span >= 0 && !a->coefficients[span].frozen && !a->coefficients[span].muon)
            nn_update_element(a, i, &a->coefficients[span]);
    }
}

/* Look-ahead: average = (1 - keep) weights + keep average, as cm_vec_axpby rounds; the weights
 * become it. */
struct nn_average_args {
    float *average, *weights;
    size_t n;
    float keep, take; /* take: 1 - keep, rounded once */
};

CM_HD void nn_kernel_average(const struct nn_average_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    for (size_t i = nn_cell_first(cell); i < a->n; i += nn_cell_stride(cell))
        a->weights[i] = a->average[i] = a->take * a->weights[i] + a->keep * a->average[i];
}

/* running = (1 - m) running + m / count * sums, span by span; as cm_vec_axpby rounds. */
struct nn_statistics_args {
    float *weights;
    const float *gradients;
    size_t first, n; /* the statistics part of the arena */
    int nspans;
    const struct nn_span *spans;
    const double *momentum; /* by span */
    const struct nn_step_values *values;
};

CM_HD void nn_kernel_statistics(const struct nn_statistics_args *a, const struct nn_cell *cell,
                                int phase)
{
    (void)phase;
    if (a->values->out.skip)
        return;
    for (size_t k = nn_cell_first(cell); k < a->n; k += nn_cell_stride(cell)) {
        size_t i = a->first + k;
        int span = nn_span_of(a->spans, a->nspans, i);
        if (span < 0)
            continue;
        double m = a->momentum[span];
        a->weights[i] = (float)(m / (double)a->values->out.count) * a->gradients[i] +
                        (float)(1 - m) * a->weights[i];
    }
}

/* Filters (out, taps, in) in dtype from the arena's (out, in, taps) fp32, and their gradient back.
 */
struct nn_filter_args {
    size_t out, in, taps;
    enum nn_dtype dtype;
    const float *from;
    void *to; /* import: dtype; export: fp32 */
};

CM_HD void nn_kernel_filter_import(const struct nn_filter_args *a, const struct nn_cell *cell,
                                   int phase)
{
    (void)phase;
    size_t n = a->out * a->in * a->taps;
    for (size_t i = nn_cell_first(cell); i < n; i += nn_cell_stride(cell)) {
        size_t o = i / (a->taps * a->in), tap = i / a->in % a->taps, c = i % a->in;
        nn_put(a->dtype, a->to, i, a->from[(o * a->in + c) * a->taps + tap]);
    }
}

CM_HD void nn_kernel_filter_export(const struct nn_filter_args *a, const struct nn_cell *cell,
                                   int phase)
{
    (void)phase;
    size_t n = a->out * a->in * a->taps;
    for (size_t i = nn_cell_first(cell); i < n; i += nn_cell_stride(cell)) {
        size_t o = i / (a->taps * a->in), c = i / a->taps % a->in, tap = i % a->taps;
        ((float *)a->to)[i] = a->from[(o * a->taps + tap) * a->in + c];
    }
}

/* y (to) = x (from), n elements. */
struct nn_cast_args {
    size_t n;
    enum nn_dtype from, to;
    const void *x;
    void *y;
};

CM_HD void nn_kernel_cast(const struct nn_cast_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    for (size_t i = nn_cell_first(cell); i < a->n; i += nn_cell_stride(cell))
        nn_put(a->to, a->y, i, nn_get(a->from, a->x, i));
}

#endif
