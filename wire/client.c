/* Every request has a slot, and every slot is in one of three lists:
 *
 *   FREE --submit--> WAITING --sent--> SENT --answer, or deadline--> FREE
 *                       ^               |
 *                       +-- new session +
 *
 * An id is | 8 random bytes of this client | u32 sequence | u32 slot |, so an answer finds its slot
 * without a search, and one to an older request of the slot is told apart by its sequence. */
#include "wire/client.h"

#include <stdbool.h>
#include <string.h>

#include "common/mem.h"
#include "common/slot_heap.h"
#include "common/slot_lists.h"
#include "common/socket.h"
#include "wire/bytes.h"

#define MAX_OUTSTANDING      (1 << 20)
#define DEFAULT_PING_MS      200
#define DEFAULT_REPLY_NBYTES ((size_t)1 << 20)
#define RETRY_NS             10000000 /* a full or missing link is looked at again */

enum place { FREE, WAITING, SENT };

struct slot {
    struct wi_header header;
    struct wi_buffer body;
    uint64_t tag;
    uint64_t session; /* in which it was sent last */
    int64_t submitted_ns, deadline_ns;
};

struct wi_client {
    struct cm_socket_ctx *ctx;
    struct cm_socket *socket;
    struct cm_message message; /* the last answer's frames */
    struct slot *slots;
    struct cm_slot_lists lists;    /* by enum place */
    struct cm_slot_heap deadlines; /* of WAITING and SENT */
    struct cm_uuid self;
    uint32_t sequence;
    uint64_t session; /* 0: none known yet */
    int64_t ping_ns, pinged_ns, heard_ns;
    struct wi_client_stats stats;
};

static void move(struct wi_client *c, int i, enum place place)
{
    cm_slot_lists_move(&c->lists, i, (int)place);
}

cm_status wi_client_open(struct wi_client **out, const struct wi_client_config *cfg)
{
    struct wi_client *c = NULL;
    struct cm_socket_config socket = {
        .type = CM_SOCKET_DEALER,
        .queue_messages = cfg->max_outstanding,
        .max_frame_nbytes = cfg->max_reply_nbytes ? cfg->max_reply_nbytes : DEFAULT_REPLY_NBYTES};
    cm_status st;

    *out = NULL;
    if (cfg->max_outstanding < 1 || cfg->max_outstanding > MAX_OUTSTANDING || cfg->ping_ms < 0)
        return CM_FAIL(CM_EINVAL, "client: %d requests outstanding, ping %d ms",
                       cfg->max_outstanding, cfg->ping_ms);
    CM_TRY(cm_alloc(&c, 1, sizeof(*c), "client"));
    c->self = cm_uuid_make();
    c->ping_ns = (cfg->ping_ms ? cfg->ping_ms : DEFAULT_PING_MS) * INT64_C(1000000);
    c->heard_ns = c->pinged_ns = cm_now_ns() - c->ping_ns; /* the first ping is due at once */
    CM_GOTO(st, cm_alloc(&c->slots, (size_t)cfg->max_outstanding, sizeof(*c->slots), "requests"),
            out);
    CM_GOTO(st, cm_slot_lists_init(&c->lists, cfg->max_outstanding), out);
    CM_GOTO(st, cm_slot_heap_init(&c->deadlines, cfg->max_outstanding), out);
    CM_GOTO(st, cm_socket_ctx_open(&c->ctx), out);
    CM_GOTO(st, cm_socket_open(&c->socket, c->ctx, &socket), out);
    CM_GOTO(st, cm_socket_connect(c->socket, cfg->endpoint), out);
    *out = c;
    c = NULL;
out:
    wi_client_close(&c);
    return st;
}

void wi_client_close(struct wi_client **client)
{
    struct wi_client *c = *client;
    if (!c)
        return;
    cm_message_release(&c->message);
    cm_socket_close(&c->socket);
    cm_socket_ctx_close(&c->ctx);
    for (int i = 0; i < c->lists.nslots; i++)
        wi_buffer_release(&c->slots[i].body);
    cm_slot_lists_release(&c->lists);
    cm_slot_heap_release(&c->deadlines);
    cm_free(&c->slots);
    cm_free(client);
}

