/* A connection to Redis that expects it to be away at times: after a fault it waits longer and
 * longer before the next try, says so at once and then once a minute, and says when it is back. One
 * thread at a time. */
#ifndef ONLINE_REDIS_LINK_H
#define ONLINE_REDIS_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/redis.h"
#include "common/status.h"
#include "online/online_config.h"

struct ol_link {
    struct cm_redis *redis;
    int64_t retry_max_ms;
    uint32_t failures;                  /* in a row */
    int64_t down_ns, retry_ns, told_ns; /* monotonic */
};

CM_MUST_CHECK
cm_status ol_link_open(struct ol_link *link, const struct ol_config *cfg, const char *name);
void ol_link_close(struct ol_link *link); /* zeroed is fine */

/* Milliseconds until the next try may be made; 0: now. */
int ol_link_wait_ms(const struct ol_link *link);
/* After each exchange, with its status. A Redis that is away or cannot do it now is CM_OK, with
 * *up false and a pause begun; what no waiting heals (no permission, no Redis at that address) is
 * returned.
 */
CM_MUST_CHECK
cm_status ol_link_heed(struct ol_link *link, cm_status st, bool *up);

/* For commands of people, which do not wait: a connection with the section's address and login. */
CM_MUST_CHECK
cm_status ol_redis_open(struct cm_redis **out, const struct ol_config *cfg, const char *name);

#endif
