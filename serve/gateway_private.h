/* What the gateway's own files share; nobody else includes this. All of it belongs to the gateway's
 * thread, but for the mailbox, which HTTP threads and the follower put into. */
#ifndef SERVE_GATEWAY_PRIVATE_H
#define SERVE_GATEWAY_PRIVATE_H

#include "common/events.h"
#include "common/http.h"
#include "common/socket.h"
#include "serve/batcher.h"
#include "serve/captures.h"
#include "serve/endpoints.h"
#include "serve/follower.h"
#include "serve/gateway.h"
#include "serve/gateway_metrics.h"
#include "serve/http_route.h"
#include "serve/mailbox.h"
#include "serve/rollout.h"
#include "wire/frame.h"
#include "wire/worker.h"

#define SV_ROUTE_NBYTES 255 /* longest routing id of ZeroMQ */
#define SV_MAX_TRIES    3   /* a request that so many workers died of or failed with is no good */

struct sv_route_id {
    uint8_t n;
    uint8_t byte[SV_ROUTE_NBYTES];
};

enum sv_letter_kind { SV_LETTER_CALL, SV_LETTER_NEWS };

/* An HTTP request on its way through the gateway; its image lies in the request. */
struct sv_call {
    struct sv_letter letter;
    struct cm_http_request *request;
    struct sv_target target;
    struct wi_image image;
    bool plain; /* the answer is to be the bare class */
    uint16_t top_k;
    int64_t timeout_ms; /* 0: the default */
};

/* What lies in a slot of the batcher. */
struct sv_request {
    struct cm_message message; /* ZeroMQ: holds the image */
    struct sv_route_id route;  /* where it came from last */
    struct sv_call *call;      /* HTTP; NULL: ZeroMQ */
    struct wi_image image;     /* borrowed from message or call */
    uint16_t top_k;
    uint64_t batch; /* number of the batch that it travels in */
    int64_t sent_ns;
    struct wi_header reply; /* of a DONE one, to be sent again */
    struct wi_buffer reply_body;
};

struct sv_batch {
    uint64_t number; /* 0: none, the worker is free */
    struct wi_id id;
    struct sv_version version;
    int *slots; /* (max_batch) */
    int n;
    int64_t sent_ns;
    bool abandoned; /* its requests went elsewhere; the answer will be dropped */
};

struct sv_backend { /* a worker, as the gateway sees it; the index is the rollout's */
    bool used;
    struct sv_route_id route;
    struct wi_id id;
    struct wi_worker self;
    int64_t heard_ns, beat_ns;
    struct sv_batch batch;
};

/* Why a worker could not read a version that it was asked for. */
struct sv_unread {
    struct sv_version version;
    char why[512];
};

enum sv_phase { SV_RUNNING, SV_NOTICE, SV_DRAINING };

struct sv_gateway {
    const struct sv_gateway_config *cfg;
    const struct sv_config *serve;
    struct cm_uuid life, secret; /* secret: told to nobody */
    int64_t started_ns;
    struct sv_endpoints endpoints;
    int lock_fd;

    struct cm_socket_ctx *ctx;
    struct cm_socket *clients, *workers, *announce;
    struct cm_http *http;
    int max_descriptors;
    int64_t crowd_end_ns, crowd_told_ns; /* 0: the port of clients is open; nothing was told */
    struct sv_mailbox mailbox;
    struct sv_follower *follower;
    struct sv_captures *captures; /* NULL: off */
    struct cm_events *events;
    struct sv_metrics metrics;

    struct sv_batcher *batcher;
    struct sv_request *requests; /* by slot */
    size_t remembered_nbytes;    /* of all reply bodies */
    size_t max_body_nbytes;
    double image_ns; /* running mean of a worker's time per image; 0: unknown */

    struct sv_rollout rollout;
    struct sv_backend backends[SV_WORKERS_MAX];
    struct sv_card *serving, *candidate; /* of the rollout's versions */
    int64_t aimed_ns, switching_ns;      /* 0: not switching */
    bool told_stalled;                   /* of the candidate */
    int64_t retry_ns, retry_pause_ns;    /* what was put off; 0: nothing is */
    struct sv_unread unread[2];          /* of what serves and the candidate, in any order */
    char fault[576];                     /* of the version that another shall stand in for */
    uint64_t batch_number;
    struct wi_buffer batch_body;
    int64_t tended_ns; /* when the workers were looked at last */

    enum sv_phase phase;
    struct cm_deadline phase_end;
    bool done;
};

/* ---- gateway_clients.c: requests come in, replies go out ---- */

/* A message; the image of a request that is admitted is moved out of it. */
void sv_clients_take(struct sv_gateway *g, struct cm_message *m);
/* Queues an HTTP request, or answers it at once. Takes the call. */
void sv_clients_call(struct sv_gateway *g, struct sv_call *call);
/* Ends the request in a slot (QUEUED or SENT) with the status, version, times and body of h. */
void sv_clients_reply(struct sv_gateway *g, int slot, struct wi_header h, const void *body);
/* The same with a text for a person. */
void sv_clients_fail(struct sv_gateway *g, int slot, enum wi_status status, const char *text);
void sv_clients_expire(struct sv_gateway *g, int64_t now_ns);
void sv_clients_end_all(struct sv_gateway *g, enum wi_status status, const char *text);

/* ---- gateway_crowd.c ---- */

/* CM_ECONFIG: this process may not open as many descriptors as the config asks for. */
cm_status sv_crowd_open(struct sv_gateway *g);
/* Cuts the links of clients over ZeroMQ when descriptors run short. */
void sv_crowd_tend(struct sv_gateway *g, int64_t now_ns);

/* ---- gateway_http.c ---- */

/* cm_http's handler; ctx is the gateway. On a server thread: touches mailbox and metrics only. */
void sv_http_handle(void *ctx, struct cm_http_request *request);
/* Answers what is no prediction, or hands it to sv_clients_call. Takes the call. */
void sv_http_take(struct sv_gateway *g, struct sv_call *call);

/* ---- gateway_workers.c: batches go out, answers come in ---- */

cm_status sv_workers_open(struct sv_gateway *g);
void sv_workers_close(struct sv_gateway *g);
void sv_workers_take(struct sv_gateway *g, struct cm_message *m);
/* Heartbeats, deaths, batches. */
void sv_workers_tend(struct sv_gateway *g, int64_t now_ns);
void sv_workers_dispatch(struct sv_gateway *g, int64_t now_ns);
bool sv_workers_any_free(const struct sv_gateway *g);
bool sv_workers_any_busy(const struct sv_gateway *g);
/* Requests of every batch under way go back to the queue, if a worker that has the candidate is
 * idle. */
void sv_workers_abandon(struct sv_gateway *g);
/* False: it is gone. body may be NULL. */
bool sv_workers_send(struct sv_gateway *g, int w, const struct wi_header *h, const void *body);
void sv_workers_beat_all(struct sv_gateway *g);

/* ---- gateway_versions.c: which version answers ---- */

/* Takes the news. */
void sv_versions_news(struct sv_gateway *g, struct sv_news *news);
/* passing: the worker could not read it. */
void sv_versions_refused(struct sv_gateway *g, int w, struct sv_version v, bool passing,
                         const char *why);
/* Asks workers to load, switches when it is time. */
void sv_versions_advance(struct sv_gateway *g, int64_t now_ns);
/* No batch may leave: the old version's are awaited. */
bool sv_versions_is_switching(const struct sv_gateway *g);

#endif
