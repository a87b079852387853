/* loss.h's kernels: 32 threads per image, then one block that adds the images up in order. */
#ifndef MODEL_CUDA_LOSS_KERNEL_H
#define MODEL_CUDA_LOSS_KERNEL_H

#include <math.h>

#include "model/cuda/cell.h"
#include "model/cuda/number.h"
#include "model/step.h"

#define NN_LOSS_LANES  32 /* threads of an image */
#define NN_LOSS_IMAGES 8  /* of a block */
#define NN_LOSS_PHASES 4

struct nn_loss_row {
    double loss;
    int32_t correct, unused;
};

struct nn_loss_args {
    enum nn_dtype dtype;
    int width;
    int n, classes;
    enum nn_loss_kind loss;
    float smoothing;
    const void *z;
    void *dz; /* NULL: loss only */
    const int32_t *labels;
    struct nn_loss_row *rows; /* n */
    const struct nn_step_values *values;
};

/* Of one thread, in shared memory. */
struct nn_loss_part {
    double sum, loss;
    float top;
    int32_t top_class; /* -1: none that is a number */
};

CM_HD struct nn_grid nn_loss_grid(int n)
{
    struct nn_grid g;
    g.x = ((unsigned)n + NN_LOSS_IMAGES - 1) / NN_LOSS_IMAGES;
    g.y = 1;
    g.threads = NN_LOSS_LANES * NN_LOSS_IMAGES;
    g.shared = g.threads * sizeof(struct nn_loss_part);
    return g;
}

CM_HD float nn_loss_target(const struct nn_loss_args *a, int label, int k)
{
    return (k == label ? 1 - a->smoothing : 0) + a->smoothing / (float)a->classes;
}

/* The largest that is a number, the lower class at a tie: parts of an image hold rising classes in
 * turn, so the class decides. */
CM_HD void nn_loss_top(const struct nn_loss_part *image, float *top, int32_t *top_class)
{
    *top = -HUGE_VALF;
    *top_class = -1;
    for (int l = 0; l < NN_LOSS_LANES; l++) {
        const struct nn_loss_part *p = &image[l];
        bool wins = p->top_class >= 0 && (*top_class < 0 || p->top > *top ||
                                          (p->top == *top && p->top_class < *top_class));
        if (wins) {
            *top = p->top;
            *top_class = p->top_class;
        }
    }
}

CM_HD void nn_loss_find_top(const struct nn_loss_args *a, size_t first, int lane, enum nn_dtype t,
                            struct nn_loss_part *mine)
{
    mine->top = -HUGE_VALF;
    mine->top_class = -1;
    for (int k = lane; k < a->classes; k += NN_LOSS_LANES) {
        float z = nn_get(t, a->z, first + (size_t)k);
        if (!isnan(z) && (mine->top_class < 0 || z > mine->top)) {
            mine->top = z;
            mine->top_class = k;
        }
    }
}

/* This thread's classes: their part of the loss, and dz. total: log of the sum of exp(z). */
CM_HD double nn_loss_classes(const struct nn_loss_args *a, size_t first, int lane, enum nn_dtype t,
                             int label, double total)
{
    double loss = 0;
    float scale = nn_step_loss_scale(a->values);
    bool known = label >= 0 && label < a->classes;
    for (int k = lane; k < a->classes; k += NN_LOSS_LANES) {
        float z = nn_get(t, a->z, first + (size_t)k), target = nn_loss_target(a, label, k), dz;
        if (a->loss == NN_LOSS_MSE) {
            float error = z - target;
            loss += (double)error * (double)error / a->classes;
            dz = 2 * error / (float)a->classes;
        } else {
            double log_p = (double)z - total;
            loss -= (double)target * log_p;
            dz = expf((float)log_p) - target;
        }
        if (!known) { /* nobody waits here for an error: it shows as a loss that is no number */
            loss = (double)nanf("");
            dz = nanf("");
        }
        if (a->dz)
            nn_put(t, a->dz, first + (size_t)k, dz * scale);
    }
    return loss;
}

CM_HD void nn_kernel_loss(const struct nn_loss_args *a, const struct nn_cell *cell, int phase,
                          enum nn_dtype t, int width)
{
    (void)width;
    int lane = (int)(cell->thread % NN_LOSS_LANES);
    int n = (int)(cell->x * NN_LOSS_IMAGES + cell->thread / NN_LOSS_LANES);
    struct nn_loss_part *mine = (struct nn_loss_part *)cell->shared + cell->thread;
    struct nn_loss_part *image = mine - lane;
    if (n >= a->n)
        return;
    size_t first = (size_t)n * (size_t)a->classes;
    float top;
    int32_t top_class;
    double total = 0;
    switch (phase) {
    case 0:
        nn_loss_find_top(a, first, lane, t, mine);
        return;
    case 1:
        nn_loss_top(image, &top, &top_class);
        mine->sum = 0;
        for (int k = lane; k < a->classes; k += NN_LOSS_LANES)
            mine->sum += (double)expf(nn_get(t, a->z, first + (size_t)k) - top);
        return;
    case 2:
        nn_loss_top(image, &top, &top_class);
        for (int l = 0; l < NN_LOSS_LANES; l++)
            total += image[l].sum;
        mine->loss = nn_loss_classes(a, first, lane, t, a->labels[n], (double)top + log(total));
        return;
    default:
        if (lane != 0)
            return;
        nn_loss_top(image, &top, &top_class);
        for (int l = 0; l < NN_LOSS_LANES; l++)
            total += image[l].loss;
        a->rows[n].loss = total;
        a->rows[n].correct = top_class == a->labels[n];
    }
}

#define NN_TOTAL_THREADS 256
#define NN_TOTAL_PHASES  10 /* images, 8 halvings, the result */

struct nn_total_args {
    int n;
    const struct nn_loss_row *rows;
    struct nn_result *result;
};

CM_HD struct nn_grid nn_total_grid(void)
{
    struct nn_grid g = {1, 1, NN_TOTAL_THREADS, NN_TOTAL_THREADS * sizeof(struct nn_result)};
    return g;
}

CM_HD void nn_kernel_loss_total(const struct nn_total_args *a, const struct nn_cell *cell,
                                int phase)
{
    struct nn_result *part = (struct nn_result *)cell->shared, *mine = part + cell->thread;
    if (phase == NN_TOTAL_PHASES - 1) {
        if (cell->thread == 0) {
            *a->result = part[0];
            a->result->count = a->n;
        }
    } else if (phase > 0) {
        unsigned half = NN_TOTAL_THREADS >> phase;
        if (cell->thread < half) {
            mine->loss += part[cell->thread + half].loss;
            mine->correct += part[cell->thread + half].correct;
        }
    } else {
        mine->loss = 0;
        mine->correct = 0;
        mine->count = 0;
        for (int n = (int)cell->thread; n < a->n; n += NN_TOTAL_THREADS) {
            mine->loss += a->rows[n].loss;
            mine->correct += a->rows[n].correct;
        }
    }
}

#endif
