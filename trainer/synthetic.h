/* A data set from nothing, for tests and for trying a cluster without data:
 * "synthetic:CLASSES:N:HxWxC". */
#ifndef TRAINER_SYNTHETIC_H
#define TRAINER_SYNTHETIC_H

#include <stdint.h>

#include "common/status.h"
#include "trainer/dataset.h"

/* N training and max(CLASSES, N / 4) test images; image i has class i mod CLASSES. Each class is a
 * coarse pattern (4 x 4 cells per channel), seen through noise of a size like its own: a linear
 * layer learns it, chance is 1 / CLASSES. Integer arithmetic on Philox: a pure function of spec and
 * seed. CM_ECONFIG shows what a spec looks like. */
CM_MUST_CHECK cm_status tr_synthetic_open(struct tr_dataset *ds, const char *spec, uint64_t seed);

#endif
