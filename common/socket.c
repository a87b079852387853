/* ZeroMQ behind common/socket.h. What libzmq leaves open is decided here, once:
 *
 *   ROUTER   mandatory: an unknown peer is an error, not a silent drop
 *            no handover: a peer that claims another's routing id would take its link and answers
 *   DEALER   immediate: queues only to peers that are connected
 *   TCP      ZeroMQ's own heartbeats: a host that lost power is noticed within seconds
 *   closing  a bounded linger; libzmq's default would wait for ever
 *   CURVE    a secret for who binds, its public key in the endpoint of who connects; no list of
 *            clients: who does not know that key cannot even say hello */
#include "common/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/mem.h"

#define DEFAULT_FRAME_NBYTES   (16u << 20)
#define DEFAULT_QUEUE_MESSAGES 1000
#define HEARTBEAT_MS           2000
#define HEARTBEAT_TIMEOUT_MS   6000
#define RECONNECT_MS           50
#define RECONNECT_MAX_MS       1000
#define KEY_NBYTES             32
#define KEY_DIGITS             (2 * KEY_NBYTES)
#define KEY_Z85                41 /* ZeroMQ's own way to write a key, with its NUL */
#define ADDRESS                512

_Static_assert(sizeof(zmq_msg_t) <= CM_MESSAGE_FRAME_NBYTES, "cm_message.own holds a zmq_msg_t");
_Static_assert(_Alignof(zmq_msg_t) <= _Alignof(void *),
               "cm_message.own is aligned for a zmq_msg_t");

struct cm_socket_ctx {
    void *zmq;
};

struct cm_socket {
    void *zmq;
    int type;            /* ZMQ_ROUTER ... */
    int send_timeout_ms; /* as last set on the socket */
    int recv_timeout_ms;
    char key[KEY_DIGITS + 1]; /* the public one of a secret; "": none */
    bool keyed;               /* has connected with one, which libzmq keeps */
};

static cm_status status_of(int code)
{
    switch (code) {
    case EAGAIN:
        return CM_ETIMEDOUT;
    case EHOSTUNREACH:
        return CM_ECONNECT;
    case EADDRINUSE:
        return CM_EBUSY;
    case ETERM:
    case ENOTSOCK:
        return CM_ECLOSED;
    case EINVAL:
    case ENODEV:
    case ENOENT:
    case EADDRNOTAVAIL:
    case EPROTONOSUPPORT:
    case ENOCOMPATPROTO:
        return CM_EINVAL;
    case ENOMEM:
        return CM_ENOMEM;
    default:
        return CM_EIO;
    }
}

/* The last ZeroMQ fault; what may hold an endpoint. */
#define FAIL_ZMQ(code, what)                                                                       \
    CM_FAIL(status_of(code), "%s: %s (ZeroMQ error %d)", (what), zmq_strerror(code), (code))

cm_status cm_socket_ctx_open(struct cm_socket_ctx **out)
{
    struct cm_socket_ctx *ctx;

    *out = NULL;
    CM_TRY(cm_alloc(&ctx, 1, sizeof(*ctx), "ZeroMQ context"));
    ctx->zmq = zmq_ctx_new();
    if (!ctx->zmq) {
        int code = zmq_errno();
        cm_free(&ctx);
        return FAIL_ZMQ(code, "opening a context");
    }
    *out = ctx;
    return CM_OK;
}

void cm_socket_ctx_close(struct cm_socket_ctx **ctx)
{
    if (!*ctx)
        return;
    while (zmq_ctx_term((*ctx)->zmq) < 0 && zmq_errno() == EINTR)
        ;
    cm_free(ctx);
}

static cm_status set_option(struct cm_socket *s, int option, const void *value, size_t n)
{
    if (zmq_setsockopt(s->zmq, option, value, n) < 0) {
        int code = zmq_errno();
        return CM_FAIL(status_of(code), "socket option %d: %s (ZeroMQ error %d)", option,
                       zmq_strerror(code), code);
    }
    return CM_OK;
}

