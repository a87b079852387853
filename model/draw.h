/* Which picture stands at a position of an epoch, and how it is shown: pure functions, the same on
 * CPU and GPU, so nothing of a step's input has to come from the host. */
#ifndef MODEL_DRAW_H
#define MODEL_DRAW_H

#include <stdint.h>

#include "common/host_device.h"
#include "common/rng.h"

/* Offsets of an image crop inside the padded image, and what else happens to it. Zero: nothing. */
struct nn_augment {
    int8_t dy, dx;        /* shift of the crop, |d| <= 127; outside pixels come from pad_mode */
    uint8_t flip;         /* mirrored left to right, before the shift */
    uint8_t cut_n;        /* side of the square that is set to 0 after normalising; 0: none */
    int16_t cut_y, cut_x; /* its upper left corner; may reach over the border */
};

enum nn_flip { NN_FLIP_NONE, NN_FLIP_RANDOM, NN_FLIP_ALTERNATE };

struct nn_draw {
    uint64_t seed;
    uint32_t n; /* training samples */
    enum nn_flip flip;
    int crop_pad; /* p: offset uniform in {-p … p}^2; 0: none */
    int cutout;   /* side of the square; 0: none */
    int side;     /* of the image */
};

/* Numbers of a sample's stream in an epoch. */
enum nn_draw_number { NN_DRAW_FLIP, NN_DRAW_DY, NN_DRAW_DX, NN_DRAW_CUT_Y, NN_DRAW_CUT_X };

CM_HD uint32_t nn_draw_number(const struct nn_draw *d, uint32_t epoch, uint32_t row,
                              enum nn_draw_number i)
{
    return cm_rng_u32(d->seed, CM_RNG_AUGMENT, epoch, row, (uint32_t)i);
}

/* The sample at a position of an epoch: a number below n. */
CM_HD uint32_t nn_draw_sample(uint64_t seed, uint32_t n, uint32_t epoch, uint32_t position)
{
    return cm_rng_permute(seed, CM_RNG_SHUFFLE, epoch, n, position);
}

/* row: the image's number in the data set. ALTERNATE (airbench94): a coin per image before epoch 0,
 * then the other way in every odd epoch. The cut's corner is uniform over the places where the
 * square lies inside. */
CM_HD struct nn_augment nn_draw_augment(const struct nn_draw *d, uint32_t epoch, uint32_t row)
{
    struct nn_augment a = {0, 0, 0, 0, 0, 0};
    if (d->flip == NN_FLIP_RANDOM)
        a.flip = (uint8_t)(nn_draw_number(d, epoch, row, NN_DRAW_FLIP) >> 31);
    if (d->flip == NN_FLIP_ALTERNATE)
        a.flip = (uint8_t)((nn_draw_number(d, 0, row, NN_DRAW_FLIP) >> 31) ^ (epoch & 1));
    if (d->crop_pad > 0) {
        uint32_t places = (uint32_t)(2 * d->crop_pad + 1);
        uint32_t dy = cm_rng_below(nn_draw_number(d, epoch, row, NN_DRAW_DY), places);
        uint32_t dx = cm_rng_below(nn_draw_number(d, epoch, row, NN_DRAW_DX), places);
        a.dy = (int8_t)((int)dy - d->crop_pad);
        a.dx = (int8_t)((int)dx - d->crop_pad);
    }
    if (d->cutout > 0) {
        int cut = d->cutout < d->side ? d->cutout : d->side;
        uint32_t places = (uint32_t)(d->side - cut + 1);
        a.cut_n = (uint8_t)cut;
        a.cut_y = (int16_t)cm_rng_below(nn_draw_number(d, epoch, row, NN_DRAW_CUT_Y), places);
        a.cut_x = (int16_t)cm_rng_below(nn_draw_number(d, epoch, row, NN_DRAW_CUT_X), places);
    }
    return a;
}

#endif
