/* The learning rate as a function of the step: pure, so a resume needs no state (plateau's factor,
 * which depends on what the holdout said, is the caller's). */
#ifndef TRAINER_SCHEDULE_H
#define TRAINER_SCHEDULE_H

#include <stdint.h>

#include "trainer/train_config.h"

/* Factor on the base rate at step (0-based) of total, with steps_per_epoch steps to an epoch.
 *   constant 1; step gamma^floor(e / step_epochs); time 1 / (1 + k e); exponential gamma^floor(e);
 *   cosine final + (1 - final)(1 + cos(pi t)) / 2; linear 1 - t (1 - final); plateau 1
 * where e counts epochs and t runs from 0 to 1 over the steps behind the warm-up. The warm-up goes
 * linearly from warmup_from to 1 and takes the place of the schedule. */
double tr_schedule_factor(const struct tr_train_config *cfg, int64_t step, int64_t total,
                          double steps_per_epoch);

/* Falls when the holdout loss has not become better for `patience` evaluations. State goes into
 * checkpoints. */
struct tr_plateau {
    double factor, best;
    int64_t bad;
};
void tr_plateau_init(struct tr_plateau *p);
void tr_plateau_observe(struct tr_plateau *p, const struct tr_train_config *cfg,
                        double holdout_loss);

#endif