static cm_status send_message(struct wi_client *c, const struct wi_header *h, const void *body)
{
    uint8_t header[WI_HEADER_NBYTES];
    struct cm_message m = {.nframes = body ? 2 : 1};

    wi_header_encode(header, h);
    m.frame[0].data = header;
    m.frame[0].n = sizeof(header);
    m.frame[1].data = body;
    m.frame[1].n = h->body_nbytes;
    return cm_socket_send(c->socket, &m, cm_deadline_in_ms(0));
}

/* No link, a full one, or one that broke under the message: try again later. */
static bool is_passing(cm_status st)
{
    return st == CM_ETIMEDOUT || st == CM_ECLOSED || st == CM_ECONNECT;
}

/* Sends what waits, oldest first, as far as the link takes it. */
static cm_status flush(struct wi_client *c)
{
    while (c->session && c->lists.of[WAITING].head != CM_NO_SLOT) {
        int i = c->lists.of[WAITING].head;
        struct slot *s = &c->slots[i];
        int64_t left_us = (s->deadline_ns - cm_now_ns()) / 1000;
        if (left_us < 1)
            left_us = 1; /* its time-out is told by expire() */
        s->header.deadline_us = left_us < UINT32_MAX ? (uint32_t)left_us : UINT32_MAX;
        cm_status st = send_message(c, &s->header, s->body.data);
        if (is_passing(st))
            return CM_OK;
        CM_TRY(st);
        s->session = c->session;
        c->stats.sent++;
        move(c, i, SENT);
    }
    return CM_OK;
}

static int64_t next_ping_ns(const struct wi_client *c)
{
    return (c->heard_ns > c->pinged_ns ? c->heard_ns : c->pinged_ns) + c->ping_ns;
}

static cm_status ping_when_due(struct wi_client *c)
{
    struct wi_header h = {.type = WI_PING};
    int64_t now_ns = cm_now_ns();

    if (now_ns < next_ping_ns(c))
        return CM_OK;
    memcpy(h.id.byte, c->self.byte, sizeof(h.id.byte));
    cm_status st = send_message(c, &h, NULL);
    c->pinged_ns = st == CM_OK ? now_ns : now_ns - c->ping_ns + RETRY_NS;
    return is_passing(st) ? CM_OK : st;
}

/* What was sent to a former life of the gateway, or on a former link, is sent again. */
static void enter_session(struct wi_client *c, uint64_t session)
{
    if (session == 0 || session == c->session)
        return;
    c->session = session;
    c->stats.sessions++;
    for (int i = c->lists.of[SENT].head, next; i != CM_NO_SLOT; i = next) {
        next = c->lists.link[i].next;
        if (c->slots[i].session != session)
            move(c, i, WAITING);
    }
}

/* Ends request i; it is no longer outstanding. */
static void finish(struct wi_client *c, int i, struct wi_answer *out, cm_status st)
{
    struct slot *s = &c->slots[i];
    *out = (struct wi_answer){
        .tag = s->tag, .id = s->header.id, .st = st, .ns = cm_now_ns() - s->submitted_ns};
    cm_slot_heap_clear(&c->deadlines, i);
    move(c, i, FREE);
}

/* The outstanding request that an id names, or CM_NO_SLOT. */
static int find(const struct wi_client *c, struct wi_id id)
{
    uint32_t i = wi_get32(id.byte + 12);
    if (i >= (uint32_t)c->lists.nslots || c->lists.link[i].list == FREE ||
        !wi_id_equal(c->slots[i].header.id, id))
        return CM_NO_SLOT;
    return (int)i;
}

/* Takes one message apart; true when it is an answer that somebody waits for. */
static bool take_message(struct wi_client *c, struct wi_answer *out)
{
    const struct cm_message *m = &c->message;
    struct wi_header h;

    if (m->nframes > 2 || wi_header_decode(&h, m->frame[0].data, m->frame[0].n,
                                           m->nframes == 2 ? m->frame[1].n : 0) != CM_OK) {
        c->stats.malformed++;
        return false;
    }
    c->heard_ns = cm_now_ns();
    enter_session(c, h.session);
    if (h.type != WI_REPLY)
        return false;
    int i = find(c, h.id);
    if (i == CM_NO_SLOT) {
        c->stats.dropped++;
        return false;
    }
    finish(c, i, out, CM_OK);
    out->header = h;
    out->body = m->nframes == 2 ? m->frame[1].data : NULL;
    c->stats.answered++;
    return true;
}

