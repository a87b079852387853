/* ZeroMQ sockets: the only file with zmq.h behind it is socket.c. Translated once: EAGAIN is
 * CM_ETIMEDOUT, EHOSTUNREACH CM_ECONNECT, EADDRINUSE CM_EBUSY (the message names the endpoint),
 * ETERM CM_ECLOSED. A socket belongs to the thread that opened it. What a DEALER or PUSH sends goes
 * only to peers that are connected by then, so nothing waits unseen for a peer that may never come;
 * what a broken link had not delivered is lost. */
#ifndef COMMON_SOCKET_H
#define COMMON_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"

struct cm_socket_ctx; /* one per process; any thread */
CM_MUST_CHECK cm_status cm_socket_ctx_open(struct cm_socket_ctx **out);
void cm_socket_ctx_close(struct cm_socket_ctx **ctx); /* after every socket of it is closed */

enum cm_socket_type {
    CM_SOCKET_ROUTER,
    CM_SOCKET_DEALER,
    CM_SOCKET_PUB,
    CM_SOCKET_SUB,
    CM_SOCKET_PUSH,
    CM_SOCKET_PULL
};

struct cm_socket_config {
    enum cm_socket_type type;
    size_t max_frame_nbytes; /* larger frames disconnect the peer; 0: 16 MiB */
    int queue_messages;      /* high-water mark per peer and direction; 0: 1,000 */
    /* Routing id, which no other peer of a ROUTER may have at the time: who comes second is not
     * heard. NULL: one that is free, and a new one after each reconnect. */
    const char *identity;
    int linger_ms;      /* how long closing goes on delivering what was sent; 0: not at all */
    bool conflate;      /* keep only the newest message (PUB, SUB; single frames) */
    const char *secret; /* of who binds: 64 hex digits, see below; NULL: none */
};

/* 64 hex digits, as 'openssl rand -hex 32' gives them. */
bool cm_socket_is_key(const char *text);
/* Bytes of an endpoint before the "#KEY" that it may end in, for messages: a log need not know it.
 */
int cm_endpoint_bare(const char *endpoint);

struct cm_socket;
CM_MUST_CHECK cm_status cm_socket_open(struct cm_socket **out, struct cm_socket_ctx *ctx,
                                       const struct cm_socket_config *cfg);
void cm_socket_close(struct cm_socket **s); /* NULL is fine */

/* "tcp://127.0.0.1:0" takes a free port; endpoint (may be NULL, nendpoint bytes) gets the one
 * bound. With a secret all links are encrypted (CURVE), and only who knows the public key that
 * belongs to it gets one: the endpoint has it, as "tcp://127.0.0.1:5570#KEY", and so has who
 * connects. Others are not heard; they find nobody there. CM_EINVAL: no such address or key. */
CM_MUST_CHECK cm_status cm_socket_bind(struct cm_socket *s, const char *address, char *endpoint,
                                       size_t nendpoint);
/* Closes the address, and the links that came through it; what was sent over them may be lost, and
 * they may come back once it is bound again, which it can be a moment later. endpoint: as bind gave
 * it. */
CM_MUST_CHECK cm_status cm_socket_unbind(struct cm_socket *s, const char *endpoint);
/* A socket that has connected with a key connects to no endpoint without one: CM_EINVAL. */
CM_MUST_CHECK cm_status cm_socket_connect(struct cm_socket *s, const char *endpoint);
CM_MUST_CHECK cm_status cm_socket_subscribe(struct cm_socket *s, const char *prefix);

/* A multipart message. To send: set nframes and the frames, which stay the caller's. Received:
 * frames are borrowed until the message is released, moved or received into again. Never copied as
 * a struct: small frames lie in own. */
#define CM_MESSAGE_FRAMES       6
#define CM_MESSAGE_FRAME_NBYTES 64 /* of ZeroMQ's own record of a frame */
struct cm_message {
    int nframes;
    struct {
        const void *data;
        size_t n;
    } frame[CM_MESSAGE_FRAMES];
    int nown; /* private: how many of own are live */
    _Alignas(void *) unsigned char own[CM_MESSAGE_FRAMES][CM_MESSAGE_FRAME_NBYTES];
};

/* Sends all frames or none. Never blocks past the deadline (passed: tries once). A ROUTER's first
 * frame is the routing id; an unknown peer is CM_ECONNECT, a full queue CM_ETIMEDOUT. Copies the
 * frames. */
CM_MUST_CHECK cm_status cm_socket_send(struct cm_socket *s, const struct cm_message *m,
                                       struct cm_deadline deadline);
/* Receives one message. More than CM_MESSAGE_FRAMES frames: the rest is drained, CM_EFORMAT, and m
 * holds the first frame only (so that a ROUTER can still answer). CM_ETIMEDOUT when none came. m
 * starts zeroed. */
CM_MUST_CHECK cm_status cm_socket_recv(struct cm_socket *s, struct cm_message *m,
                                       struct cm_deadline deadline);
void cm_message_release(struct cm_message *m); /* of received messages; zeroed is fine */
/* A received message changes its owner without a copy of its bytes; from is empty afterwards, to is
 * released first. */
void cm_message_move(struct cm_message *to, struct cm_message *from);

/* Waits until a socket or descriptor can be read, and sets ready of each. CM_ETIMEDOUT when none by
 * the deadline, or when a signal came first (so that a loop can look at its stop flag). */
#define CM_POLL_ITEMS 16
struct cm_poll_item {
    struct cm_socket *socket; /* or NULL and fd */
    int fd;
    bool ready;
};
CM_MUST_CHECK cm_status cm_poll(struct cm_poll_item *items, size_t n, struct cm_deadline deadline);

#endif
