/* Where a running gateway can be reached: RUN/serve.json, which it replaces atomically at start and
 * removes at its end, for workers, clients, publishers and tests. RUN/serve.lock makes it the only
 * gateway of its run directory. */
#ifndef SERVE_ENDPOINTS_H
#define SERVE_ENDPOINTS_H

#include <stdint.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/status.h"

#define SV_ENDPOINT 256 /* longest endpoint, with its NUL */

struct sv_endpoints {
    char clients[SV_ENDPOINT];  /* ZeroMQ: wire/client.h */
    char workers[SV_ENDPOINT];  /* ZeroMQ: wire/worker.h */
    char announce[SV_ENDPOINT]; /* ZeroMQ SUB: publishers connect a PUB and send wire/announce.h */
    char http_host[SV_ENDPOINT];
    int http_port; /* 0: no HTTP */
    int64_t pid;
    char life[CM_UUID_TEXT]; /* of this gateway's life */
};

CM_MUST_CHECK
cm_status sv_endpoints_write(const struct sv_endpoints *e, const char *run_dir);
/* CM_ENOTFOUND: no gateway has been started there, or it has ended. */
CM_MUST_CHECK
cm_status sv_endpoints_read(struct sv_endpoints *e, const char *run_dir);
/* Removes serve.json. */
void sv_endpoints_remove(const char *run_dir);

/* configured, or, when it is "", a socket called name in run_dir, by its whole path, since others
 * have other working directories; where that is too long for one, a free port of this host. */
void sv_endpoint_choose(char out[SV_ENDPOINT], const char *configured, const char *run_dir,
                        const char *name);

/* Held until closed, or the process ends however it may. CM_EBUSY names who holds it. */
CM_MUST_CHECK
cm_status sv_run_lock(int *fd, const char *run_dir);
void sv_run_unlock(int *fd); /* -1 is fine */

#endif
