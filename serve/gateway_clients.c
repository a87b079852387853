/* Requests come in, replies go out. A request is admitted once however often it comes, and has
 * exactly one outcome: a result, or a status that says why there is none. */
#include "serve/gateway_private.h"

#include <string.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "serve/http_reply.h"
#include "wire/classes.h"

#define REPLY_NBYTES      8192 /* of a body that is remembered; a larger one is computed again */
#define REMEMBERED_NBYTES ((size_t)32 << 20)  /* of all of them; the oldest give way */
#define START_NS          INT64_C(3000000000) /* until then the first version may be on its way */
#define RETRY_US          100000              /* advice while the pace is unknown */

/* ---- ZeroMQ ---- */

/* Names this life of the gateway and the link, so that a client knows what was lost, but not which
 * routing id it has: libzmq counts them, and a peer that claims the next one ends the process.
 * Never 0. */
static uint64_t session_of(const struct sv_gateway *g, const struct sv_route_id *route)
{
    uint8_t both[sizeof g->secret.byte + SV_ROUTE_NBYTES];
    memcpy(both, g->secret.byte, sizeof g->secret.byte);
    memcpy(both + sizeof g->secret.byte, route->byte, route->n);
    return cm_xxh64(both, sizeof g->secret.byte + route->n) | 1;
}

static void send_client(struct sv_gateway *g, const struct sv_route_id *route, struct wi_header h,
                        const void *body)
{
    uint8_t header[WI_HEADER_NBYTES];
    struct cm_message m = {.nframes = h.body_nbytes ? 3 : 2};
    h.session = session_of(g, route);
    wi_header_encode(header, &h);
    m.frame[0].data = route->byte;
    m.frame[0].n = route->n;
    m.frame[1].data = header;
    m.frame[1].n = sizeof header;
    m.frame[2].data = body;
    m.frame[2].n = h.body_nbytes;
    if (cm_socket_send(g->clients, &m, cm_deadline_in_ms(0)) != CM_OK)
        cm_metric_add(g->metrics.lost_replies, 1);
}

/* An answer to what never got a slot. */
static void turn_away(struct sv_gateway *g, const struct sv_route_id *route, struct wi_id id,
                      enum wi_status status, uint32_t retry_us, const char *text)
{
    struct wi_header h = {.type = WI_REPLY,
                          .id = id,
                          .status = (uint16_t)status,
                          .retry_us = retry_us,
                          .body = WI_BODY_TEXT,
                          .body_nbytes = (uint32_t)strlen(text)};
    cm_metric_add(g->metrics.answers[SV_ZMQ][status], 1);
    send_client(g, route, h, text);
}

/* ---- the end of a request ---- */

static void observe(struct sv_gateway *g, int slot, unsigned status)
{
    const struct sv_request *r = &g->requests[slot];
    enum sv_transport transport = r->call ? SV_HTTP : SV_ZMQ;
    int64_t arrived_ns = sv_batcher_arrived_ns(g->batcher, slot);
    cm_metric_add(g->metrics.answers[transport][status < SV_STATUSES ? status : WI_FAILED], 1);
    cm_metric_observe(g->metrics.request_s[transport], (double)(cm_now_ns() - arrived_ns) * 1e-9);
    if (status == WI_OK)
        cm_metric_observe(g->metrics.queue_s, (double)(r->sent_ns - arrived_ns) * 1e-9);
}

static void capture(struct sv_gateway *g, const struct sv_request *r, const struct wi_header *h,
                    const void *body)
{
    struct wi_capture c = {.image = r->image,
                           .version = h->version,
                           .manifest_hash = h->manifest_hash,
                           .utc_s = wi_prediction_utc(h->prediction_id),
                           .classes = body,
                           .nclasses = h->body_nbytes};
    if (g->captures && h->status == WI_OK)
        sv_captures_put(g->captures, h->prediction_id, &c);
}

/* The slot's remembered reply, if it has one, is gone. */
static void forget_reply(struct sv_gateway *g, struct sv_request *r)
{
    g->remembered_nbytes -= r->reply_body.capacity;
    wi_buffer_release(&r->reply_body);
}

static bool remember(struct sv_gateway *g, struct sv_request *r, const struct wi_header *h,
                     const void *body)
{
    uint8_t *p;
    r->reply = *h;
    if (h->body_nbytes > REPLY_NBYTES ||
        wi_buffer_grow(&r->reply_body, &p, h->body_nbytes) != CM_OK)
        return false;
    if (h->body_nbytes)
        memcpy(p, body, h->body_nbytes);
    g->remembered_nbytes += r->reply_body.capacity;
    for (int i; g->remembered_nbytes > REMEMBERED_NBYTES &&
                (i = sv_batcher_oldest_done(g->batcher)) != SV_NONE;) {
        forget_reply(g, &g->requests[i]);
        sv_batcher_forget(g->batcher, i);
    }
    return true;
}

