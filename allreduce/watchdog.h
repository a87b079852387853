/* The watchdog: one thread per rank that sends the rank's heartbeats, keeps those of the others,
 * and judges every wait.
 *
 *   late      a collective waits longer than late_ms and five times the median of its phase: one
 *             rank, the lowest that waits, shows in one screen who is missing, where, doing what
 *   lost      it waits longer than the deadline, or a rank's host says that its process is gone, or
 *             a rank says that it leaves: the rank that speaks tells whoever asked to be told (a
 *             file, see ar_group_on_loss) and the others, and ends its process; the others end
 *             theirs when they hear it, or speak themselves a moment later
 *
 * It needs nobody's help for that, neither the reducer's (which may be stuck inside a library) nor
 * the launcher's. Time in which this process did not run (a suspended job) does not count against
 * anybody. Internal to allreduce. */
#ifndef ALLREDUCE_WATCHDOG_H
#define ALLREDUCE_WATCHDOG_H

#include <stdint.h>

#include "allreduce/lost_job.h"
#include "allreduce/place.h"
#include "common/status.h"

struct ar_watch; /* any thread, unless said otherwise; a NULL watch is ignored by all but open */

/* Binds a UDP socket and says where it is. */
CM_MUST_CHECK cm_status ar_watch_open(struct ar_watch **out, struct ar_place *here);

struct ar_watch_config {
    const struct ar_place *places; /* of all ranks; copied */
    int rank, size;
    uint64_t key; /* of the job: heartbeats of others are ignored */
    int64_t heartbeat_ms, late_ms, timeout_ms;
};
CM_MUST_CHECK cm_status ar_watch_start(struct ar_watch *w, const struct ar_watch_config *cfg);
/* Joins the thread. Sets *w to NULL. */
void ar_watch_close(struct ar_watch **w);

/* Around each collective, on the reducer thread; doing is static text ("summing gradients"). */
void ar_watch_enter(struct ar_watch *w, const char *doing);
void ar_watch_leave(struct ar_watch *w);
/* The last collective begins: from now on a rank that is gone may have parted as it should. */
void ar_watch_part(struct ar_watch *w);
/* What this rank is at; phase is static text. One thread at a time. */
void ar_watch_phase(struct ar_watch *w, const char *phase, int64_t step);

/* Who is told of a loss, and what each rank does before it leaves; see ar_group_on_loss and
 * ar_group_on_leave. */
void ar_watch_on_loss(struct ar_watch *w, ar_loss_fn fn, void *arg);
void ar_watch_on_leave(struct ar_watch *w, ar_leave_fn fn, void *arg);
/* This rank leaves, and why: tells who asked to be told, then the others, and does what was asked
 * for before it leaves. Returns within two seconds or so. */
void ar_watch_last_words(struct ar_watch *w, const char *why);

#endif
