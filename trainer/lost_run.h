/* The bad end of a run: its summary with the culprit first, and an event. And the start, where
 * ranks look whether all see the same run directory, and how the run before ended. Training and the
 * loop hold a run directory in turn, each with a summary of its own: a loop's end says nothing of
 * what the training reached. */
#ifndef TRAINER_LOST_RUN_H
#define TRAINER_LOST_RUN_H

#include "allreduce/group.h"
#include "common/file.h"
#include "common/status.h"
#include "parameter/lease.h"

#define TR_SUMMARY      "summary.json" /* in the run directory */
#define TR_LOOP_SUMMARY "online/summary.json"

struct tr_loss {         /* read-only once armed, so any thread */
    const char *summary; /* one of the two */
    char run_dir[CM_PATH];
    int64_t generation; /* of the lease: a later one's summary is not ours to replace */
    int rank, size;
};

/* Collective, when rank 0 holds the lease of run_dir. CM_EMISMATCH: a rank does not see what rank 0
 * has written there. From now on a loss is written down; self lives as long as the group. */
CM_MUST_CHECK cm_status tr_loss_arm(struct tr_loss *self, struct ar_group *g, const char *run_dir,
                                    const char *summary);

/* An ar_loss_fn; arg is the struct tr_loss. */
void tr_loss_write(const struct ar_loss *loss, void *arg);
/* The same for an end that no group tells of: a rank without peers, or the one that tells for all
 * (status.h). Why is the record's. */
void tr_loss_write_here(struct tr_loss *self, const char *phase, int64_t step);

/* A run that a signal ended (a fault of its own, the kernel's memory limit, kill -9) could not say
 * so: who takes its lease does, in its own summary. before: the lease's owner until then, of which
 * nothing happens when it has released it, or when one of the summaries tells of its end. */
void tr_loss_write_before(const char *run_dir, const char *summary,
                          const struct ps_lease_owner *before);

#endif
