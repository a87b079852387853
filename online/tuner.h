/* Fine-tuning on one batch: an engine of the trainer over one block of images, [feedback | the
 * replay of every epoch], which is opened for the batch and closed after it, so that nothing of one
 * batch reaches the next but the champion's weights. Collective; one thread at a time. */
#ifndef ONLINE_TUNER_H
#define ONLINE_TUNER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "online/feedback_batch.h"
#include "online/online_config.h"
#include "online/replay.h"
#include "trainer/engine.h"
#include "trainer/session.h"

struct ol_tuner {
    struct tr_train_config train; /* of this batch */
    struct tr_engine *engine;
    struct tr_order order; /* of an epoch's images */
    uint32_t nrows;        /* of images and labels */
    uint32_t nfeedback;
    uint8_t *images; /* (nfeedback + epochs * replay, H, W, C) */
    int32_t *labels;
    int64_t steps; /* to do */
};

/* Opens the engine for b (nimages > 0) and starts it from these weights (layout->ntotal). Borrows s
 * and, for the call, the rest. */
CM_MUST_CHECK
cm_status ol_tuner_open(struct ol_tuner *t, const struct tr_session *s, const struct ol_config *cfg,
                        const struct ol_replay *replay, const struct ol_batch *b,
                        const float *weights);
void ol_tuner_close(struct ol_tuner *t); /* zeroed is fine */

/* Trains to the end: the candidate is tr_engine_weights. *finite false: a loss or gradient was not,
 * on all ranks. stop is asked before each step; when any rank's says so, all leave after the same
 * step with CM_EPREEMPTED. */
CM_MUST_CHECK
cm_status ol_tuner_run(struct ol_tuner *t, bool (*stop)(void), bool *finite);

#endif
