/* Tells a running gateway that the champion changed. Best effort: a gateway also looks at the store
 * by itself. One thread. */
#ifndef ONLINE_HERALD_H
#define ONLINE_HERALD_H

#include "common/config.h"
#include "common/file.h"
#include "common/socket.h"
#include "common/status.h"
#include "wire/announce.h"

struct ol_herald {                   /* zeroed is fine */
    char path[CM_PATH];              /* RUN/serve.json */
    char endpoint[CM_CONFIG_STRING]; /* connected to; "": none */
    struct cm_socket_ctx *ctx;
    struct cm_socket *socket;
};

CM_MUST_CHECK
cm_status ol_herald_open(struct ol_herald *h, const char *run_dir);
void ol_herald_close(struct ol_herald *h);
/* Connects to the gateway that serve.json names now. Well before tell: what a publisher sends while
 * its connection is being made is lost. */
void ol_herald_look(struct ol_herald *h);
void ol_herald_tell(struct ol_herald *h, const struct wi_announce *news);

#endif