/* Another version answers than the one that was asked for by number: this is no answer. */
static bool is_replaced(const struct sv_request *r, const struct wi_header *h)
{
    return r->call && h->status == WI_OK && r->call->target.version &&
           r->call->target.version != h->version;
}

static void answer_call(struct sv_request *r, const struct wi_header *h, const void *body)
{
    struct sv_call *call = r->call;
    if (is_replaced(r, h))
        sv_http_fail(call->request, 404, "this version has just been replaced", 0);
    else
        sv_http_reply(call->request, h, body, call->plain);
    cm_free(&r->call);
}

void sv_clients_reply(struct sv_gateway *g, int slot, struct wi_header h, const void *body)
{
    struct sv_request *r = &g->requests[slot];
    int64_t waited_us = (r->sent_ns - sv_batcher_arrived_ns(g->batcher, slot)) / 1000;
    bool kept = false;
    h.type = WI_REPLY;
    h.id = sv_batcher_id(g->batcher, slot);
    if (h.status == WI_OK) {
        h.prediction_id = wi_prediction_id(cm_utc_now(), cm_uuid_make());
        h.queue_us = waited_us < UINT32_MAX ? (uint32_t)waited_us : UINT32_MAX;
    }
    observe(g, slot, is_replaced(r, &h) ? WI_UNSUPPORTED : h.status);
    if (!is_replaced(r, &h))
        capture(g, r, &h, body);
    if (r->call) {
        answer_call(r, &h, body);
    } else {
        send_client(g, &r->route, h, body);
        kept = remember(g, r, &h, body);
    }
    cm_message_release(&r->message);
    sv_batcher_end(g->batcher, slot, kept);
}

void sv_clients_fail(struct sv_gateway *g, int slot, enum wi_status status, const char *text)
{
    struct wi_header h = {
        .status = (uint16_t)status, .body = WI_BODY_TEXT, .body_nbytes = (uint32_t)strlen(text)};
    sv_clients_reply(g, slot, h, text);
}

void sv_clients_expire(struct sv_gateway *g, int64_t now_ns)
{
    for (int slot; (slot = sv_batcher_expired(g->batcher, now_ns)) != SV_NONE;) {
        if (sv_rollout_is_ready(&g->rollout))
            sv_clients_fail(g, slot, WI_TIMED_OUT,
                            "the deadline passed before an answer was there");
        else
            sv_clients_fail(g, slot, WI_NOT_READY, "no worker has a model ready");
    }
}

void sv_clients_end_all(struct sv_gateway *g, enum wi_status status, const char *text)
{
    for (int slot = 0; slot < sv_batcher_nslots(g->batcher); slot++) {
        enum sv_place place = sv_batcher_place(g->batcher, slot);
        if (place == SV_QUEUED || place == SV_SENT)
            sv_clients_fail(g, slot, status, text);
    }
}

/* ---- admission ---- */

/* When a place should be free, by the pace of the last batches. */
static uint32_t retry_us(const struct sv_gateway *g)
{
    int live = sv_rollout_live(&g->rollout);
    double us = g->image_ns * 1e-3 * sv_batcher_count(g->batcher, SV_QUEUED) / (live ? live : 1);
    if (us <= 0)
        return RETRY_US;
    return us < 60e6 ? (uint32_t)us + 1 : 60000000;
}

/* Why a new request cannot be taken at all; WI_OK: it can. */
static enum wi_status refusal(const struct sv_gateway *g, const char **why)
{
    const struct sv_rollout *r = &g->rollout;
    *why = "the server is stopping";
    if (g->phase == SV_DRAINING)
        return WI_STOPPING;
    *why = "no version is there to be served";
    if (!r->serving.number && !r->candidate.number && cm_now_ns() - g->started_ns > START_NS)
        return WI_NOT_READY;
    return WI_OK;
}

/* A slot without a reply, or SV_NONE. timeout_us 0: the default. */
static int admit(struct sv_gateway *g, struct wi_id id, size_t nbytes, int64_t timeout_us)
{
    int64_t now_ns = cm_now_ns(), longest_us = g->serve->max_deadline_ms * 1000;
    if (timeout_us == 0)
        timeout_us = g->serve->deadline_ms * 1000;
    if (timeout_us > longest_us)
        timeout_us = longest_us;
    int slot = sv_batcher_admit(g->batcher, id, nbytes, now_ns, now_ns + timeout_us * 1000);
    if (slot != SV_NONE)
        forget_reply(g, &g->requests[slot]);
    return slot;
}

/* The answer goes to where the question came from last. False: it was forgotten, as another version
 * serves by now, which the client may have seen in other answers: ask that one. */
