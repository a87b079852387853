/* Which training images are shown beside a batch of feedback, against forgetting: drawn with
 * replacement by Philox, a pure function of (seed, epoch, number of the draw). */
#ifndef ONLINE_REPLAY_H
#define ONLINE_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct ol_replay {   /* read-only once open */
    uint32_t *rows;  /* owned: of the training part, by class */
    uint32_t *first; /* owned: of each class that has images; nfilled + 1 */
    uint32_t n, nfilled;
    bool balanced;
};

/* rows: n numbers of rows of labels. n > 0. Borrows for the call. */
CM_MUST_CHECK
cm_status ol_replay_init(struct ol_replay *r, const int32_t *labels, const uint32_t *rows,
                         uint32_t n, int nclasses, bool balanced);
void ol_replay_release(struct ol_replay *r); /* zeroed is fine */

/* Row of draw k of an epoch. Balanced: class k mod the number of classes, any of its images. */
uint32_t ol_replay_draw(const struct ol_replay *r, uint64_t seed, uint32_t epoch, uint32_t k);

/* Images of an epoch: nfeedback and at least ratio times as many of replay, filled up to whole
 * steps of batch images, so that every step has the same size. nfeedback > 0. */
uint32_t ol_replay_epoch_size(uint32_t nfeedback, double ratio, uint32_t batch);

#endif
