/* Max and average over windows (pool.h), and their gradients: every output, and every input, is one
 * thread's, which gathers; nothing is scattered. */
#ifndef MODEL_CUDA_WINDOW_KERNEL_H
#define MODEL_CUDA_WINDOW_KERNEL_H

#include <math.h>

#include "model/cuda/cell.h"
#include "model/cuda/number.h"

struct nn_window_args {
    enum nn_dtype dtype;
    int width;
    int n, c, h, w, oh, ow, kernel, stride, pad;
    bool average;
    float share;    /* average: an element's part of the mean */
    const void *x;  /* forward: (n, h, w, c); backward: dy (n, oh, ow, c) */
    void *y;        /* forward: (n, oh, ow, c); backward: dx (n, h, w, c) */
    uint8_t *where; /* max: the maximum's place in its window, row-major; NULL: not wanted */
};

struct nn_place8 {
    uint8_t v[NN_PACK];
} __attribute__((aligned(NN_PACK)));

CM_HD struct nn_place8 nn_get_where(const uint8_t *where, int width, size_t i)
{
    struct nn_place8 p = {{0}};
    if (width == 1)
        p.v[0] = where[i];
    else
        p = *(const struct nn_place8 *)(const void *)(where + i);
    return p;
}

CM_HD void nn_put_where(uint8_t *where, int width, size_t i, const struct nn_place8 *p)
{
    if (width == 1)
        where[i] = p->v[0];
    else
        *(struct nn_place8 *)(void *)(where + i) = *p;
}

/* One pixel's pack of a's larger or smaller side. */
struct nn_pixel {
    int n, i, j;
    size_t channel;
};

CM_HD struct nn_pixel nn_pixel_of(size_t number, size_t packs, int width, int h, int w)
{
    struct nn_pixel p;
    size_t rest = number / packs;
    p.channel = number % packs * (size_t)width;
    p.j = (int)(rest % (size_t)w);
    rest /= (size_t)w;
    p.i = (int)(rest % (size_t)h);
    p.n = (int)(rest / (size_t)h);
    return p;
}

CM_HD size_t nn_pixel_at(const struct nn_pixel *p, int i, int j, int h, int w, int c)
{
    return (((size_t)p->n * (size_t)h + (size_t)i) * (size_t)w + (size_t)j) * (size_t)c +
           p->channel;
}

CM_HD void nn_window_forward_pixel(const struct nn_window_args *a, const struct nn_pixel *p,
                                   enum nn_dtype t, int width)
{
    struct nn_pack best = {{0}};
    struct nn_place8 place = {{0}};
    bool any = false;
    for (int u = 0; u < a->kernel; u++)
        for (int v = 0; v < a->kernel; v++) {
            int r = p->i * a->stride + u - a->pad, q = p->j * a->stride + v - a->pad;
            if (r < 0 || r >= a->h || q < 0 || q >= a->w)
                continue;
            struct nn_pack x = nn_get_pack(t, width, a->x, nn_pixel_at(p, r, q, a->h, a->w, a->c));
            for (int k = 0; k < width; k++) {
                bool wins = !any || x.v[k] > best.v[k] || (isnan(x.v[k]) && !isnan(best.v[k]));
                if (a->average) {
                    best.v[k] += x.v[k];
                } else if (wins) {
                    best.v[k] = x.v[k];
                    place.v[k] = (uint8_t)(u * a->kernel + v);
                }
            }
            any = true;
        }
    for (int k = 0; a->average && k < width; k++)
        best.v[k] *= a->share;
    size_t to = nn_pixel_at(p, p->i, p->j, a->oh, a->ow, a->c);
    nn_put_pack(t, width, a->y, to, &best);
    if (a->where)
        nn_put_where(a->where, width, to, &place);
}

CM_HD void nn_kernel_window_forward(const struct nn_window_args *a, const struct nn_cell *cell,
                                    int phase, enum nn_dtype t, int width)
{
    (void)phase;
    size_t packs = (size_t)(a->c / width);
    size_t count = (size_t)a->n * (size_t)a->oh * (size_t)a->ow * packs;
    for (size_t i = nn_cell_first(cell); i < count; i += nn_cell_stride(cell)) {
        struct nn_pixel p = nn_pixel_of(i, packs, width, a->oh, a->ow);
        nn_window_forward_pixel(a, &p, t, width);
    }
}

/* First and last window that covers row r (of `places` windows). */
CM_HD int nn_window_first(const struct nn_window_args *a, int r)
{
    int from = r + a->pad - a->kernel + 1;
    return from <= 0 ? 0 : (from + a->stride - 1) / a->stride;
}

CM_HD int nn_window_last(const struct nn_window_args *a, int r, int places)
{
    int last = (r + a->pad) / a->stride;
    return last < places ? last : places - 1;
}

CM_HD void nn_window_backward_pixel(const struct nn_window_args *a, const struct nn_pixel *p,
                                    enum nn_dtype t, int width)
{
    struct nn_pack sum = {{0}};
    for (int i = nn_window_first(a, p->i); i <= nn_window_last(a, p->i, a->oh); i++)
        for (int j = nn_window_first(a, p->j); j <= nn_window_last(a, p->j, a->ow); j++) {
            size_t from = nn_pixel_at(p, i, j, a->oh, a->ow, a->c);
            int mine = (p->i + a->pad - i * a->stride) * a->kernel + p->j + a->pad - j * a->stride;
            struct nn_pack dy = nn_get_pack(t, width, a->x, from);
            struct nn_place8 where = {{0}};
            if (!a->average)
                where = nn_get_where(a->where, width, from);
            for (int k = 0; k < width; k++)
                if (a->average || where.v[k] == mine)
                    sum.v[k] += dy.v[k];
        }
    for (int k = 0; a->average && k < width; k++)
        sum.v[k] *= a->share;
    nn_put_pack(t, width, a->y, nn_pixel_at(p, p->i, p->j, a->h, a->w, a->c), &sum);
}

CM_HD void nn_kernel_window_backward(const struct nn_window_args *a, const struct nn_cell *cell,
                                     int phase, enum nn_dtype t, int width)
{
    (void)phase;
    size_t packs = (size_t)(a->c / width);
    size_t count = (size_t)a->n * (size_t)a->h * (size_t)a->w * packs;
    for (size_t i = nn_cell_first(cell); i < count; i += nn_cell_stride(cell)) {
        struct nn_pixel p = nn_pixel_of(i, packs, width, a->h, a->w);
        nn_window_backward_pixel(a, &p, t, width);
    }
}

#endif
