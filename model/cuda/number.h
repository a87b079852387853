/* Numbers as kernels see them: fp32 in registers; fp32, bf16 or fp16 in memory; one at a time, or
 * NN_PACK neighbours by loads of 16 bytes. */
#ifndef MODEL_CUDA_NUMBER_H
#define MODEL_CUDA_NUMBER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/vec.h"
#include "model/op.h"

#define NN_PACK 8

/* Before a loop over a pack: nvcc would keep the numbers of one that it does not unroll in a
 * thread's memory, where each access is a load. */
#ifdef __CUDA_ARCH__
#define NN_UNROLL _Pragma("unroll")
#else
#define NN_UNROLL
#endif

struct nn_pack {
    float v[NN_PACK];
};

struct nn_bytes16 {
    uint32_t w[4];
} __attribute__((aligned(16)));

union nn_float_bits {
    float f;
    uint32_t u;
};

CM_HD float nn_f16_to_f32(uint16_t h)
{
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(h));
#else
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7fffu;
    union nn_float_bits x;
    if (rest >= 0x7c00u) { /* inf, NaN */
        x.u = sign | 0x7f800000u | (rest & 0x3ffu) << 13;
    } else { /* 2^112 moves the exponent's bias from 15 to 127, subnormals included */
        x.u = rest << 13;
        x.f *= 0x1p112f;
        x.u |= sign;
    }
    return x.f;
#endif
}

/* To nearest even; NaN stays NaN. */
CM_HD uint16_t nn_f32_to_f16(float f)
{
#ifdef __CUDA_ARCH__
    return __half_as_ushort(__float2half_rn(f));
#else
    union nn_float_bits x;
    x.f = f;
    uint16_t sign = (uint16_t)(x.u >> 16 & 0x8000u);
    x.u &= 0x7fffffffu;
    if (x.u > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (x.u >= 0x477ff000u) /* rounds past 65504 */
        return (uint16_t)(sign | 0x7c00u);
    if (x.u < 0x38800000u) { /* subnormal: adding 1/2 leaves multiples of 2^-24 in the low bits */
        x.f += 0.5f;
        return (uint16_t)(sign | (x.u - 0x3f000000u));
    }
    x.u += 0xfffu + (x.u >> 13 & 1u);
    return (uint16_t)(sign | ((x.u - 0x38000000u) >> 13));
#endif
}

CM_HD float nn_half_to_f32(enum nn_dtype t, uint16_t h)
{
    return t == NN_BF16 ? cm_bf16_to_f32(h) : nn_f16_to_f32(h);
}

CM_HD uint16_t nn_f32_to_half(enum nn_dtype t, float f)
{
    return t == NN_BF16 ? cm_f32_to_bf16(f) : nn_f32_to_f16(f);
}

CM_HD float nn_get(enum nn_dtype t, const void *p, size_t i)
{
    return t == NN_F32 ? ((const float *)p)[i] : nn_half_to_f32(t, ((const uint16_t *)p)[i]);
}

CM_HD void nn_put(enum nn_dtype t, void *p, size_t i, float v)
{
    if (t == NN_F32)
        ((float *)p)[i] = v;
    else
        ((uint16_t *)p)[i] = nn_f32_to_half(t, v);
}

/* Elements [i, i + width), width 1 or NN_PACK; then i is a multiple of NN_PACK and p at 16 bytes.
 * The caller's width is a constant, so only one branch is compiled. */
CM_HD struct nn_pack nn_get_pack(enum nn_dtype t, int width, const void *p, size_t i)
{
    struct nn_pack r = {{0}};
    if (width == 1) {
        r.v[0] = nn_get(t, p, i);
    } else if (t == NN_F32) {
        const struct nn_bytes16 *from =
            (const struct nn_bytes16 *)(const void *)((const float *)p + i);
        struct nn_bytes16 low = from[0], high = from[1];
        memcpy(r.v, &low, sizeof low);
        memcpy(r.v + 4, &high, sizeof high);
    } else {
        struct nn_bytes16 b = *(const struct nn_bytes16 *)(const void *)((const uint16_t *)p + i);
        for (int k = 0; k < 4; k++) {
            r.v[2 * k] = nn_half_to_f32(t, (uint16_t)(b.w[k] & 0xffffu));
            r.v[2 * k + 1] = nn_half_to_f32(t, (uint16_t)(b.w[k] >> 16));
        }
    }
    return r;
}

CM_HD void nn_put_pack(enum nn_dtype t, int width, void *p, size_t i, const struct nn_pack *v)
{
    if (width == 1) {
        nn_put(t, p, i, v->v[0]);
    } else if (t == NN_F32) {
        struct nn_bytes16 *to = (struct nn_bytes16 *)(void *)((float *)p + i);
        struct nn_bytes16 low, high;
        memcpy(&low, v->v, sizeof low);
        memcpy(&high, v->v + 4, sizeof high);
        to[0] = low;
        to[1] = high;
    } else {
        struct nn_bytes16 b;
        for (int k = 0; k < 4; k++)
            b.w[k] = (uint32_t)nn_f32_to_half(t, v->v[2 * k]) |
                     (uint32_t)nn_f32_to_half(t, v->v[2 * k + 1]) << 16;
        *(struct nn_bytes16 *)(void *)((uint16_t *)p + i) = b;
    }
}

#endif
