/* input.h's kernel, a thread per output pixel; and the drawing of a shard's images (draw.h). */
#ifndef MODEL_CUDA_INPUT_KERNEL_H
#define MODEL_CUDA_INPUT_KERNEL_H

#include "model/cuda/cell.h"
#include "model/cuda/number.h"
#include "model/step.h"

struct nn_input_args {
    enum nn_dtype dtype;
    int width;
    int n, c, h, w;
    enum nn_pad_mode pad_mode;
    const uint8_t *images; /* (N, h, w, c) */
    const uint32_t *index;
    const struct nn_augment *augment;
    const float *value; /* (256, c): what a byte of channel c becomes */
    void *y;            /* (n, h, w, c) */
};

/* Where index i of the padded side reads in [0, side), -1: outside. */
CM_HD int nn_input_fold(int i, int side, enum nn_pad_mode mode)
{
    if (mode == NN_PAD_ZERO)
        return i < 0 || i >= side ? -1 : i;
    if (side == 1)
        return 0;
    int period = 2 * (side - 1);
    i = (i % period + period) % period;
    return i < side ? i : period - i;
}

CM_HD void nn_kernel_input(const struct nn_input_args *a, const struct nn_cell *cell, int phase,
                           enum nn_dtype t, int width)
{
    (void)phase;
    (void)width;
    size_t area = (size_t)a->h * (size_t)a->w, count = (size_t)a->n * area;
    for (size_t pixel = nn_cell_first(cell); pixel < count; pixel += nn_cell_stride(cell)) {
        size_t n = pixel / area;
        int i = (int)(pixel % area / (size_t)a->w), j = (int)(pixel % (size_t)a->w);
        struct nn_augment g = {0, 0, 0, 0, 0, 0};
        if (a->augment)
            g = a->augment[n];
        bool cut = i >= g.cut_y && i < g.cut_y + g.cut_n && j >= g.cut_x && j < g.cut_x + g.cut_n;
        int r = nn_input_fold(i + g.dy, a->h, a->pad_mode);
        int q = nn_input_fold(j + g.dx, a->w, a->pad_mode);
        bool inside = r >= 0 && q >= 0;
        size_t column = (size_t)(g.flip ? a->w - 1 - q : q);
        size_t from =
            (((a->index ? a->index[n] : n) * (size_t)a->h + (size_t)r) * (size_t)a->w + column) *
            (size_t)a->c;
        for (int c = 0; c < a->c; c++) {
            int byte = inside ? a->images[from + (size_t)c] : 0;
            float v = cut ? 0 : a->value[(size_t)byte * (size_t)a->c + (size_t)c];
            nn_put(t, a->y, pixel * (size_t)a->c + (size_t)c, v);
        }
    }
}

/* Images [first, first + n) of a global batch that begins at values->in.first. */
struct nn_draw_args {
    struct nn_draw draw;
    uint32_t n, first;
    const struct nn_step_values *values;
    const uint32_t *id;        /* draw.n: rows of the data set */
    const int32_t *all_labels; /* by row */
    uint32_t *rows;            /* n each, written */
    int32_t *labels;
    struct nn_augment *augment;
};

CM_HD void nn_kernel_draw(const struct nn_draw_args *a, const struct nn_cell *cell, int phase)
{
    (void)phase;
    uint32_t epoch = a->values->in.epoch, begin = a->values->in.first + a->first;
    for (size_t i = nn_cell_first(cell); i < a->n; i += nn_cell_stride(cell)) {
        uint32_t row = a->id[nn_draw_sample(a->draw.seed, a->draw.n, epoch, begin + (uint32_t)i)];
        a->rows[i] = row;
        a->labels[i] = a->all_labels[row];
        a->augment[i] = nn_draw_augment(&a->draw, epoch, row);
    }
}

#endif
