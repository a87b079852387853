/* The hot loops of the cpu backend: compiled for three instruction sets, chosen once per process,
 * the same bits in all. Arrays are fp32 or bf16 by dtype, rows of c neighbouring channels; fp32
 * arithmetic. No kernel allocates, blocks or keeps state: any thread. */
#ifndef MODEL_KERNELS_KERNELS_H
#define MODEL_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/op.h"

/* Operands of a batch norm: u = (z - mean) * scale + bias [+ residual], y = act(u). */
struct nn_norm_rows {
    enum nn_dtype dtype;
    enum nn_act act;
    int c;
    size_t rows;
    const void *z, *residual;         /* (rows, c); residual NULL: none */
    const float *mean, *scale, *bias; /* (c) */
};

/* Sums are fp32 over blocks of 16 rows, then double: exact enough, and cheap beside the memory that
 * they read. */
struct nn_norm_kernels {
    /* sum[i] += sum over rows of d, sum_sq[i] += sum of d^2, d = z[., i] - shift[i] (near the mean:
     * then the variance does not cancel). */
    void (*sums)(enum nn_dtype dtype, const void *z, size_t rows, int c, const float *shift,
                 double *sum, double *sum_sq);
    void (*apply)(const struct nn_norm_rows *a, void *y);
    /* g = dy act'(u), rounded to dtype and stored (NULL: not; then act must be NONE and g is dy);
     * sum_g[i] += sum of g; sum_gz[i] += sum of g * (z - mean). */
    void (*backward_sums)(const struct nn_norm_rows *a, const void *dy, void *g, double *sum_g,
                          double *sum_gz);
    /* dz = scale * (g - mean_g - (z - mean) * slope) */
    void (*backward_apply)(const struct nn_norm_rows *a, const void *g, const float *mean_g,
                           const float *slope, void *dz);
};

/* Square windows over one image, (h, w, c) to (oh, ow, c); pool.h has the arithmetic. */
struct nn_window {
    int c, h, w, oh, ow, kernel, stride, pad;
    float share; /* average: an element's part of the mean */
};

struct nn_pool_kernels {
    /* where: place of the first maximum inside its window, row-major, per output element; NULL: not
     * wanted. */
    void (*max)(const struct nn_window *g, enum nn_dtype dtype, const void *x, void *y,
                uint8_t *where);
    void (*max_backward)(const struct nn_window *g, enum nn_dtype dtype, const void *dy,
                         const uint8_t *where, void *dx);
    void (*average)(const struct nn_window *g, enum nn_dtype dtype, const void *x, void *y);
    void (*average_backward)(const struct nn_window *g, enum nn_dtype dtype, const void *dy,
                             void *dx);
};

/* n elements each; outputs may be their inputs. */
struct nn_map_kernels {
    void (*act)(enum nn_dtype dtype, enum nn_act act, const void *x, void *y, size_t n);
    /* dx = dy act'(x) */
    void (*act_backward)(enum nn_dtype dtype, enum nn_act act, const void *x, const void *dy,
                         void *dx, size_t n);
    void (*add)(enum nn_dtype dtype, const void *a, const void *b, void *y, size_t n);
    void (*scale)(enum nn_dtype dtype, float factor, const void *x, void *y, size_t n);
    /* y[i] = u[i] >= p ? x[i] * factor : 0 with u, the numbers in [0, 1), fp32 */
    void (*keep)(enum nn_dtype dtype, const float *u, float p, float factor, const void *x, void *y,
                 size_t n);
};

/* Row by row, without gaps; c is neither a nor b. Sums as model/muon.h says. */
struct nn_matrix_kernels {
    /* c (m, n) = a (m, k) b (k, n) */
    void (*multiply)(float *c, const float *a, const float *b, size_t m, size_t k, size_t n);
    /* c (m, n) = a (m, k) b^T, b (n, k) */
    void (*multiply_turned)(float *c, const float *a, const float *b, size_t m, size_t k, size_t n);
};

struct nn_kernels {
    const char *isa;         /* "x86-64-v3" */
    bool (*supported)(void); /* by this CPU */
    const struct nn_norm_kernels *norm;
    const struct nn_pool_kernels *pool;
    const struct nn_map_kernels *map;
    const struct nn_matrix_kernels *matrix;
};

/* Worst first; the first is supported everywhere. */
#define NN_KERNELS_COUNT 3
extern const struct nn_kernels nn_kernels_all[NN_KERNELS_COUNT];
/* The best that this CPU supports. */
const struct nn_kernels *nn_kernels_best(void);

extern const struct nn_norm_kernels nn_norm_kernels_base, nn_norm_kernels_v3, nn_norm_kernels_v4;
extern const struct nn_pool_kernels nn_pool_kernels_base, nn_pool_kernels_v3, nn_pool_kernels_v4;
extern const struct nn_map_kernels nn_map_kernels_base, nn_map_kernels_v3, nn_map_kernels_v4;
extern const struct nn_matrix_kernels nn_matrix_kernels_base, nn_matrix_kernels_v3,
    nn_matrix_kernels_v4;

#endif
