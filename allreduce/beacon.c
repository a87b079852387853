#include "allreduce/beacon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"

cm_status ar_beacon_open(struct ar_beacon *b, struct ar_place *here)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t n = sizeof any;
    int on = 1;
    *b = (struct ar_beacon){.socket = -1};
    CM_TRY(ar_place_here(here));
    b->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (b->socket < 0 || bind(b->socket, (struct sockaddr *)&any, n) != 0 ||
        setsockopt(b->socket, IPPROTO_IP, IP_RECVERR, &on, sizeof on) != 0 ||
        getsockname(b->socket, (struct sockaddr *)&any, &n) != 0) {
        cm_status st = CM_FAIL_ERRNO("heartbeats: UDP socket");
        ar_beacon_release(b);
        return st;
    }
    here->port = ntohs(any.sin_port);
    return CM_OK;
}

cm_status ar_beacon_join(struct ar_beacon *b, const struct ar_place *places, int rank, int size,
                         uint64_t key)
{
    size_t n = (size_t)size;
    b->rank = rank;
    b->size = size;
    b->key = key;
    CM_TRY(cm_alloc(&b->places, n, sizeof *b->places, "ranks' places"));
    CM_TRY(cm_alloc(&b->addresses, n, sizeof *b->addresses, "ranks' addresses"));
    CM_TRY(cm_alloc(&b->peers, n, sizeof *b->peers, "ranks' heartbeats"));
    memcpy(b->places, places, n * sizeof *b->places);
    for (int r = 0; r < size; r++) {
        uint32_t address = ar_place_route(&b->places[rank], &b->places[r]);
        b->addresses[r] = (struct sockaddr_in){
            .sin_family = AF_INET,
            .sin_port = address ? htons(b->places[r].port) : 0,
            .sin_addr.s_addr = address,
        };
        b->peers[r].host = b->places[r].host;
    }
    return CM_OK;
}

void ar_beacon_release(struct ar_beacon *b)
{
    if (b->socket >= 0)
        close(b->socket);
    b->socket = -1;
    cm_free(&b->places);
    cm_free(&b->addresses);
    cm_free(&b->peers);
}

/* An error that an earlier message met is reported by this call in its stead: once more, then. */
static void send_to(const struct ar_beacon *b, int r, const uint8_t *bytes)
{
    const struct sockaddr_in *to = &b->addresses[r];
    for (int tries = 0; tries < 2 && to->sin_port != 0; tries++)
        if (sendto(b->socket, bytes, AR_BEAT_NBYTES, MSG_DONTWAIT, (const struct sockaddr *)to,
                   sizeof *to) >= 0)
            return;
}

static void send_to_all(const struct ar_beacon *b, const uint8_t *bytes)
{
    for (int r = 0; r < b->size; r++)
        if (r != b->rank)
            send_to(b, r, bytes);
}

void ar_beacon_send(const struct ar_beacon *b, const struct ar_beat *beat)
{
    uint8_t bytes[AR_BEAT_NBYTES];
    ar_beat_encode(bytes, beat);
    send_to_all(b, bytes);
}

void ar_beacon_beat(struct ar_beacon *b, const struct ar_beat *beat)
{
    ar_beat_encode(b->newest, beat);
    send_to_all(b, b->newest);
}

/* What became of messages that were sent: the kernel keeps the answers "port unreachable", each
 * with the address that it is about. */
static void receive_refusals(struct ar_beacon *b)
{
    for (;;) {
        struct sockaddr_in about = {0};
        union {
            char bytes[256];
            struct cmsghdr aligned;
        } control;
        struct msghdr msg = {.msg_name = &about,
                             .msg_namelen = sizeof about,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
        if (recvmsg(b->socket, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            return;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        struct sock_extended_err err = {0};
        if (c && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR)
            memcpy(&err, CMSG_DATA(c), sizeof err);
        for (int r = 0; r < b->size && err.ee_errno == ECONNREFUSED; r++) {
            const struct sockaddr_in *a = &b->addresses[r];
            if (r == b->rank || a->sin_port != about.sin_port ||
                a->sin_addr.s_addr != about.sin_addr.s_addr)
                continue;
            if (++b->peers[r].refusals < AR_REFUSALS)
                send_to(b, r, b->newest);
        }
    }
}

int ar_beacon_receive(struct ar_beacon *b)
{
    uint8_t bytes[AR_BEAT_NBYTES + 1];
    struct ar_beat beat;
    ssize_t n;
    int leaving = -1;
    /* Refused messages make recv fail as well; it goes on with what did arrive. */
    while ((n = recv(b->socket, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0 || errno == EINTR ||
           errno == ECONNREFUSED) {
        if (n < 0 || !ar_beat_decode(&beat, bytes, (size_t)n) || beat.key != b->key ||
            beat.rank >= (uint32_t)b->size || beat.rank == (uint32_t)b->rank)
            continue;
        struct ar_peer *p = &b->peers[beat.rank];
        p->beat = beat;
        p->age_ms = 0;
        p->refusals = 0;
        if (beat.kind == AR_BEAT_LEAVING && leaving < 0)
            leaving = (int)beat.rank;
    }
    receive_refusals(b);
    return leaving;
}
