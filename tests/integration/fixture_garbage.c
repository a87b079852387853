/* fixture_garbage ENDPOINT...: throws at each ROUTER what no client of ours would send, and then
 * wants a PONG from the first, which shows that it lives and still answers. */
#include <stdio.h>
#include <string.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "common/socket.h"
#include "wire/bytes.h"
#include "wire/frame.h"

#define ROUNDS      500
#define HUGE_NBYTES ((size_t)80 << 20)
#define WAIT_MS     10000

static cm_status throw(struct cm_socket * s, int nframes, const void *a, size_t na, const void *b,
                       size_t nb)
{
    struct cm_message m = {.nframes = nframes};
    for (int i = 0; i < nframes; i++) {
        m.frame[i].data = i == 0 ? a : b;
        m.frame[i].n = i == 0 ? na : nb;
    }
    return cm_socket_send(s, &m, cm_deadline_in_ms(WAIT_MS));
}

static cm_status throw_random(struct cm_socket *s, uint32_t round)
{
    uint8_t bytes[256], header[WI_HEADER_NBYTES];
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)cm_rng_u32(7, CM_RNG_SYNTHETIC, round, 0, i);
    CM_TRY(throw(s, 1 + (int)(round % 5), bytes, round % 200, bytes, bytes[0]));
    /* A header that is nearly right: any type, then one bit off. */
    struct wi_header h = {.type = bytes[1],
                          .id = {{bytes[2], bytes[3]}},
                          .body = bytes[4],
                          .body_nbytes = 16,
                          .version = bytes[5],
                          .count = bytes[6],
                          .height = bytes[7],
                          .width = bytes[8],
                          .channels = bytes[9]};
    wi_header_encode(header, &h);
    CM_TRY(throw(s, 2, header, sizeof header, bytes, 16));
    CM_TRY(throw(s, 2, header, sizeof header, bytes, 15));
    header[bytes[10] % sizeof header] ^= (uint8_t)(1 << bytes[11] % 8);
    return throw(s, 2, header, sizeof header, bytes, 16);
}

static cm_status await_answer(struct cm_socket *s, enum wi_type type, unsigned status)
{
    struct cm_message m = {0};
    struct wi_header h = {0};
    struct cm_deadline deadline = cm_deadline_in_ms(WAIT_MS);
    cm_status st;
    do {
        CM_GOTO(st, cm_socket_recv(s, &m, deadline), out);
        if (wi_header_decode(&h, m.frame[0].data, m.frame[0].n, m.nframes > 1 ? m.frame[1].n : 0) !=
            CM_OK)
            h.type = 0;
    } while (h.type != type || h.status != status);
out:
    cm_message_release(&m);
    return st;
}

/* Another major: told so, naming the request. */
static cm_status ask_in_the_future(struct cm_socket *s)
{
    uint8_t header[WI_HEADER_NBYTES];
    struct wi_header h = {.type = WI_REQUEST, .id = {{42}}};
    wi_header_encode(header, &h);
    header[4] = WI_MAJOR + 1;
    CM_TRY(throw(s, 1, header, sizeof header, NULL, 0));
    return await_answer(s, WI_REPLY, WI_UNSUPPORTED);
}

static cm_status ping(struct cm_socket *s)
{
    uint8_t header[WI_HEADER_NBYTES];
    struct wi_header h = {.type = WI_PING};
    wi_header_encode(header, &h);
    CM_TRY(throw(s, 1, header, sizeof header, NULL, 0));
    return await_answer(s, WI_PONG, 0);
}

static cm_status bother(struct cm_socket_ctx *ctx, const char *endpoint, bool answers)
{
    struct cm_socket_config cfg = {
        .type = CM_SOCKET_DEALER, .queue_messages = 100000, .max_frame_nbytes = WI_BODY_MAX};
    struct cm_socket *s;
    void *huge = NULL;
    cm_status st;
    CM_TRY(cm_socket_open(&s, ctx, &cfg));
    CM_GOTO(st, cm_socket_connect(s, endpoint), out);
    for (uint32_t round = 0; round < ROUNDS; round++)
        CM_GOTO(st, throw_random(s, round), out);
    if (answers) {
        CM_GOTO(st, ask_in_the_future(s), out);
        CM_GOTO(st, ping(s), out);
    }
    CM_GOTO(st, cm_alloc(&huge, HUGE_NBYTES, 1, "a frame"), out);
    CM_GOTO(st, throw(s, 2, "x", 1, huge, HUGE_NBYTES), out); /* cuts the link … */
    if (answers)
        st = ping(s); /* … and a new one works */
out:
    cm_free(&huge);
    cm_socket_close(&s);
    return st;
}

int main(int argc, char **argv)
{
    struct cm_socket_ctx *ctx;
    cm_status st;
    cm_log_init("garbage");
    st = cm_socket_ctx_open(&ctx);
    for (int i = 1; i < argc && st == CM_OK; i++)
        st = bother(ctx, argv[i], i == 1);
    cm_socket_ctx_close(&ctx);
    return cm_main_end(st);
}
