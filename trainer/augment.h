/* How a training image is shown in an epoch: a pure function of (seed, epoch, sample), so a resume,
 * another rank count or another thread sees the same picture. */
#ifndef TRAINER_AUGMENT_H
#define TRAINER_AUGMENT_H

#include "model/op.h"
#include "trainer/train_config.h"

/* side: height and width of the image. flip "alternate" (airbench94): a coin per sample before
 * epoch 0, then the other way in every odd epoch. crop_pad p: offset uniform in {-p … p}^2. cutout:
 * upper left corner uniform over the places where the square lies inside. */
struct nn_augment tr_augment(const struct tr_train_config *cfg, uint32_t epoch, uint32_t sample,
                             int side);

#endif
