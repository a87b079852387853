/* Links of ZeroMQ clients, of which libzmq takes any number, until descriptors run out; and then
 * the next worker that comes through the run directory ends the process, as libzmq 4.3 takes that
 * accept's EMFILE for a fault of its own. So when half of all descriptors are open, the port of the
 * clients is closed for a moment, which cuts all its links. Clients come back and ask again under
 * the same ids; whoever only holds links has lost them. */
#include "serve/gateway_private.h"

#include <stdio.h>

#include "common/descriptors.h"
#include "common/log.h"

#define LINKS    4096                 /* of ZeroMQ, where the hard limit allows */
#define PAUSE_NS INT64_C(1000000000)  /* until the port is opened again */
#define TELL_NS  INT64_C(60000000000) /* between two warnings */

cm_status sv_crowd_open(struct sv_gateway *g)
{
    int http = cm_http_descriptors((int)g->serve->http_connections);
    int least = 3 * http; /* all of HTTP's, and room for links below the half */
    g->max_descriptors = cm_descriptors_raise(least + 2 * LINKS);
    if (g->max_descriptors >= least)
        return CM_OK;
    return CM_FAIL(CM_ECONFIG,
                   "serve.http_connections %d: that takes a limit of %d descriptors, and this "
                   "process may have %d (ulimit -Hn)",
                   (int)g->serve->http_connections, least, g->max_descriptors);
}

static void close_port(struct sv_gateway *g, int open, int64_t now_ns)
{
    const char *endpoint = g->endpoints.clients;
    bool told = g->crowd_told_ns && now_ns - g->crowd_told_ns < TELL_NS;
    g->crowd_end_ns = now_ns + PAUSE_NS;
    if (cm_socket_unbind(g->clients, endpoint) != CM_OK)
        cm_error_report(CM_LOG_WARN, CM_EIO, "too many links");
    if (told)
        return;
    g->crowd_told_ns = now_ns;
    cm_log_warn("all links at %.*s are cut: %d descriptors are open, of at most %d",
                cm_endpoint_bare(endpoint), endpoint, open, g->max_descriptors);
}

/* The port is free a moment after it was closed: else at the next look. */
static void open_port(struct sv_gateway *g)
{
    char address[SV_ENDPOINT];
    int n = cm_endpoint_bare(g->endpoints.clients);
    snprintf(address, sizeof address, "%.*s", n, g->endpoints.clients);
    if (cm_socket_bind(g->clients, address, NULL, 0) == CM_OK)
        g->crowd_end_ns = 0;
}

void sv_crowd_tend(struct sv_gateway *g, int64_t now_ns)
{
    int open = cm_descriptors_lowest(g->cfg->stop_fd);
    if (!g->crowd_end_ns && open > g->max_descriptors / 2)
        close_port(g, open, now_ns);
    else if (g->crowd_end_ns && now_ns >= g->crowd_end_ns)
        open_port(g);
}
