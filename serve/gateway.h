/* The gateway: takes requests over ZeroMQ and HTTP, batches them for workers, and decides which
 * version answers. One thread owns all sockets, the queue and every decision; README.md draws it.
 */
#ifndef SERVE_GATEWAY_H
#define SERVE_GATEWAY_H

#include "common/lines.h"
#include "common/status.h"
#include "serve/serve_config.h"

struct sv_gateway_config {
    const struct sv_config *serve;
    const char *run_dir;
    const char *store_dir;
    struct cm_lines *lines; /* of events, as of the log; NULL: they are written at once */
    int stop_fd;            /* a signalfd: the first signal drains, the second ends at once */
};

/* Runs until stopped. CM_EBUSY names the port that is in use. */
CM_MUST_CHECK
cm_status sv_gateway_run(const struct sv_gateway_config *cfg);

#endif