static bool on_repeated(struct sv_gateway *g, int slot, const struct sv_route_id *from)
{
    struct sv_request *r = &g->requests[slot];
    const struct sv_version now = g->rollout.serving;
    bool done = sv_batcher_place(g->batcher, slot) == SV_DONE;
    cm_metric_add(g->metrics.duplicates, 1);
    if (done && r->reply.status == WI_OK &&
        (r->reply.version != now.number || r->reply.manifest_hash != now.hash)) {
        forget_reply(g, r);
        sv_batcher_forget(g->batcher, slot);
        return false;
    }
    if (r->call)
        return true;
    r->route = *from;
    if (done)
        send_client(g, from, r->reply, r->reply_body.data);
    return true;
}

/* Takes the message over when it is admitted. */
static void on_request(struct sv_gateway *g, const struct sv_route_id *from,
                       const struct wi_header *h, struct cm_message *m)
{
    const void *body = m->nframes == 3 ? m->frame[2].data : NULL;
    struct wi_image image = wi_header_image(h, body);
    const char *why;
    int slot = sv_batcher_find(g->batcher, h->id);
    if (slot != SV_NONE && on_repeated(g, slot, from))
        return;
    enum wi_status status = refusal(g, &why);
    if (status == WI_OK && image.n > g->max_body_nbytes) {
        why = "the image is larger than this server takes";
        status = WI_TOO_LARGE;
    } else if (status == WI_OK && wi_image_check(&image) != CM_OK) {
        why = cm_error_text();
        status = WI_BAD_INPUT;
    }
    if (status != WI_OK) {
        turn_away(g, from, h->id, status, 0, why);
        return;
    }
    slot = admit(g, h->id, image.n, h->deadline_us);
    if (slot == SV_NONE) {
        turn_away(g, from, h->id, WI_OVERLOADED, retry_us(g), wi_status_text(WI_OVERLOADED));
        return;
    }
    struct sv_request *r = &g->requests[slot];
    cm_message_move(&r->message, m);
    r->route = *from;
    r->call = NULL;
    r->image = wi_header_image(h, r->message.frame[2].data);
    r->top_k = h->top_k;
    r->batch = 0;
    r->sent_ns = sv_batcher_arrived_ns(g->batcher, slot);
}

void sv_clients_take(struct sv_gateway *g, struct cm_message *m)
{
    struct sv_route_id from = {.n = (uint8_t)m->frame[0].n};
    struct wi_header h;
    bool shaped = m->frame[0].n <= SV_ROUTE_NBYTES && m->nframes >= 2 && m->nframes <= 3;
    if (shaped)
        memcpy(from.byte, m->frame[0].data, from.n);
    cm_status st = !shaped ? CM_EFORMAT
                           : wi_header_decode(&h, m->frame[1].data, m->frame[1].n,
                                              m->nframes == 3 ? m->frame[2].n : 0);
    if (st == CM_EVERSION) {
        turn_away(g, &from, h.id, WI_UNSUPPORTED, 0, cm_error_text());
    } else if (st != CM_OK) {
        cm_metric_add(g->metrics.malformed, 1);
    } else if (h.type == WI_PING) {
        struct wi_header pong = {.type = WI_PONG, .id = h.id};
        send_client(g, &from, pong, NULL);
    } else if (h.type == WI_REQUEST) {
        on_request(g, &from, &h, m);
    } else {
        turn_away(g, &from, h.id, WI_UNSUPPORTED, 0, "a client sends requests and pings only");
    }
}

static void turn_away_call(struct sv_gateway *g, struct sv_call *call, enum wi_status status,
                           uint32_t retry, const char *text)
{
    struct wi_header h = {.status = (uint16_t)status,
                          .retry_us = retry,
                          .body = WI_BODY_TEXT,
                          .body_nbytes = (uint32_t)strlen(text)};
    cm_metric_add(g->metrics.answers[SV_HTTP][status], 1);
    sv_http_reply(call->request, &h, text, call->plain);
    cm_free(&call);
}

void sv_clients_call(struct sv_gateway *g, struct sv_call *call)
{
    struct cm_uuid id = cm_uuid_make();
    struct wi_id request_id;
    const char *why;
    enum wi_status status = refusal(g, &why);
    if (status != WI_OK) {
        turn_away_call(g, call, status, status == WI_NOT_READY ? 1000000 : 0, why);
        return;
    }
    memcpy(request_id.byte, id.byte, sizeof request_id.byte);
    int slot = admit(g, request_id, call->image.n, call->timeout_ms * 1000);
    if (slot == SV_NONE) {
        turn_away_call(g, call, WI_OVERLOADED, retry_us(g), wi_status_text(WI_OVERLOADED));
        return;
    }
    struct sv_request *r = &g->requests[slot];
    r->route.n = 0;
    r->call = call;
    r->image = call->image;
    r->top_k = call->top_k;
    r->batch = 0;
    r->sent_ns = sv_batcher_arrived_ns(g->batcher, slot);
}