static cm_status set_int(struct cm_socket *s, int option, int value)
{
    return set_option(s, option, &value, sizeof(value));
}

static int zmq_type(enum cm_socket_type type)
{
    static const int types[] = {
        [CM_SOCKET_ROUTER] = ZMQ_ROUTER, [CM_SOCKET_DEALER] = ZMQ_DEALER,
        [CM_SOCKET_PUB] = ZMQ_PUB,       [CM_SOCKET_SUB] = ZMQ_SUB,
        [CM_SOCKET_PUSH] = ZMQ_PUSH,     [CM_SOCKET_PULL] = ZMQ_PULL,
    };
    return types[type];
}

/* ---- keys ---- */

bool cm_socket_is_key(const char *text)
{
    return strlen(text) == KEY_DIGITS && strspn(text, "0123456789abcdefABCDEF") == KEY_DIGITS;
}

static bool read_key(uint8_t key[KEY_NBYTES], const char *digits)
{
    if (!cm_socket_is_key(digits))
        return false;
    for (int i = 0; i < KEY_NBYTES; i++) {
        char byte[] = {digits[2 * i], digits[2 * i + 1], '\0'};
        key[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return true;
}

static cm_status take_secret(struct cm_socket *s, const char *digits)
{
    uint8_t secret[KEY_NBYTES], public[KEY_NBYTES];
    char secret_text[KEY_Z85], public_text[KEY_Z85];
    if (!read_key(secret, digits))
        return CM_FAIL(CM_EINVAL, "a key is %d hex digits, as 'openssl rand -hex %d' gives them",
                       KEY_DIGITS, KEY_NBYTES);
    zmq_z85_encode(secret_text, secret, KEY_NBYTES);
    if (zmq_curve_public(public_text, secret_text) < 0)
        return FAIL_ZMQ(zmq_errno(), "a key");
    zmq_z85_decode(public, public_text);
    for (int i = 0; i < KEY_NBYTES; i++)
        snprintf(s->key + 2 * i, 3, "%02x", public[i]);
    CM_TRY(set_int(s, ZMQ_CURVE_SERVER, 1));
    return set_option(s, ZMQ_CURVE_SECRETKEY, secret, sizeof secret);
}

/* Who connects is nobody in particular: a new pair of keys each time. */
static cm_status take_server_key(struct cm_socket *s, const uint8_t key[KEY_NBYTES])
{
    char secret[KEY_Z85], public[KEY_Z85];
    if (zmq_curve_keypair(public, secret) < 0)
        return FAIL_ZMQ(zmq_errno(), "a key");
    CM_TRY(set_option(s, ZMQ_CURVE_SERVERKEY, key, KEY_NBYTES));
    CM_TRY(set_option(s, ZMQ_CURVE_PUBLICKEY, public, sizeof public));
    return set_option(s, ZMQ_CURVE_SECRETKEY, secret, sizeof secret);
}

int cm_endpoint_bare(const char *endpoint)
{
    const char *mark = strrchr(endpoint, '#');
    return (int)(mark && cm_socket_is_key(mark + 1) ? (size_t)(mark - endpoint) : strlen(endpoint));
}

/* Splits "address#KEY"; keyed: it has one. Only a path of an ipc socket may have a # of its own. */
static cm_status split(const char *endpoint, char address[ADDRESS], uint8_t key[KEY_NBYTES],
                       bool *keyed)
{
    const char *mark = strrchr(endpoint, '#');
    *keyed = mark && read_key(key, mark + 1);
    if (mark && !*keyed && strncmp(endpoint, "ipc:", 4) != 0)
        return CM_FAIL(CM_EINVAL, "%.*s: behind the # comes a key of %d hex digits",
                       (int)(mark - endpoint), endpoint, KEY_DIGITS);
    size_t n = *keyed ? (size_t)(mark - endpoint) : strlen(endpoint);
    if (n >= ADDRESS)
        return CM_FAIL(CM_EINVAL, "an endpoint of %zu bytes", n);
    memcpy(address, endpoint, n);
    address[n] = '\0';
    return CM_OK;
}

static cm_status configure(struct cm_socket *s, const struct cm_socket_config *cfg)
{
    size_t frame_nbytes = cfg->max_frame_nbytes ? cfg->max_frame_nbytes : DEFAULT_FRAME_NBYTES;
    int64_t max = (int64_t)frame_nbytes;
    int queue = cfg->queue_messages ? cfg->queue_messages : DEFAULT_QUEUE_MESSAGES;

    CM_TRY(set_option(s, ZMQ_MAXMSGSIZE, &max, sizeof(max)));
    CM_TRY(set_int(s, ZMQ_SNDHWM, queue));
    CM_TRY(set_int(s, ZMQ_RCVHWM, queue));
    CM_TRY(set_int(s, ZMQ_LINGER, cfg->linger_ms));
    CM_TRY(set_int(s, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS));
    CM_TRY(set_int(s, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS));
    CM_TRY(set_int(s, ZMQ_HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS));
    CM_TRY(set_int(s, ZMQ_RECONNECT_IVL, RECONNECT_MS));
    CM_TRY(set_int(s, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS));
    if (s->type == ZMQ_ROUTER)
        CM_TRY(set_int(s, ZMQ_ROUTER_MANDATORY, 1));
    if (s->type == ZMQ_DEALER || s->type == ZMQ_PUSH)
        CM_TRY(set_int(s, ZMQ_IMMEDIATE, 1));
    if (cfg->conflate)
        CM_TRY(set_int(s, ZMQ_CONFLATE, 1));
    if (cfg->identity)
        CM_TRY(set_option(s, ZMQ_ROUTING_ID, cfg->identity, strlen(cfg->identity)));
    return cfg->secret ? take_secret(s, cfg->secret) : CM_OK;
}

cm_status cm_socket_open(struct cm_socket **out, struct cm_socket_ctx *ctx,
                         const struct cm_socket_config *cfg)
{
    struct cm_socket *s = NULL;
    cm_status st;

    *out = NULL;
    CM_TRY(cm_alloc(&s, 1, sizeof(*s), "ZeroMQ socket"));
    s->type = zmq_type(cfg->type);
    s->send_timeout_ms = s->recv_timeout_ms = -1;
    s->zmq = zmq_socket(ctx->zmq, s->type);
    if (!s->zmq) {
        st = FAIL_ZMQ(zmq_errno(), "opening a socket");
        goto out;
    }
    CM_GOTO(st, configure(s, cfg), out);
    *out = s;
    s = NULL;
out:
    cm_socket_close(&s);
    return st;
}

void cm_socket_close(struct cm_socket **s)
{
    if (!*s)
        return;
    if ((*s)->zmq)
        zmq_close((*s)->zmq);
    cm_free(s);
}

cm_status cm_socket_bind(struct cm_socket *s, const char *address, char *endpoint, size_t nendpoint)
{
    if (zmq_bind(s->zmq, address) < 0)
        return FAIL_ZMQ(zmq_errno(), address);
    size_t n = nendpoint;
    if (endpoint && zmq_getsockopt(s->zmq, ZMQ_LAST_ENDPOINT, endpoint, &n) < 0)
        return FAIL_ZMQ(zmq_errno(), address);
    if (!endpoint || !*s->key)
        return CM_OK;
    n = strlen(endpoint);
    if ((size_t)snprintf(endpoint + n, nendpoint - n, "#%s", s->key) >= nendpoint - n)
        return CM_FAIL(CM_EINVAL, "%s: no room for its key", address);
    return CM_OK;
}

cm_status cm_socket_unbind(struct cm_socket *s, const char *endpoint)
{
    char address[ADDRESS];
    uint8_t key[KEY_NBYTES];
    bool keyed;
    CM_TRY(split(endpoint, address, key, &keyed));
    if (zmq_unbind(s->zmq, address) < 0)
        return FAIL_ZMQ(zmq_errno(), address);
    return CM_OK;
}

cm_status cm_socket_connect(struct cm_socket *s, const char *endpoint)
{
    char address[ADDRESS];
    uint8_t key[KEY_NBYTES];
    bool keyed;
    CM_TRY(split(endpoint, address, key, &keyed));
    if (s->keyed && !keyed)
        return CM_FAIL(CM_EINVAL, "%s: a key is wanted, as with the endpoint before", address);
    if (keyed)
        CM_TRY(take_server_key(s, key));
    s->keyed = keyed;
    if (zmq_connect(s->zmq, address) < 0)
        return FAIL_ZMQ(zmq_errno(), address);
    return CM_OK;
}

cm_status cm_socket_subscribe(struct cm_socket *s, const char *prefix)
{
    return set_option(s, ZMQ_SUBSCRIBE, prefix, strlen(prefix));
}

/* poll()'s milliseconds for a deadline: -1 for never. */
static int wait_ms(struct cm_deadline deadline)
{
    return deadline.at_ns == INT64_MAX ? -1 : cm_deadline_left_ms(deadline);
}

static cm_status set_timeout(struct cm_socket *s, int option, int *current, int ms)
{
    if (*current == ms)
        return CM_OK;
    CM_TRY(set_int(s, option, ms));
    *current = ms;
    return CM_OK;
}

/* The first frame decides: libzmq accepts or refuses a message there. When a link breaks while the
 * others follow, it drops the message, but wants the remaining frames all the same before it takes
 * a new one. */
static cm_status send_rest(struct cm_socket *s, const struct cm_message *m)
{
    bool lost = false;
    for (int i = 1; i < m->nframes; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < m->nframes ? ZMQ_SNDMORE : 0);
        while (zmq_send(s->zmq, m->frame[i].data, m->frame[i].n, flags) < 0) {
            if (zmq_errno() == EINTR)
                continue;
            if (zmq_errno() != EAGAIN)
                return FAIL_ZMQ(zmq_errno(), "sending");
            lost = true;
            break;
        }
    }
    return lost ? CM_FAIL(CM_ECLOSED, "sending: the link broke in the middle of a message") : CM_OK;
}

cm_status cm_socket_send(struct cm_socket *s, const struct cm_message *m,
                         struct cm_deadline deadline)
{
    if (m->nframes < 1 || m->nframes > CM_MESSAGE_FRAMES)
        return CM_FAIL(CM_EINVAL, "a message of %d frames", m->nframes);
    int more = m->nframes > 1 ? ZMQ_SNDMORE : 0;
    int flags =
        ZMQ_DONTWAIT; /* mostly there is room, and the option below costs as much as the send */
    while (zmq_send(s->zmq, m->frame[0].data, m->frame[0].n, flags | more) < 0) {
        int code = zmq_errno();
        if (code != EINTR && (code != EAGAIN || cm_deadline_passed(deadline)))
            return FAIL_ZMQ(code, "sending");
        int left_ms = wait_ms(deadline);
        CM_TRY(set_timeout(s, ZMQ_SNDTIMEO, &s->send_timeout_ms, left_ms));
        flags = left_ms ? 0 : ZMQ_DONTWAIT;
    }
    return send_rest(s, m);
}

/* Takes the next frame; *more says whether another one follows. The first may be waited for. */
static int receive_frame(struct cm_socket *s, struct cm_message *m, int flags, bool *more)
{
    zmq_msg_t *frame = (void *)m->own[m->nown];
    zmq_msg_init(frame);
    if (zmq_msg_recv(frame, s->zmq, flags) < 0) {
        int code = zmq_errno();
        zmq_msg_close(frame);
        return code;
    }
    m->frame[m->nown].data = zmq_msg_data(frame);
    m->frame[m->nown].n = zmq_msg_size(frame);
    m->nframes = ++m->nown;
    *more = zmq_msg_more(frame);
    return 0;
}

/* Keeps the first frame only, and throws away what follows. */
static cm_status drain(struct cm_socket *s, struct cm_message *m)
{
    long dropped = 0;
    bool more = true;
    while (m->nown > 1)
        zmq_msg_close((void *)m->own[--m->nown]);
    while (more) {
        int code = receive_frame(s, m, ZMQ_DONTWAIT, &more);
        if (code == EINTR)
            continue;
        if (code)
            return FAIL_ZMQ(code, "receiving");
        zmq_msg_close((void *)m->own[--m->nown]);
        dropped++;
    }
    m->nframes = 1;
    return CM_FAIL(CM_EFORMAT, "a message of %ld frames, at most %d are allowed",
                   dropped + CM_MESSAGE_FRAMES, CM_MESSAGE_FRAMES);
}

cm_status cm_socket_recv(struct cm_socket *s, struct cm_message *m, struct cm_deadline deadline)
{
    int flags = ZMQ_DONTWAIT;
    bool more = true;

    cm_message_release(m);
    while (more) {
        if (m->nown == CM_MESSAGE_FRAMES)
            return drain(s, m);
        int code = receive_frame(s, m, flags, &more);
        if (!code || (code == EINTR && m->nown))
            continue;
        if (code != EINTR && (code != EAGAIN || m->nown || cm_deadline_passed(deadline)))
            return FAIL_ZMQ(code, "receiving");
        /* Interrupted or too early: only what is left of the time, or signals could stretch it. */
        int left_ms = wait_ms(deadline);
        CM_TRY(set_timeout(s, ZMQ_RCVTIMEO, &s->recv_timeout_ms, left_ms));
        flags = left_ms ? 0 : ZMQ_DONTWAIT;
    }
    return CM_OK;
}

void cm_message_release(struct cm_message *m)
{
    while (m->nown > 0)
        zmq_msg_close((void *)m->own[--m->nown]);
    m->nframes = 0;
}

void cm_message_move(struct cm_message *to, struct cm_message *from)
{
    cm_message_release(to);
    for (int i = 0; i < from->nown; i++) {
        zmq_msg_t *frame = (void *)to->own[i];
        zmq_msg_init(frame);
        zmq_msg_move(frame, (void *)from->own[i]);
        to->frame[i].data = zmq_msg_data(frame);
        to->frame[i].n = zmq_msg_size(frame);
    }
    to->nown = to->nframes = from->nown;
    cm_message_release(from);
}

cm_status cm_poll(struct cm_poll_item *items, size_t n, struct cm_deadline deadline)
{
    zmq_pollitem_t zmq[CM_POLL_ITEMS];
    int nready;

    if (n > CM_POLL_ITEMS)
        return CM_FAIL(CM_EINVAL, "polling %zu items, at most %d are allowed", n, CM_POLL_ITEMS);
    for (size_t i = 0; i < n; i++) {
        zmq[i] = (zmq_pollitem_t){.socket = items[i].socket ? items[i].socket->zmq : NULL,
                                  .fd = items[i].fd,
                                  .events = ZMQ_POLLIN};
        items[i].ready = false;
    }
    nready = zmq_poll(zmq, (int)n, wait_ms(deadline));
    if (nready < 0 && zmq_errno() != EINTR)
        return FAIL_ZMQ(zmq_errno(), "polling");
    if (nready <= 0)
        return CM_FAIL(CM_ETIMEDOUT, "polling: nothing came");
    for (size_t i = 0; i < n; i++) {
        /* A descriptor whose peer hung up reports an error only; reading it tells which. */
        items[i].ready = (zmq[i].revents & (ZMQ_POLLIN | ZMQ_POLLERR)) != 0;
    }
    return CM_OK;
}
