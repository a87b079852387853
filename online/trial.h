/* A batch's trial, on all ranks: the champion answers the holdout and the feedback, a candidate is
 * trained, answers the same, and the gate judges. A function of the batch, the champion, the anchor
 * and the config: every rank comes to the same verdict. Collective; one thread at a time. */
#ifndef ONLINE_TRIAL_H
#define ONLINE_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "online/dedup.h"
#include "online/feedback_batch.h"
#include "online/gate.h"
#include "online/online_config.h"
#include "online/replay.h"
#include "online/tuner.h"
#include "parameter/manifest.h"
#include "trainer/evaluate.h"
#include "trainer/session.h"

struct ol_trial {
    const struct tr_session *session; /* borrowed, as cfg */
    const struct ol_config *cfg;
    struct tr_evaluator *evaluator;
    struct ol_replay replay;
    float *champion; /* (layout->ntotal): set by the caller on all ranks before run */
    float *moved;    /* scratch, as large */
    int32_t *label, *by_champion, *by_candidate; /* (n_holdout) */
    /* (n_holdout) what the best champion so far said: set by the caller on all ranks before answer,
     * which puts the champion's own answers there when they are better, or when anchored is false
     */
    int32_t *by_anchor;
    bool anchored;
    struct ol_dedup held_out; /* ol_image_hash of the holdout's images */
    uint64_t holdout;         /* hash of those and the labels */

    /* of the last run */
    int32_t *feedback;     /* (nimages) what the champion said, before training */
    struct ol_tuner tuner; /* open while there is a candidate */
    struct ol_gate_verdict verdict;
};

CM_MUST_CHECK
cm_status ol_trial_open(struct ol_trial *t, const struct tr_session *s,
                        const struct ol_config *cfg);
void ol_trial_close(struct ol_trial *t); /* zeroed is fine */

/* Warns when the version of this manifest was trained on images that judge here, as its config
 * tells: it would look better on them than it is, and no candidate would do as well. */
void ol_trial_check_champion(const struct ol_trial *t, const struct ps_manifest *m);

/* The champion's part: by_champion, by_anchor and feedback. */
CM_MUST_CHECK
cm_status ol_trial_answer(struct ol_trial *t, const struct ol_batch *b);
/* The candidate's, after it: ends with a verdict, or with CM_EPREEMPTED when a rank was told to
 * stop. */
CM_MUST_CHECK
cm_status ol_trial_run(struct ol_trial *t, const struct ol_batch *b, bool (*stop)(void));
/* The candidate's weights; NULL when the trial ended without one. Until ol_trial_end. */
const float *ol_trial_candidate(const struct ol_trial *t);
void ol_trial_end(struct ol_trial *t);

#endif
