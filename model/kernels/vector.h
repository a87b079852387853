/* Vectors as wide as the instruction set of the translation unit, in plain arithmetic of the
 * compiler's vector types.
 *
 * Each file of this folder that includes this one is compiled once per instruction set
 * (CMakeLists.txt); the function that it exports carries the set's name by NN_ISA. Lanes of a
 * vector are neighbouring channels or elements and never meet in a sum, and products are not
 * contracted into fused multiply-adds: so the width does not change a bit.
 *
 * A partial vector (n < NN_W elements) reads and writes n elements only; the others compute on
 * zeros. */
#ifndef MODEL_KERNELS_VECTOR_H
#define MODEL_KERNELS_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/op.h"

#ifndef NN_ISA_SUFFIX
#define NN_ISA_SUFFIX base
#endif
#define NN_PASTE_(a, b) a##_##b
#define NN_PASTE(a, b)  NN_PASTE_(a, b)
#define NN_ISA(name)    NN_PASTE(name, NN_ISA_SUFFIX)

#if defined(__AVX512F__)
#define NN_W 16
#elif defined(__AVX2__)
#define NN_W 8
#else
#define NN_W 4
#endif

#define NN_INLINE static inline __attribute__((always_inline))

typedef float nn_vf __attribute__((vector_size(NN_W * 4)));
typedef int32_t nn_vi __attribute__((vector_size(NN_W * 4)));
typedef uint32_t nn_vu __attribute__((vector_size(NN_W * 4)));
typedef uint16_t nn_vh __attribute__((vector_size(NN_W * 2)));
typedef uint8_t nn_vb __attribute__((vector_size(NN_W)));
typedef float nn_vf_half __attribute__((vector_size(NN_W * 2)));
typedef double nn_vd __attribute__((vector_size(NN_W * 4))); /* of nn_vf_half's lanes */

NN_INLINE nn_vf nn_splat(float x)
{
    return x - (nn_vf){0};
}

/* mask ? a : b, lane by lane; a mask lane is all ones or all zeros, as comparisons give. */
NN_INLINE nn_vf nn_select(nn_vi mask, nn_vf a, nn_vf b)
{
    return (nn_vf)((mask & (nn_vi)a) | (~mask & (nn_vi)b));
}

NN_INLINE nn_vi nn_select_i(nn_vi mask, nn_vi a, nn_vi b)
{
    return (mask & a) | (~mask & b);
}

NN_INLINE nn_vf nn_load_f32(const float *p, int n)
{
    nn_vf v = {0};
    memcpy(&v, p, n == NN_W ? sizeof v : (size_t)n * sizeof *p);
    return v;
}

NN_INLINE void nn_store_f32(float *p, nn_vf v, int n)
{
    memcpy(p, &v, n == NN_W ? sizeof v : (size_t)n * sizeof *p);
}

/* To the nearest bf16, ties to even, in the upper half of each lane's fp32; NaN stays NaN. As
 * cm_f32_to_bf16. */
NN_INLINE nn_vu nn_round_bf16(nn_vf v)
{
    nn_vu u = (nn_vu)v;
    nn_vu rounded = u + 0x7fffu + ((u >> 16) & 1u);
    nn_vu is_nan = (nn_vu)(v != v);
    return ((is_nan & (u | 0x400000u)) | (~is_nan & rounded)) & 0xffff0000u;
}

/* Elements [i, i + n) of an array of dtype (fp32 or bf16), as fp32. */
NN_INLINE nn_vf nn_load(const void *p, size_t i, int n, enum nn_dtype dtype)
{
    if (dtype == NN_F32)
        return nn_load_f32((const float *)p + i, n);
    nn_vh h = {0};
    memcpy(&h, (const uint16_t *)p + i, n == NN_W ? sizeof h : (size_t)n * 2);
    return (nn_vf)(__builtin_convertvector(h, nn_vu) << 16);
}

NN_INLINE void nn_store(void *p, size_t i, nn_vf v, int n, enum nn_dtype dtype)
{
    if (dtype == NN_F32) {
        nn_store_f32((float *)p + i, v, n);
        return;
    }
    nn_vh h = __builtin_convertvector(nn_round_bf16(v) >> 16, nn_vh);
    memcpy((uint16_t *)p + i, &h, n == NN_W ? sizeof h : (size_t)n * 2);
}

/* What a load after nn_store of v would give. */
NN_INLINE nn_vf nn_rounded(nn_vf v, enum nn_dtype dtype)
{
    return dtype == NN_F32 ? v : (nn_vf)nn_round_bf16(v);
}

/* f for NN_W elements at i, or for those that are left: n is a constant in the first copy of f
 * (which is inlined), so that its loads and stores are single instructions. */
#define NN_LANES(i, count, f, ...)                                                                 \
    do {                                                                                           \
        if ((size_t)(count) - (i) >= NN_W)                                                         \
            f((i), NN_W, __VA_ARGS__);                                                             \
        else                                                                                       \
            f((i), (int)((size_t)(count) - (i)), __VA_ARGS__);                                     \
    } while (0)

/* f(..., dtype) and f(..., dtype, act) as copies of their own. */
#define NN_BY_DTYPE(dtype, f, ...)                                                                 \
    do {                                                                                           \
        if ((dtype) == NN_F32)                                                                     \
            f(__VA_ARGS__, NN_F32);                                                                \
        else                                                                                       \
            f(__VA_ARGS__, NN_BF16);                                                               \
    } while (0)

#define NN_BY_ACT_(dtype, act, f, ...)                                                             \
    do {                                                                                           \
        if ((dtype) == NN_F32)                                                                     \
            f(__VA_ARGS__, NN_F32, act);                                                           \
        else                                                                                       \
            f(__VA_ARGS__, NN_BF16, act);                                                          \
    } while (0)

#define NN_BY_ACT(dtype, act, f, ...)                                                              \
    do {                                                                                           \
        switch (act) {                                                                             \
        case NN_ACT_NONE:                                                                          \
            NN_BY_ACT_(dtype, NN_ACT_NONE, f, __VA_ARGS__);                                        \
            break;                                                                                 \
        case NN_ACT_RELU:                                                                          \
            NN_BY_ACT_(dtype, NN_ACT_RELU, f, __VA_ARGS__);                                        \
            break;                                                                                 \
        case NN_ACT_GELU:                                                                          \
            NN_BY_ACT_(dtype, NN_ACT_GELU, f, __VA_ARGS__);                                        \
            break;                                                                                 \
        case NN_ACT_SIGMOID:                                                                       \
            NN_BY_ACT_(dtype, NN_ACT_SIGMOID, f, __VA_ARGS__);                                     \
            break;                                                                                 \
        case NN_ACT_TANH:                                                                          \
            NN_BY_ACT_(dtype, NN_ACT_TANH, f, __VA_ARGS__);                                        \
            break;                                                                                 \
        }                                                                                          \
    } while (0)

#endif
