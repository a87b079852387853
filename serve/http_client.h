/* As much of an HTTP/1.1 client as a load test needs: POSTs over one connection that is kept. */
#ifndef SERVE_HTTP_CLIENT_H
#define SERVE_HTTP_CLIENT_H

#include <stddef.h>

#include "common/clock.h"
#include "common/status.h"

struct sv_http_client; /* one thread at a time */
/* Connects on first use, and anew after a failure. host is an address or a name, borrowed. */
CM_MUST_CHECK
cm_status sv_http_client_open(struct sv_http_client **out, const char *host, int port);
void sv_http_client_close(struct sv_http_client **c); /* NULL is fine */

/* *code: of the answer. Its body, NUL-terminated, is borrowed until the next call. */
CM_MUST_CHECK
cm_status sv_http_client_post(struct sv_http_client *c, const char *path, const char *content_type,
                              const void *body, size_t n, struct cm_deadline deadline, int *code,
                              const char **answer);

#endif
