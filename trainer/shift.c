/* Light by a table of 256 entries per channel, noise as the sum of four bytes: nearly normal, and
 * the same bits everywhere because it is integer arithmetic on Philox. */
#include "trainer/shift.h"

#include <math.h>
#include <string.h>

#include "common/config.h"
#include "common/rng.h"

/* "where" of the noise; synthetic images use 0, their patterns the largest. */
#define NOISE 1
/* Of the sum of four bytes that are uniform on 0 … 255. */
#define SUM_MEAN  510.0
#define SUM_SIGMA 147.8

const struct tr_shift tr_shifts[] = {
    {"none", "as published", {1, 1, 1}, 1, 0},
    {"dusk",
     "poor light through a blue-green cast, with the noise of a sensor turned up",
     {0.35, 0.55, 0.75},
     1.5,
     5},
};
const size_t tr_nshifts = sizeof tr_shifts / sizeof *tr_shifts;

cm_status tr_shift_find(const struct tr_shift **out, const char *name)
{
    const char *names[sizeof tr_shifts / sizeof *tr_shifts];
    *out = NULL;
    for (size_t i = 0; i < tr_nshifts; i++) {
        names[i] = tr_shifts[i].name;
        if (strcmp(name, names[i]) == 0) {
            *out = &tr_shifts[i];
            return CM_OK;
        }
    }
    const char *near = cm_nearest(name, names, tr_nshifts);
    return CM_FAIL(CM_EUSAGE, "there is no shift '%s' (did you mean '%s'?)", name,
                   near ? near : "dusk");
}

/* (3, 256): the light that is left of each byte, in steps of 1/255. */
static void make_light(double light[3][256], const struct tr_shift *s, int channels)
{
    for (int c = 0; c < channels; c++) {
        double gain = channels == 3 ? s->gain[c] : (s->gain[0] + s->gain[1] + s->gain[2]) / 3;
        for (int v = 0; v < 256; v++)
            light[c][v] = 255 * gain * pow(v / 255.0, s->gamma);
    }
}

static double noise_of(uint32_t bits)
{
    uint32_t sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);
    return ((double)sum - SUM_MEAN) / SUM_SIGMA;
}

void tr_shift_apply(const struct tr_shift *shift, uint8_t *pixels, size_t npixels, int channels,
                    uint64_t seed, uint32_t image)
{
    double light[3][256];
    struct cm_rng4 r = {0};

    make_light(light, shift, channels);
    for (size_t i = 0; i < npixels * (size_t)channels; i++) {
        if (i % 4 == 0)
            r = cm_rng_block(seed, CM_RNG_SYNTHETIC, NOISE, image, (uint32_t)(i / 4));
        double v = light[i % (size_t)channels][pixels[i]] + shift->noise * noise_of(r.v[i % 4]);
        pixels[i] = (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v + 0.5);
    }
}
