/* After a commit: streams are trimmed up to its offsets, and a consumer group shows the lag. Only
 * in the Redis that the state speaks of: ids of another one's entries may lie below our offsets
 * though nobody read them. One thread at a time. */
#ifndef ONLINE_STREAM_TRIM_H
#define ONLINE_STREAM_TRIM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/clock.h"
#include "common/events.h"
#include "common/redis.h"
#include "common/status.h"
#include "online/online_state.h"

struct ol_trim { /* zeroed */
    /* Stream of the ledger to begin with: no look at all of them fits every deadline. */
    size_t next;
};
/* As many streams as the deadline allows; *all: none is left over. trim false: the group only. A
 * Redis or a stream that is not the one we know is left as it is, with a warning and an event. */
CM_MUST_CHECK
cm_status ol_trim(struct ol_trim *t, struct cm_redis *redis, const char *owner,
                  const struct ol_state *state, bool trim, struct cm_deadline deadline,
                  struct cm_events *events, bool *all);

#endif
