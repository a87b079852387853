/* Elementwise kernels over n neighbours. */
#ifndef MODEL_CUDA_MAP_KERNEL_H
#define MODEL_CUDA_MAP_KERNEL_H

#include <math.h>

#include "common/rng.h"
#include "model/cuda/cell.h"
#include "model/cuda/number.h"
#include "model/step.h"

/* activation.h's functions, by the C library's exp, erf and tanh (on a GPU CUDA's, at most 2 ulp
 * off). */
CM_HD float nn_act_of(enum nn_act act, float x)
{
    switch (act) {
    case NN_ACT_RELU:
        return x <= 0 ? 0 : x;
    case NN_ACT_GELU:
        return 0.5f * x * (1 + erff(x * 0.70710678f));
    case NN_ACT_SIGMOID:
        return 1 / (1 + expf(-x));
    case NN_ACT_TANH:
        return tanhf(x);
    case NN_ACT_NONE:
        break;
    }
    return x;
}

/* dy times the derivative at x, the activation's input. */
CM_HD float nn_act_back(enum nn_act act, float x, float dy)
{
    float y;
    switch (act) {
    case NN_ACT_RELU:
        return x <= 0 ? 0 : dy;
    case NN_ACT_GELU: /* Phi(x) + x phi(x); past 13 phi is 0 in fp32, and x^2 must not overflow */
        y = fabsf(x) > 13 ? 0 : x * expf(-0.5f * x * x) * 0.39894228f;
        return dy * (0.5f * (1 + erff(x * 0.70710678f)) + y);
    case NN_ACT_SIGMOID:
        y = 1 / (1 + expf(-x));
        return dy * (y * (1 - y));
    case NN_ACT_TANH:
        y = tanhf(x);
        return dy * (1 - y * y);
    case NN_ACT_NONE:
        break;
    }
    return dy;
}

enum nn_map {
    NN_MAP_ACT,      /* y = act(a) */
    NN_MAP_ACT_BACK, /* y = b act'(a) */
    NN_MAP_ADD,      /* y = a + b */
    NN_MAP_SCALE,    /* y = factor a */
    NN_MAP_BIAS,     /* y = a + bias[channel] */
    NN_MAP_DROP      /* elementwise.h's dropout */
};

struct nn_map_args {
    enum nn_dtype dtype;
    int width;
    enum nn_map map;
    enum nn_act act;
    size_t n;
    const void *a, *b;
    void *y; /* may be a or b */
    float factor;
    const float *bias;
    size_t channels;
    /* dropout: kept where u >= p, times factor */
    float p;
    size_t image; /* elements of one */
    uint64_t seed;
    uint32_t first_sample, step;
    const struct nn_step_values *values;
};

CM_HD bool nn_map_keeps(const struct nn_map_args *a, size_t i)
{
    uint32_t step = a->values ? (uint32_t)a->values->in.step : a->step;
    uint32_t bits =
        cm_rng_u32(a->seed, CM_RNG_DROPOUT, step, a->first_sample + (uint32_t)(i / a->image),
                   (uint32_t)(i % a->image));
    return cm_rng_unit(bits) >= a->p;
}

CM_HD float nn_map_one(const struct nn_map_args *a, size_t i, float x, float second)
{
    switch (a->map) {
    case NN_MAP_ACT:
        return nn_act_of(a->act, x);
    case NN_MAP_ACT_BACK:
        return nn_act_back(a->act, x, second);
    case NN_MAP_ADD:
        return x + second;
    case NN_MAP_SCALE:
        return a->factor * x;
    case NN_MAP_BIAS:
        return x + a->bias[i % a->channels];
    case NN_MAP_DROP:
        return nn_map_keeps(a, i) ? a->factor * x : 0;
    }
    return x;
}

CM_HD void nn_kernel_map(const struct nn_map_args *a, const struct nn_cell *cell, int phase,
                         enum nn_dtype t, int width)
{
    (void)phase;
    size_t packs = a->n / (size_t)width;
    for (size_t i = nn_cell_first(cell); i < packs; i += nn_cell_stride(cell)) {
        size_t at = i * (size_t)width;
        struct nn_pack x = nn_get_pack(t, width, a->a, at), second = x;
        if (a->b)
            second = nn_get_pack(t, width, a->b, at);
        NN_UNROLL
        for (int k = 0; k < width; k++)
            x.v[k] = nn_map_one(a, at + (size_t)k, x.v[k], second.v[k]);
        nn_put_pack(t, width, a->y, at, &x);
    }
}

/* y[n, (c h + i) w + j] = x[n, i, j, c], or back. */
struct nn_flatten_args {
    enum nn_dtype dtype;
    int width;
    size_t n; /* elements in all */
    struct nn_shape shape;
    bool back;
    const void *x;
    void *y;
};

CM_HD void nn_kernel_flatten(const struct nn_flatten_args *a, const struct nn_cell *cell, int phase,
                             enum nn_dtype t, int width)
{
    (void)phase;
    (void)width;
    size_t c = (size_t)a->shape.c, area = (size_t)a->shape.h * (size_t)a->shape.w;
    for (size_t i = nn_cell_first(cell); i < a->n; i += nn_cell_stride(cell)) {
        size_t image = i / (c * area), rest = i % (c * area);
        size_t flat = image * c * area + rest % c * area + rest / c;
        if (a->back)
            nn_put(t, a->y, i, nn_get(t, a->x, flat));
        else
            nn_put(t, a->y, flat, nn_get(t, a->x, i));
    }
}

#endif
