/* The bodies of HTTP answers. Each function answers the request, which is gone afterwards. */
#ifndef SERVE_HTTP_REPLY_H
#define SERVE_HTTP_REPLY_H

#include <stdbool.h>

#include "common/http.h"
#include "serve/follower.h"
#include "wire/frame.h"

/* {"error": text} */
void sv_http_fail(struct cm_http_request *request, int code, const char *text, int retry_after_s);

/* What a reply of the wire is in HTTP: a prediction, its class alone (plain), or an error. */
void sv_http_reply(struct cm_http_request *request, const struct wi_header *h, const void *body,
                   bool plain);

void sv_http_health(struct cm_http_request *request, const char *what, bool yes, const char *why);
void sv_http_server(struct cm_http_request *request);
/* card: of the version that is served. */
void sv_http_model(struct cm_http_request *request, const struct sv_card *card);

#endif
