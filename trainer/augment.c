#include "trainer/augment.h"

#include "common/rng.h"

/* Numbers of a sample's stream in an epoch. */
enum { DRAW_FLIP, DRAW_DY, DRAW_DX, DRAW_CUT_Y, DRAW_CUT_X };

static uint32_t draw(const struct tr_train_config *cfg, uint32_t epoch, uint32_t sample, uint32_t i)
{
    return cm_rng_u32((uint64_t)cfg->seed, CM_RNG_AUGMENT, epoch, sample, i);
}

static uint8_t draw_flip(const struct tr_train_config *cfg, uint32_t epoch, uint32_t sample)
{
    switch ((enum tr_flip)cfg->flip) {
    case TR_FLIP_RANDOM:
        return (uint8_t)(draw(cfg, epoch, sample, DRAW_FLIP) >> 31);
    case TR_FLIP_ALTERNATE:
        return (uint8_t)((draw(cfg, 0, sample, DRAW_FLIP) >> 31) ^ (epoch & 1));
    case TR_FLIP_NONE:
        break;
    }
    return 0;
}

struct nn_augment tr_augment(const struct tr_train_config *cfg, uint32_t epoch, uint32_t sample,
                             int side)
{
    struct nn_augment a = {.flip = draw_flip(cfg, epoch, sample)};
    if (cfg->crop_pad > 0) {
        int pad = (int)cfg->crop_pad;
        uint32_t places = (uint32_t)(2 * pad + 1);
        a.dy = (int8_t)((int)cm_rng_below(draw(cfg, epoch, sample, DRAW_DY), places) - pad);
        a.dx = (int8_t)((int)cm_rng_below(draw(cfg, epoch, sample, DRAW_DX), places) - pad);
    }
    if (cfg->cutout > 0) {
        int cut = cfg->cutout < side ? (int)cfg->cutout : side;
        uint32_t places = (uint32_t)(side - cut + 1);
        a.cut_n = (uint8_t)cut;
        a.cut_y = (int16_t)cm_rng_below(draw(cfg, epoch, sample, DRAW_CUT_Y), places);
        a.cut_x = (int16_t)cm_rng_below(draw(cfg, epoch, sample, DRAW_CUT_X), places);
    }
    return a;
}
