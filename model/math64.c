#include "model/math64.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ln 2 in two parts; an integer below 2^11 times the first is exact. */
#define LN2_HI 0x1.62e42fefa38p-1
#define LN2_LO 0x1.ef35793c7673p-45

double nn_exp64(double x)
{
    if (x != x)
        return x;
    if (x < -708.0)
        return 0.0;
    if (x > 709.78)
        return (double)INFINITY;
    const double to_int = 0x1.8p52; /* adding it rounds to an integer */
    double k = (x * 0x1.71547652b82fep0 + to_int) - to_int;
    double r = (x - k * LN2_HI) - k * LN2_LO;
    double sum = 1.0; /* 1 + r (1 + r/2 (1 + r/3 ...)), |r| <= ln(2) / 2: the rest is below 2^-57 */
    for (int i = 13; i >= 1; i--)
        sum = 1.0 + sum * (r / i);
    int half = (int)k / 2; /* 2^1024 is no double; its root is */
    uint64_t a = (uint64_t)(half + 1023) << 52, b = (uint64_t)((int)k - half + 1023) << 52;
    double scale_a, scale_b;
    memcpy(&scale_a, &a, sizeof a);
    memcpy(&scale_b, &b, sizeof b);
    return sum * scale_a * scale_b;
}

double nn_log64(double x)
{
    if (!(x >= 0x1p-1022) || x == (double)INFINITY)
        return x == (double)INFINITY ? x : (double)NAN;
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    int k = (int)(u >> 52) - 1023;
    u = (u & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &u, sizeof m);
    if (m > 0x1.6a09e667f3bcdp0) { /* sqrt 2: m ends in [sqrt(1/2), sqrt(2)] */
        m *= 0.5;
        k++;
    }
    double s = (m - 1.0) / (m + 1.0), z = s * s, sum = 0.0; /* 2 atanh(s), |s| < 0.172 */
    for (int i = 23; i >= 3; i -= 2)
        sum = z * (1.0 / i + sum);
    return k * LN2_HI + (k * LN2_LO + (2.0 * s + 2.0 * s * sum));
}
