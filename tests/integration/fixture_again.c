/* fixture_again ENDPOINT IMAGE NUMBER: asks a gateway under the request id that the number makes,
 * as a client does again after a broken link, and prints the prediction id and "v" with the
 * version. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/socket.h"
#include "wire/bytes.h"
#include "wire/frame.h"

#define WAIT_MS      20000
#define IMAGE_NBYTES ((size_t)1 << 20)

static cm_status ask(struct cm_socket *s, const char *path, uint32_t number)
{
    uint8_t header[WI_HEADER_NBYTES];
    char id[WI_ID_TEXT], *image = NULL;
    struct cm_message m = {.nframes = 2}, reply = {0};
    struct wi_header h = {.type = WI_REQUEST, .body = WI_BODY_FILE};
    size_t n;
    cm_status st;
    CM_TRY(cm_file_read(&image, &n, path, IMAGE_NBYTES));
    h.body_nbytes = (uint32_t)n;
    wi_put32(h.id.byte, number);
    wi_header_encode(header, &h);
    m.frame[0].data = header;
    m.frame[0].n = sizeof header;
    m.frame[1].data = image;
    m.frame[1].n = n;
    CM_GOTO(st, cm_socket_send(s, &m, cm_deadline_in_ms(WAIT_MS)), out);
    CM_GOTO(st, cm_socket_recv(s, &reply, cm_deadline_in_ms(WAIT_MS)), out);
    CM_GOTO(st,
            wi_header_decode(&h, reply.frame[0].data, reply.frame[0].n,
                             reply.nframes > 1 ? reply.frame[1].n : 0),
            out);
    wi_id_format(id, h.prediction_id);
    printf("%s v%lld\n", id, (long long)h.version);
out:
    cm_message_release(&reply);
    cm_free(&image);
    return st;
}

int main(int argc, char **argv)
{
    struct cm_socket_config cfg = {.type = CM_SOCKET_DEALER};
    struct cm_socket_ctx *ctx = NULL;
    struct cm_socket *s = NULL;
    cm_status st;
    cm_log_init("again");
    if (argc != 4)
        return 2;
    CM_GOTO(st, cm_socket_ctx_open(&ctx), out);
    CM_GOTO(st, cm_socket_open(&s, ctx, &cfg), out);
    CM_GOTO(st, cm_socket_connect(s, argv[1]), out);
    st = ask(s, argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
out:
    cm_socket_close(&s);
    cm_socket_ctx_close(&ctx);
    return cm_main_end(st);
}