/* Ends the request whose deadline passed first; false when there is none. */
static bool expire(struct wi_client *c, struct wi_answer *out)
{
    if (cm_slot_heap_first_ns(&c->deadlines) > cm_now_ns())
        return false;
    finish(c, cm_slot_heap_first(&c->deadlines), out, CM_ETIMEDOUT);
    c->stats.timed_out++;
    return true;
}

cm_status wi_client_submit(struct wi_client *c, const struct wi_question *q, struct wi_id *id)
{
    int i = c->lists.of[FREE].head;
    uint8_t *body;

    if (i == CM_NO_SLOT)
        return CM_FAIL(CM_EBUSY, "client: %d requests are outstanding", c->lists.nslots);
    if (q->timeout_ms < 1 || q->top_k < 0 || q->top_k > UINT16_MAX || q->image.n > WI_BODY_MAX)
        return CM_FAIL(CM_EINVAL, "client: time-out %d ms, top_k %d, %zu bytes", q->timeout_ms,
                       q->top_k, q->image.n);
    CM_TRY(wi_image_check(&q->image));
    struct slot *s = &c->slots[i];
    s->body.n = 0;
    CM_TRY(wi_buffer_grow(&s->body, &body, q->image.n));
    memcpy(body, q->image.data, q->image.n);

    s->header = (struct wi_header){.type = WI_REQUEST, .top_k = (uint16_t)q->top_k};
    wi_header_set_image(&s->header, &q->image);
    memcpy(s->header.id.byte, c->self.byte, 6);
    memcpy(s->header.id.byte + 6, c->self.byte + 14, 2); /* past a UUID's fixed bits */
    wi_put32(s->header.id.byte + 8, ++c->sequence);
    wi_put32(s->header.id.byte + 12, (uint32_t)i);
    s->tag = q->tag;
    s->session = 0;
    s->submitted_ns = cm_now_ns();
    s->deadline_ns = s->submitted_ns + q->timeout_ms * INT64_C(1000000);
    cm_slot_heap_set(&c->deadlines, i, s->deadline_ns);
    if (id)
        *id = s->header.id;
    c->stats.submitted++;
    move(c, i, WAITING);
    return CM_OK;
}

static struct cm_deadline wake_up(const struct wi_client *c, struct cm_deadline deadline)
{
    int64_t at_ns = next_ping_ns(c);
    if (cm_slot_heap_first_ns(&c->deadlines) < at_ns)
        at_ns = cm_slot_heap_first_ns(&c->deadlines);
    if (c->session && c->lists.of[WAITING].n > 0 && cm_now_ns() + RETRY_NS < at_ns)
        at_ns = cm_now_ns() + RETRY_NS;
    return (struct cm_deadline){at_ns < deadline.at_ns ? at_ns : deadline.at_ns};
}

cm_status wi_client_poll(struct wi_client *c, struct wi_answer *out, struct cm_deadline deadline)
{
    *out = (struct wi_answer){.st = CM_ETIMEDOUT};
    for (;;) {
        if (wi_client_outstanding(c) == 0)
            return CM_FAIL(CM_ENOTFOUND, "client: no request is outstanding");
        CM_TRY(flush(c));
        CM_TRY(ping_when_due(c));
        cm_status st = cm_socket_recv(c->socket, &c->message, wake_up(c, deadline));
        if (st == CM_EFORMAT)
            c->stats.malformed++;
        else if (st == CM_OK && take_message(c, out))
            return CM_OK;
        else if (st != CM_OK && st != CM_ETIMEDOUT)
            return st;
        if (expire(c, out))
            return CM_OK;
        /* Also behind a message that was no answer, or a peer that sends nothing but those would
         * keep the caller here. */
        if (cm_deadline_passed(deadline))
            return CM_FAIL(CM_ETIMEDOUT, "client: no answer yet, %d requests are outstanding",
                           wi_client_outstanding(c));
    }
}

struct wi_client_stats wi_client_stats(const struct wi_client *c)
{
    return c->stats;
}

int wi_client_outstanding(const struct wi_client *c)
{
    return c->lists.of[WAITING].n + c->lists.of[SENT].n;
}
