/* Keeps answers in Redis for a while (wire/capture.h), on a thread of its own behind a bounded
 * queue: when Redis is slow or down, captures are dropped and counted, and serving goes on. */
#ifndef SERVE_CAPTURES_H
#define SERVE_CAPTURES_H

#include <stdint.h>

#include "common/metrics.h"
#include "common/status.h"
#include "wire/capture.h"
#include "wire/id.h"

struct sv_captures_config {
    const char *redis;
    const char *user, *password; /* NULL: none */
    double ttl_s;
    int queue;         /* captures that may wait … */
    size_t max_nbytes; /* … and their bytes */
    /* Of all captures that Redis keeps at a time, with what it needs beside; what comes beyond is
     * dropped: feedback lies there, too. A new gateway begins anew. */
    size_t kept_nbytes;
    struct cm_metric *written, *dropped;
};

struct sv_captures; /* put by one thread */
/* Copies cfg's texts. Redis need not be there. CM_EINVAL: its address is none. */
CM_MUST_CHECK
cm_status sv_captures_start(struct sv_captures **out, const struct sv_captures_config *cfg);
/* Copies all; never waits for Redis. An image that is larger than feedback may be (8 MiB) is
 * dropped as well: Redis would refuse it, and cut the connection. */
void sv_captures_put(struct sv_captures *c, struct wi_id prediction_id,
                     const struct wi_capture *capture);
/* Writes what waits, for at most ms, and ends. NULL is fine. */
void sv_captures_stop(struct sv_captures **c, int ms);

#endif
