/* A copy of a run's state in memory of its own: the same parts, so whatever takes a state takes a
 * snapshot's. */
#ifndef TRAINER_SNAPSHOT_H
#define TRAINER_SNAPSHOT_H

#include "common/status.h"
#include "trainer/checkpoint.h"
#include "trainer/train_config.h"

struct tr_snapshot {
    struct tr_state state; /* points into memory of the snapshot; spec and layout are borrowed */
    struct tr_progress progress;
};

/* Room for states like this one. It stays at its place until release: state points into it. */
CM_MUST_CHECK cm_status tr_snapshot_init(struct tr_snapshot *s, const struct tr_train_config *train,
                                         const struct tr_state *like);
void tr_snapshot_release(struct tr_snapshot *s); /* zeroed is fine */
/* Copies; allocates nothing, cannot fail. from: as the one at init. */
void tr_snapshot_take(struct tr_snapshot *s, const struct tr_state *from);

#endif
