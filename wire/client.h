/* The C client: many requests at once over one DEALER socket, exactly one answer for each.
 *
 * What is lost with a broken link or a restarted gateway is sent again, under the same id. That it
 * is lost is known, not guessed from silence, so a slow server is not made slower by doubled
 * requests: every message of the gateway carries a session, a number that it makes of its own life
 * and of the link (its routing id for us). A request that was sent in one session and is unanswered
 * in another is sent again. When nothing is heard for ping_ms while requests are out, a PING asks
 * for the session. Requests wait here until the first one is known. The gateway computes a request
 * once however often it comes, and sends its answer to where it came from last.
 *
 * One thread at a time. */
#ifndef WIRE_CLIENT_H
#define WIRE_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"
#include "wire/frame.h"

struct wi_client;

struct wi_client_config {
    const char *endpoint;    /* "tcp://host:port", "tcp://host:port#KEY" */
    int max_outstanding;     /* 1 .. 1,048,576 */
    int ping_ms;             /* 0: 200 */
    size_t max_reply_nbytes; /* 0: 1 MiB */
};

/* Returns at once; the gateway need not be there yet. */
CM_MUST_CHECK cm_status wi_client_open(struct wi_client **out, const struct wi_client_config *cfg);
void wi_client_close(struct wi_client **c); /* drops what is outstanding; NULL is fine */

struct wi_question {
    struct wi_image image;
    int top_k;      /* classes wanted, most probable first; 0: all */
    int timeout_ms; /* >= 1; over all attempts */
    uint64_t tag;   /* the caller's; comes back with the answer */
};
/* Copies the image; poll sends it. CM_EBUSY when max_outstanding requests are out: poll first.
 * CM_EFORMAT: not an image. id (may be NULL): the request's. */
CM_MUST_CHECK cm_status wi_client_submit(struct wi_client *c, const struct wi_question *q,
                                         struct wi_id *id);

struct wi_answer {
    uint64_t tag;
    struct wi_id id;
    /* CM_OK: the gateway answered, see header.status; CM_ETIMEDOUT: it did not in time, and header
     * and body are empty. */
    cm_status st;
    struct wi_header header;
    const void *body; /* header.body_nbytes; borrowed until the next call with this client */
    int64_t ns;       /* from submit to here */
};
/* Sends, pings and sends again as needed; the next answer in order of arrival. CM_ETIMEDOUT when
 * there is none by the deadline (passed: looks once); CM_ENOTFOUND when nothing is outstanding. */
CM_MUST_CHECK cm_status wi_client_poll(struct wi_client *c, struct wi_answer *out,
                                       struct cm_deadline deadline);

struct wi_client_stats {
    uint64_t submitted, sent; /* requests sent again count again */
    uint64_t answered, timed_out;
    uint64_t
        dropped; /* answers to nothing outstanding: second ones, and those past their deadline */
    uint64_t malformed; /* messages that are none of ours */
    uint64_t sessions;  /* that were seen */
};
struct wi_client_stats wi_client_stats(const struct wi_client *c);
int wi_client_outstanding(const struct wi_client *c);

#endif
