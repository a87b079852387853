/* Plain loops that compilers vectorise. What is summed has an order that the source fixes (lanes of
 * a block, then a tree over blocks), so no instruction set and no thread count can change it. */
#include "common/vec.h"

#include <stdlib.h>

#define LANES  16 /* partial sums of a block: enough to hide the latency of an addition */
#define LEVELS 53 /* 2^64 elements are 2^52 blocks */

/* Each loop is compiled twice and the machine takes its own at load time: in cache AVX2 doubles the
 * rates (measured). Sanitizers can not run before the loader that chooses, and do without. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

WIDE void cm_vec_add(float *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] += src[i];
}

WIDE void cm_vec_sum2(float *dst, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = a[i] + b[i];
}

WIDE void cm_vec_axpby(float *dst, float a, const float *x, float b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = a * x[i] + b * dst[i];
}

WIDE void cm_vec_to_bf16(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = cm_f32_to_bf16(src[i]);
}

WIDE void cm_vec_from_bf16(float *dst, const uint16_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = cm_bf16_to_f32(src[i]);
}

WIDE void cm_vec_round_bf16(float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = cm_bf16_to_f32(cm_f32_to_bf16(dst[i]));
}

static inline double fold(double lane[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t j = 0; j < half; j++)
            lane[j] += lane[j + half];
    }
    return lane[0];
}

/* Element i of a block goes to lane i mod 16. */
WIDE static double block_sum_squares(const float *x, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    }
    for (size_t j = 0; i + j < n; j++)
        lane[j] += (double)x[i + j] * (double)x[i + j];
    return fold(lane);
}

/* The tree over blocks, built like a binary counter: level k holds the sum of 2^k neighbours, and
 * two of one level become one of the next. What is left at the end is added from the smallest level
 * up. */
double cm_vec_sum_squares(const float *x, size_t n)
{
    double level[LEVELS];
    size_t nblocks = 0;
    for (size_t i = 0; i < n; i += CM_VEC_BLOCK, nblocks++) {
        double sum = block_sum_squares(x + i, n - i < CM_VEC_BLOCK ? n - i : CM_VEC_BLOCK);
        int k = 0;
        for (; nblocks >> k & 1; k++)
            sum = level[k] + sum;
        level[k] = sum;
    }
    double total = 0;
    for (int k = 0; nblocks >> k; k++) {
        if (nblocks >> k & 1)
            total = level[k] + total;
    }
    return total;
}

union bits {
    float f;
    uint32_t u;
};

/* The largest magnitude of a block, as bits: without their sign, floats are ordered as their bits
 * are, and every NaN is above infinity. An integer maximum has no order and vectorises. */
WIDE static uint32_t max_bits(const float *x, size_t n)
{
    int32_t max = 0;
    for (size_t i = 0; i < n; i++) {
        union bits b = {.f = x[i]};
        int32_t magnitude = (int32_t)(b.u & 0x7fffffffu);
        max = magnitude > max ? magnitude : max;
    }
    return (uint32_t)max;
}

float cm_vec_abs_max(const float *x, size_t n)
{
    union bits b = {.u = max_bits(x, n)};
    return b.f;
}

bool cm_vec_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += CM_VEC_BLOCK) { /* by blocks, to stop early */
        if (max_bits(x + i, n - i < CM_VEC_BLOCK ? n - i : CM_VEC_BLOCK) >= 0x7f800000u)
            return false;
    }
    return true;
}

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

double cm_vec_median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}
