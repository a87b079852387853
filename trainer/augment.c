#include "trainer/augment.h"

#include "model/draw.h"

struct nn_augment tr_augment(const struct tr_train_config *cfg, uint32_t epoch, uint32_t sample,
                             int side)
{
    struct nn_draw d = {.seed = (uint64_t)cfg->seed,
                        .flip = (enum nn_flip)cfg->flip,
                        .crop_pad = (int)cfg->crop_pad,
                        .cutout = (int)cfg->cutout,
                        .side = side};
    return nn_draw_augment(&d, epoch, sample);
}
