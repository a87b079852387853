/* Ways in which the world of a data set may change, for demonstrations and tests of the online
 * loop: what happens to the light and in the camera, never to what is seen. */
#ifndef TRAINER_SHIFT_H
#define TRAINER_SHIFT_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct tr_shift {
    const char *name, *help;
    double gain[3]; /* of the light, by channel; a grey image takes their mean */
    double gamma;   /* of the light: above 1 the dark parts sink */
    double noise;   /* of the sensor: standard deviation, in steps of 1/255 */
};
/* The first one, "none", changes nothing. */
extern const struct tr_shift tr_shifts[];
extern const size_t tr_nshifts;

/* CM_EUSAGE names the nearest. */
CM_MUST_CHECK cm_status tr_shift_find(const struct tr_shift **out, const char *name);

/* In place on 8-bit pixels (npixels, channels), channels 1 or 3:
 * v := 255 gain (v / 255)^gamma + noise, rounded and clipped. A function of its arguments; image
 * tells images apart, so that each has noise of its own. Any thread. */
void tr_shift_apply(const struct tr_shift *shift, uint8_t *pixels, size_t npixels, int channels,
                    uint64_t seed, uint32_t image);

#endif
