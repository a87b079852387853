#include "common/rng.h"

#include <math.h>

double cm_rng_normal(uint32_t bits_a, uint32_t bits_b)
{
    const double two_pi = 6.283185307179586476925;
    double radius =
        sqrt(-2.0 * log(((double)bits_a + 0.5) * 0x1p-32)); /* the half keeps log from 0 */
    return radius * cos(two_pi * ((double)bits_b * 0x1p-32));
}
