/* exp, the normal distribution and the activations on vectors: our own, so that results depend
 * neither on the C library nor on the instruction set. Errors against double precision are bounded
 * in tests/unit/test_math_cpu.c. Polynomials are minimax fits (Remez) to the function named beside
 * them. */
#ifndef MODEL_KERNELS_MATH_CPU_H
#define MODEL_KERNELS_MATH_CPU_H

#include "model/kernels/vector.h"

NN_INLINE nn_vf nn_exp2_int(nn_vi n) /* 2^n, -126 <= n <= 127 */
{
    return (nn_vf)((n + 127) << 23);
}

struct nn_exp_parts {
    nn_vf mantissa; /* exp(x) = mantissa * 2^exponent */
    nn_vi exponent;
};

NN_INLINE struct nn_exp_parts nn_exp_split(nn_vf x)
{
    const float to_int = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
    nn_vf shifted = x * 0x1.715476p0f + to_int;
    nn_vf k = shifted - to_int;
    nn_vf r = x - k * 0x1.62e4p-1f - k * 0x1.7f7d1cp-20f; /* ln 2 in two; k * the first is exact */
    /* (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2, error 3.1e-9 of exp(r); pairs shorten the chain
     */
    nn_vf r2 = r * r;
    nn_vf q = (0x1.6a2434p-10f * r2 + (0x1.1239e2p-7f * r + 0x1.5558f2p-5f)) * r2 +
              (0x1.555492p-3f * r + 0x1.fffffcp-2f);
    return (struct nn_exp_parts){.mantissa = r2 * q + r + 1.0f,
                                 .exponent = (nn_vi)shifted - (nn_vi)nn_splat(to_int)};
}

/* -87 <= x <= 88 or NaN; else undefined. Below 1.1 ulp. */
NN_INLINE nn_vf nn_exp_normal(nn_vf x)
{
    struct nn_exp_parts e = nn_exp_split(x);
    return e.mantissa * nn_exp2_int(e.exponent);
}

/* Below 1.1 ulp where the result is normal; 0, inf and NaN as in libm. */
NN_INLINE nn_vf nn_exp(nn_vf x)
{
    nn_vf lo = nn_splat(-104.0f),
          hi = nn_splat(89.0f); /* past these: 0 and inf, also after clamping */
    x = nn_select(x < lo, lo, x);
    x = nn_select(x > hi, hi, x);
    struct nn_exp_parts e = nn_exp_split(x);
    nn_vi half = e.exponent >> 1; /* the exponent reaches 128 and -150: two factors */
    return e.mantissa * nn_exp2_int(half) * nn_exp2_int(e.exponent - half);
}

/* P(Z <= x) of a standard normal Z, = (1 + erf(x / sqrt 2)) / 2; *gauss = exp(-x^2 / 2); both 0
 * past 13. For u = |x|: P(Z <= -u) = exp(-u^2 / 2) erfcx(u / sqrt 2) / 2, and (u + 2.5) erfcx(u /
 * sqrt 2) is a smooth function of s = (u - 2.5) / (u + 2.5) (the substitution of Shepherd and
 * Laframboise, Math. Comp. 36, 1981). */
NN_INLINE nn_vf nn_normal_cdf(nn_vf x, nn_vf *gauss)
{
    nn_vf u = (nn_vf)((nn_vi)x & INT32_MAX);
    nn_vi far = u > 13.0f;
    u = nn_select(far, nn_splat(13.0f), u);
    nn_vf d = 1.0f / (u + 2.5f);
    nn_vf s = (u - 2.5f) * d, s2 = s * s, s4 = s2 * s2;
    nn_vf p01 = 1.41331332f - 0.867384034f * s, p23 = 0.263973899f + 0.0184719275f * s;
    nn_vf p45 = -0.0327716524f - 0.003202264f * s, p67 = 0.00504504935f + 0.00136856641f * s;
    nn_vf p89 = -0.000619847901f - 0.000313464295f * s;
    nn_vf p = (p01 + p23 * s2) + (p45 + p67 * s2 + p89 * s4) * s4;
    *gauss = (nn_vf)(~far & (nn_vi)nn_exp_normal(u * u * -0.5f));
    nn_vf tail = *gauss * (p * d * 0.5f);
    return nn_select(x > 0.0f, 1.0f - tail, tail);
}

NN_INLINE nn_vf nn_sigmoid(nn_vf x)
{
    return 1.0f / (1.0f + nn_exp(-x));
}

NN_INLINE nn_vf nn_tanh(nn_vf x)
{
    nn_vi sign = (nn_vi)x & INT32_MIN;
    nn_vf u = (nn_vf)((nn_vi)x & INT32_MAX);
    nn_vf limited = nn_select(u > 10.0f, nn_splat(10.0f), u); /* from 9.1 on the result is 1 */
    nn_vf large = 1.0f - 2.0f / (nn_exp_normal(limited + limited) + 1.0f);
    /* (tanh(u) / u - 1) / u^2 in z = u^2, u <= 0.625, error 4.4e-9 of tanh(u) */
    nn_vf z = u * u;
    nn_vf p = -0.005704986515f * z + 0.02063908683f;
    p = p * z - 0.05373971497f;
    p = p * z + 0.133314422f;
    p = p * z - 0.3333328194f;
    nn_vf small = u + u * (z * p);
    return (nn_vf)((nn_vi)nn_select(u < 0.625f, small, large) | sign);
}

NN_INLINE nn_vf nn_act_forward(nn_vf x, enum nn_act act)
{
    nn_vf gauss;
    switch (act) {
    case NN_ACT_RELU:
        return nn_select(x <= 0.0f, nn_splat(0.0f), x); /* NaN stays NaN */
    case NN_ACT_GELU:
        return x * nn_normal_cdf(x, &gauss);
    case NN_ACT_SIGMOID:
        return nn_sigmoid(x);
    case NN_ACT_TANH:
        return nn_tanh(x);
    case NN_ACT_NONE:
        break;
    }
    return x;
}

/* dy times the derivative at x, the activation's input. */
NN_INLINE nn_vf nn_act_backward(nn_vf x, nn_vf dy, enum nn_act act)
{
    nn_vf y, gauss;
    switch (act) {
    case NN_ACT_RELU:
        return nn_select(x <= 0.0f, nn_splat(0.0f), dy);
    case NN_ACT_GELU: /* 1 / sqrt(2 pi) */
        y = nn_normal_cdf(x, &gauss);
        return dy * (y + x * gauss * 0.3989422804f);
    case NN_ACT_SIGMOID:
        y = nn_sigmoid(x);
        return dy * (y * (1.0f - y));
    case NN_ACT_TANH:
        y = nn_tanh(x);
        return dy * (1.0f - y * y);
    case NN_ACT_NONE:
        break;
    }
    return dy;
}

#endif
