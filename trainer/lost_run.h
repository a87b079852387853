/* The run directory of a run with several ranks: at the start, whether all of them see the same
 * one; at a bad end, RUN/summary.json with the culprit first, and an event. */
#ifndef TRAINER_LOST_RUN_H
#define TRAINER_LOST_RUN_H

#include "allreduce/group.h"
#include "common/file.h"
#include "common/status.h"

struct tr_loss { /* read-only once armed, so any thread */
    char run_dir[CM_PATH];
    int64_t generation; /* of the lease: a later one's summary is not ours to replace */
    int rank, size;
};

/* Collective, when rank 0 holds the lease of run_dir. CM_EMISMATCH: a rank does not see what rank 0
 * has written there. From now on a loss is written down; self lives as long as the group. */
CM_MUST_CHECK cm_status tr_loss_arm(struct tr_loss *self, struct ar_group *g, const char *run_dir);

/* An ar_loss_fn; arg is the struct tr_loss. Also for a rank alone. */
void tr_loss_write(const struct ar_loss *loss, void *arg);

#endif
