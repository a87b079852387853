/* HTTP/1.1 server: the only file with microhttpd.h behind it is http.c. Requests are read whole
 * within limits, handed to one handler, and may be answered later from any thread: a suspended
 * request holds no thread. */
#ifndef COMMON_HTTP_H
#define COMMON_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "common/metrics.h"
#include "common/status.h"

struct cm_http;         /* a server */
struct cm_http_request; /* valid from the handler's call until cm_http_answer */

struct cm_http_config {
    const char *host; /* "127.0.0.1" */
    int port;         /* 0: a free one */
    int threads;
    /* More is answered 413: at once when Content-Length says so, else when the body ends; what lies
     * beyond the limit is thrown away, and a client that goes on past 5 times the limit loses its
     * connection. */
    size_t max_body_nbytes;
    /* Of requests that are not answered yet, together: what does not fit is answered 503. 0: no
     * limit; else >= max_body_nbytes. */
    size_t max_bodies_nbytes;
    /* >= threads. A few more are let in to be told 503 at once; there a GET, as for health, is
     * still answered. While there are such, who asks nothing for 3 s is cut (cm_http_tend). */
    int max_connections;
    /* Of an idle connection, for a request's head to come, and for an answer to be taken
     * (cm_http_tend). */
    int timeout_s;
    int read_ms; /* from a request's head to the end of its body (cm_http_tend); 0: no limit */
    struct cm_metric *refused; /* counts what the server refuses itself; may be NULL */
    /* Runs on a server thread; must not block. Answers now or keeps the request for a later
     * cm_http_answer (exactly one). Not called for requests that the server itself refuses (413,
     * 503, 400: also one whose body could end at several places). */
    void (*handler)(void *ctx, struct cm_http_request *request);
    void *ctx;
};

/* CM_EBUSY names host and port when the port is taken. */
CM_MUST_CHECK cm_status cm_http_open(struct cm_http **out, const struct cm_http_config *cfg);
int cm_http_port(const struct cm_http *server);
/* How many descriptors a server with so many connections may need for them. */
int cm_http_descriptors(int max_connections);
/* Cuts connections whose request takes too long to come, or whose answer to go, however lively they
 * drip. Call it a few times a second, on one thread. */
void cm_http_tend(struct cm_http *server);
/* Stops accepting; existing connections go on, and end with their next answer. Again is fine; by
 * one thread. */
void cm_http_quiesce(struct cm_http *server);
/* Every request must have been answered. Waits up to 3 s until the answers are sent: after
 * cm_http_quiesce, nothing that was asked is lost. */
void cm_http_close(struct cm_http **server);

const char *cm_http_method(const struct cm_http_request *request); /* "GET" */
const char *cm_http_path(const struct cm_http_request *request); /* "/predict", without the query */
const char *cm_http_header(const struct cm_http_request *request,
                           const char *name); /* NULL: absent */
const char *cm_http_query(const struct cm_http_request *request,
                          const char *name); /* NULL: absent */
/* The body as it came; never NULL. */
const void *cm_http_body(const struct cm_http_request *request, size_t *n);
/* For multipart/form-data the content of the named field, wherever it stands; NULL when there is
 * none. */
const void *cm_http_field(const struct cm_http_request *request, const char *name, size_t *n);

/* Any thread. Copies body; request and all that was borrowed from it are gone afterwards.
 * retry_after_s > 0 adds Retry-After. */
void cm_http_answer(struct cm_http_request *request, int code, const char *content_type,
                    const void *body, size_t n, int retry_after_s);

#endif
