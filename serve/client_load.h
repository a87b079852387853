/* Load for a gateway, and what came back.
 *
 * Closed loop: so many requests are always out; says what the server can do. Open loop: requests
 * come at random moments (Poisson) whatever the server does, and a latency counts from the moment
 * that was planned, so a stall is not hidden by the client's waiting for it. */
#ifndef SERVE_CLIENT_LOAD_H
#define SERVE_CLIENT_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/json.h"
#include "common/status.h"

struct sv_load_target {
    const char *endpoint;  /* ZeroMQ */
    const char *http_host; /* HTTP */
    int http_port;
    const uint8_t *pixels; /* (nimages, nbytes): as the model takes them */
    int nimages;
    size_t nbytes;
    int timeout_ms;
};

struct sv_load_plan {
    double rate;     /* of an open loop, requests per second; 0: closed */
    int outstanding; /* of a closed loop; HTTP: connections, in an open loop too */
    double seconds;
    const atomic_bool *stop;  /* this ends it, not seconds; NULL: seconds do */
    _Atomic int64_t *version; /* of the newest answer, for others to see; NULL: not wanted */
    uint64_t seed;
};

struct sv_load_result {
    int64_t sent, answered, failed, unanswered, twice;
    int64_t changes; /* answers of another version than the answer before */
    double seconds;
    int64_t *latency_ns; /* (answered), ascending; owned */
    size_t capacity;
};
void sv_load_release(struct sv_load_result *r);
/* q in 0 … 1; 0 when nothing was answered. */
double sv_load_quantile_us(const struct sv_load_result *r, double q);

CM_MUST_CHECK
cm_status sv_load_zmq(struct sv_load_result *out, const struct sv_load_target *t,
                      const struct sv_load_plan *plan);
CM_MUST_CHECK
cm_status sv_load_http(struct sv_load_result *out, const struct sv_load_target *t,
                       const struct sv_load_plan *plan);

#endif
