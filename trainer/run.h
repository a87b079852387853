/* flywheel train on one rank: the loop around the engine. Resumes, evaluates, saves, stops when
 * told. */
#ifndef TRAINER_RUN_H
#define TRAINER_RUN_H

#include <stdbool.h>

#include "common/args.h"
#include "common/status.h"
#include "trainer/session.h"

struct tr_run_options {
    struct tr_session_options session;
    const char *resume; /* "auto": the newest valid version if there is one; "never"; or a version:
                           "v000012", an alias */
    bool steal_lease;
    bool quiet;                        /* no progress line */
    const struct cm_opt_list *injects; /* faults on purpose (inject.h) */
};

/* Runs to the end of the config's epochs, or until a stop is agreed: CM_EPREEMPTED when SIGUSR1 (or
 * TERM, for a single process) came, after everything was saved. A rank that fails while others may
 * be waiting leaves the job by ar_group_abort, so on several ranks most failures do not return. */
CM_MUST_CHECK cm_status tr_run(const struct tr_run_options *options);

#endif
