/* flywheel online on one rank: reads feedback, logs it, trains on it, judges, commits; for ever.
 *
 *   rank 0   read ─► log b45 ─► dead letters ─► ┐                        ┌► version, alias ─► s45
 *   all                                         └► train ─► answer, judge┘          ─► trim, news
 */
#ifndef ONLINE_ONLINE_RUN_H
#define ONLINE_ONLINE_RUN_H

#include <stdbool.h>

#include "common/status.h"
#include "trainer/session.h"

struct ol_run_options {
    struct tr_session_options session; /* without its `more` */
    bool drain; /* end once nothing is left to read, instead of waiting for more */
    bool steal_lease;
};

/* CM_OK: drained. CM_EPREEMPTED: told to stop; the next start goes on. As in tr_run, a rank that
 * fails while others may be waiting leaves the job by ar_group_abort. */
CM_MUST_CHECK
cm_status ol_run(const struct ol_run_options *options);
/* Validates and prints the resolved config. */
CM_MUST_CHECK
cm_status ol_run_check(const struct ol_run_options *options);

#endif
