/* Which training images are held out: pure arithmetic, no I/O. */
#ifndef TRAINER_SPLIT_H
#define TRAINER_SPLIT_H

#include <stdint.h>

#include "common/status.h"

/* Row numbers of a data set's training part, ascending; the two never meet. */
struct tr_split {
    uint32_t *train, *holdout;
    int64_t n_train, n_holdout;
};
void tr_split_release(struct tr_split *s); /* zeroed is fine */

/* hash: (n), of each training image's bytes. Exactly nholdout images are held out: those first in
 * an order that depends on (seed, hash) alone, so another order of the files, or another limit,
 * holds out the same pictures. Images with equal bytes stay together: a group that does not fit any
 * more is passed over. limit: at most so many of the rest are trained on, the first ones; 0: all.
 * CM_ECONFIG when no image is left to train on, or when groups leave a gap. */
CM_MUST_CHECK cm_status tr_split_make(struct tr_split *s, const uint64_t *hash, int64_t n,
                                      int64_t nholdout, int64_t limit, uint64_t seed);

#endif
