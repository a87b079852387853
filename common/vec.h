/* Arithmetic on flat arrays of an arena. Elementwise results do not depend on the instruction set;
 * sums have a fixed order (16 double lanes in a block of 4,096 elements, then a binary tree over
 * blocks). No function allocates. Any thread. bf16 is uint16_t: the upper half of an fp32, rounded
 * to nearest even; NaN stays NaN. */
#ifndef COMMON_VEC_H
#define COMMON_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/host_device.h"

CM_HD float cm_bf16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } x = {.u = (uint32_t)h << 16};
    return x.f;
}

CM_HD uint16_t cm_f32_to_bf16(float f)
{
    union {
        float f;
        uint32_t u;
    } x = {.f = f};
    uint32_t rounded = (x.u + 0x7fffu + ((x.u >> 16) & 1u)) >> 16;
    uint32_t quiet_nan = (x.u >> 16) | 0x40u;
    return (uint16_t)((x.u & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
}

void cm_vec_add(float *dst, const float *src, size_t n);                   /* dst += src */
void cm_vec_sum2(float *dst, const float *a, const float *b, size_t n);    /* dst = a + b */
void cm_vec_axpby(float *dst, float a, const float *x, float b, size_t n); /* dst = a x + b dst */
void cm_vec_to_bf16(uint16_t *dst, const float *src, size_t n);
void cm_vec_from_bf16(float *dst, const uint16_t *src, size_t n);
/* Each element rounded to the nearest bf16, kept as fp32. */
void cm_vec_round_bf16(float *dst, size_t n);

#define CM_VEC_BLOCK 4096
double cm_vec_sum_squares(const float *x, size_t n);
float cm_vec_abs_max(const float *x, size_t n); /* NaN when any element is NaN */
bool cm_vec_finite(const float *x, size_t n);
double cm_vec_median(double *x, size_t n); /* n > 0; sorts x; of two in the middle the mean */

#endif
