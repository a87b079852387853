/* The passes of batch norm over rows of channels. Tiles of 16 rows stay in the first-level cache
 * while the loop goes over the channels a vector at a time, with a vector's coefficients and sums
 * in registers. */
#include "model/kernels/kernels.h"
#include "model/kernels/math_cpu.h"
#include "model/kernels/vector.h"

#define TILE 16 /* rows; part of the sums' order: changing it changes every run */

static size_t tile_rows(size_t rows, size_t first)
{
    return rows - first < TILE ? rows - first : TILE;
}

NN_INLINE void add_to_double(double *sum, nn_vf v, int n)
{
    nn_vf_half half[2];
    nn_vd wide[2] = {{0}, {0}};
    memcpy(half, &v, sizeof half);
    memcpy(wide, sum, n == NN_W ? sizeof wide : (size_t)n * sizeof *sum);
    wide[0] += __builtin_convertvector(half[0], nn_vd);
    wide[1] += __builtin_convertvector(half[1], nn_vd);
    memcpy(sum, wide, n == NN_W ? sizeof wide : (size_t)n * sizeof *sum);
}

NN_INLINE void sums_lanes(size_t i, int n, const void *z, size_t first, size_t rows, size_t c,
                          const float *shift, double *sum, double *sum_sq, enum nn_dtype dtype)
{
    nn_vf k = nn_load_f32(shift + i, n), s = {0}, q = {0};
    for (size_t r = first; r < first + rows; r++) {
        nn_vf d = nn_load(z, r * c + i, n, dtype) - k;
        s += d;
        q += d * d;
    }
    add_to_double(sum + i, s, n);
    add_to_double(sum_sq + i, q, n);
}

NN_INLINE void sums_all(const void *z, size_t rows, size_t c, const float *shift, double *sum,
                        double *sum_sq, enum nn_dtype dtype)
{
    for (size_t r = 0; r < rows; r += TILE)
        for (size_t i = 0; i < c; i += NN_W)
            NN_LANES(i, c, sums_lanes, z, r, tile_rows(rows, r), c, shift, sum, sum_sq, dtype);
}

static void sums(enum nn_dtype dtype, const void *z, size_t rows, int c, const float *shift,
                 double *sum, double *sum_sq)
{
    NN_BY_DTYPE(dtype, sums_all, z, rows, (size_t)c, shift, sum, sum_sq);
}

struct coefficients {
    nn_vf mean, scale, bias;
};

NN_INLINE struct coefficients load_coefficients(const struct nn_norm_rows *a, size_t i, int n)
{
    return (struct coefficients){.mean = nn_load_f32(a->mean + i, n),
                                 .scale = nn_load_f32(a->scale + i, n),
                                 .bias = nn_load_f32(a->bias + i, n)};
}

/* The activation's input at element at. */
NN_INLINE nn_vf normalised(const struct nn_norm_rows *a, const struct coefficients *k, size_t at,
                           int n, enum nn_dtype dtype)
{
    nn_vf u = (nn_load(a->z, at, n, dtype) - k->mean) * k->scale + k->bias;
    return a->residual ? u + nn_load(a->residual, at, n, dtype) : u;
}

NN_INLINE void apply_lanes(size_t i, int n, const struct nn_norm_rows *a, size_t first, size_t rows,
                           void *y, enum nn_dtype dtype, enum nn_act act)
{
    struct coefficients k = load_coefficients(a, i, n);
    for (size_t r = first; r < first + rows; r++) {
        size_t at = r * (size_t)a->c + i;
        nn_store(y, at, nn_act_forward(normalised(a, &k, at, n, dtype), act), n, dtype);
    }
}

NN_INLINE void apply_all(const struct nn_norm_rows *a, void *y, enum nn_dtype dtype,
                         enum nn_act act)
{
    for (size_t r = 0; r < a->rows; r += TILE)
        for (size_t i = 0; i < (size_t)a->c; i += NN_W)
            NN_LANES(i, a->c, apply_lanes, a, r, tile_rows(a->rows, r), y, dtype, act);
}

static void apply(const struct nn_norm_rows *a, void *y)
{
    NN_BY_ACT(a->dtype, a->act, apply_all, a, y);
}

NN_INLINE void backward_sums_lanes(size_t i, int n, const struct nn_norm_rows *a, size_t first,
                                   size_t rows, const void *dy, void *g_out, double *sum_g,
                                   double *sum_gz, enum nn_dtype dtype, enum nn_act act)
{
    struct coefficients k = load_coefficients(a, i, n);
    nn_vf s = {0}, q = {0};
    for (size_t r = first; r < first + rows; r++) {
        size_t at = r * (size_t)a->c + i;
        nn_vf g = nn_load(dy, at, n, dtype);
        if (act != NN_ACT_NONE)
            g = nn_rounded(nn_act_backward(normalised(a, &k, at, n, dtype), g, act), dtype);
        if (g_out)
            nn_store(g_out, at, g, n, dtype);
        s += g;
        q += g * (nn_load(a->z, at, n, dtype) - k.mean);
    }
    add_to_double(sum_g + i, s, n);
    add_to_double(sum_gz + i, q, n);
}

NN_INLINE void backward_sums_all(const struct nn_norm_rows *a, const void *dy, void *g,
                                 double *sum_g, double *sum_gz, enum nn_dtype dtype,
                                 enum nn_act act)
{
    for (size_t r = 0; r < a->rows; r += TILE)
        for (size_t i = 0; i < (size_t)a->c; i += NN_W)
            NN_LANES(i, a->c, backward_sums_lanes, a, r, tile_rows(a->rows, r), dy, g, sum_g,
                     sum_gz, dtype, act);
}

static void backward_sums(const struct nn_norm_rows *a, const void *dy, void *g, double *sum_g,
                          double *sum_gz)
{
    NN_BY_ACT(a->dtype, a->act, backward_sums_all, a, dy, g, sum_g, sum_gz);
}

NN_INLINE void backward_apply_lanes(size_t i, int n, const struct nn_norm_rows *a, size_t first,
                                    size_t rows, const void *g, const float *mean_g,
                                    const float *slope, void *dz, enum nn_dtype dtype)
{
    nn_vf mean = nn_load_f32(a->mean + i, n), scale = nn_load_f32(a->scale + i, n);
    nn_vf offset = nn_load_f32(mean_g + i, n), k = nn_load_f32(slope + i, n);
    for (size_t r = first; r < first + rows; r++) {
        size_t at = r * (size_t)a->c + i;
        nn_vf centred = nn_load(a->z, at, n, dtype) - mean;
        nn_vf v = scale * (nn_load(g, at, n, dtype) - offset - centred * k);
        nn_store(dz, at, v, n, dtype);
    }
}

NN_INLINE void backward_apply_all(const struct nn_norm_rows *a, const void *g, const float *mean_g,
                                  const float *slope, void *dz, enum nn_dtype dtype)
{
    for (size_t r = 0; r < a->rows; r += TILE)
        for (size_t i = 0; i < (size_t)a->c; i += NN_W)
            NN_LANES(i, a->c, backward_apply_lanes, a, r, tile_rows(a->rows, r), g, mean_g, slope,
                     dz, dtype);
}

static void backward_apply(const struct nn_norm_rows *a, const void *g, const float *mean_g,
                           const float *slope, void *dz)
{
    NN_BY_DTYPE(a->dtype, backward_apply_all, a, g, mean_g, slope, dz);
}

const struct nn_norm_kernels NN_ISA(nn_norm_kernels) = {
    .sums = sums,
    .apply = apply,
    .backward_sums = backward_sums,
    .backward_apply = backward_apply,
};
