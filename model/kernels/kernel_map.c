/* Elementwise loops over flat arrays. */
#include "model/kernels/kernels.h"
#include "model/kernels/math_cpu.h"
#include "model/kernels/vector.h"

NN_INLINE void act_lanes(size_t i, int n, const void *x, void *y, enum nn_dtype dtype,
                         enum nn_act act)
{
    nn_store(y, i, nn_act_forward(nn_load(x, i, n, dtype), act), n, dtype);
}

NN_INLINE void act_all(const void *x, void *y, size_t count, enum nn_dtype dtype, enum nn_act act)
{
    for (size_t i = 0; i < count; i += NN_W)
        NN_LANES(i, count, act_lanes, x, y, dtype, act);
}

static void act(enum nn_dtype dtype, enum nn_act kind, const void *x, void *y, size_t n)
{
    NN_BY_ACT(dtype, kind, act_all, x, y, n);
}

NN_INLINE void act_backward_lanes(size_t i, int n, const void *x, const void *dy, void *dx,
                                  enum nn_dtype dtype, enum nn_act act)
{
    nn_vf g = nn_act_backward(nn_load(x, i, n, dtype), nn_load(dy, i, n, dtype), act);
    nn_store(dx, i, g, n, dtype);
}

NN_INLINE void act_backward_all(const void *x, const void *dy, void *dx, size_t count,
                                enum nn_dtype dtype, enum nn_act act)
{
    for (size_t i = 0; i < count; i += NN_W)
        NN_LANES(i, count, act_backward_lanes, x, dy, dx, dtype, act);
}

static void act_backward(enum nn_dtype dtype, enum nn_act kind, const void *x, const void *dy,
                         void *dx, size_t n)
{
    NN_BY_ACT(dtype, kind, act_backward_all, x, dy, dx, n);
}

NN_INLINE void add_lanes(size_t i, int n, const void *a, const void *b, void *y,
                         enum nn_dtype dtype)
{
    nn_store(y, i, nn_load(a, i, n, dtype) + nn_load(b, i, n, dtype), n, dtype);
}

NN_INLINE void add_all(const void *a, const void *b, void *y, size_t count, enum nn_dtype dtype)
{
    for (size_t i = 0; i < count; i += NN_W)
        NN_LANES(i, count, add_lanes, a, b, y, dtype);
}

static void add(enum nn_dtype dtype, const void *a, const void *b, void *y, size_t n)
{
    NN_BY_DTYPE(dtype, add_all, a, b, y, n);
}

NN_INLINE void scale_lanes(size_t i, int n, float factor, const void *x, void *y,
                           enum nn_dtype dtype)
{
    nn_store(y, i, nn_load(x, i, n, dtype) * factor, n, dtype);
}

NN_INLINE void scale_all(float factor, const void *x, void *y, size_t count, enum nn_dtype dtype)
{
    for (size_t i = 0; i < count; i += NN_W)
        NN_LANES(i, count, scale_lanes, factor, x, y, dtype);
}

static void scale(enum nn_dtype dtype, float factor, const void *x, void *y, size_t n)
{
    NN_BY_DTYPE(dtype, scale_all, factor, x, y, n);
}

NN_INLINE void keep_lanes(size_t i, int n, const float *u, float p, float factor, const void *x,
                          void *y, enum nn_dtype dtype)
{
    nn_vi kept = nn_load_f32(u + i, n) >= p;
    nn_vf v = nn_load(x, i, n, dtype) * factor;
    nn_store(y, i, nn_select(kept, v, nn_splat(0.0f)), n, dtype);
}

NN_INLINE void keep_all(const float *u, float p, float factor, const void *x, void *y, size_t count,
                        enum nn_dtype dtype)
{
    for (size_t i = 0; i < count; i += NN_W)
        NN_LANES(i, count, keep_lanes, u, p, factor, x, y, dtype);
}

static void keep(enum nn_dtype dtype, const float *u, float p, float factor, const void *x, void *y,
                 size_t n)
{
    NN_BY_DTYPE(dtype, keep_all, u, p, factor, x, y, n);
}

const struct nn_map_kernels NN_ISA(nn_map_kernels) = {
    .act = act,
    .act_backward = act_backward,
    .add = add,
    .scale = scale,
    .keep = keep,
};
