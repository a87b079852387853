/* Faults on purpose (`flywheel train --inject`), to rehearse what a cluster does with them. */
#ifndef TRAINER_INJECT_H
#define TRAINER_INJECT_H

#include "allreduce/group.h"
#include "common/args.h"
#include "common/status.h"

/* Collective, before anything that faults are for. Each is a fault point as common/file.h has them,
 * "train.step=kill@50"; behind "2:" it is rank 2's alone. They join those of FLYWHEEL_INJECT.
 * CM_EUSAGE, on all ranks: one of them is no such text, or its rank is not there. */
CM_MUST_CHECK cm_status tr_inject(struct ar_group *g, const struct cm_opt_list *faults);

#endif
