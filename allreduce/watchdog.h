/* The watchdog: one thread per rank that sends the rank's heartbeats, keeps those of the others,
 * and holds the deadline of every collective. When it passes, the watchdog shows in one screen who
 * is missing, tells the others and ends the process: it needs nobody's help for that, neither the
 * reducer's (which may be stuck inside a library) nor the launcher's. A rank that hears of
 * another's leaving leaves at once.
 *
 * Time in which this process did not run (a suspended job) does not count against anybody. Internal
 * to allreduce. */
#ifndef ALLREDUCE_WATCHDOG_H
#define ALLREDUCE_WATCHDOG_H

#include <stdint.h>

#include "allreduce/place.h"
#include "common/status.h"

struct ar_watch; /* functions below: any thread, unless said otherwise; a NULL watch is ignored by
                    all but open */

/* Binds a UDP socket and says where it is. */
CM_MUST_CHECK cm_status ar_watch_open(struct ar_watch **out, struct ar_place *here);

struct ar_watch_config {
    const struct ar_place *places; /* of all ranks; copied */
    int rank, size;
    uint64_t key; /* of the job: heartbeats of others are ignored */
    int64_t heartbeat_ms, timeout_ms;
};
CM_MUST_CHECK cm_status ar_watch_start(struct ar_watch *w, const struct ar_watch_config *cfg);
/* Joins the thread. Sets *w to NULL. */
void ar_watch_close(struct ar_watch **w);

/* Around each collective, on the reducer thread; doing is static text ("summing gradients"). */
void ar_watch_enter(struct ar_watch *w, const char *doing);
void ar_watch_leave(struct ar_watch *w);
/* What this rank is at; phase is static text. */
void ar_watch_phase(struct ar_watch *w, const char *phase, int64_t step);

/* Tells the others that this rank leaves, and why. Does not wait. */
void ar_watch_last_words(struct ar_watch *w, const char *why);

#endif
