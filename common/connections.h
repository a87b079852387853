/* The connections of a server: how many there are, which are too many, and which take too long for
 * what they are about. Any thread. */
#ifndef COMMON_CONNECTIONS_H
#define COMMON_CONNECTIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct cm_connection; /* of one descriptor */

struct cm_connections {
    pthread_mutex_t lock; /* guards the rest, and the connections */
    struct cm_connection *first;
    int n, max; /* those past max are in excess */
    int ncut;   /* of n, to be removed soon */
    int64_t idle_ns, excess_idle_ns;
};

/* How long each may wait for its next request, and how long those in excess. */
void cm_connections_init(struct cm_connections *all, int max, int64_t idle_ns,
                         int64_t excess_idle_ns);
void cm_connections_release(struct cm_connections *all); /* when all were removed */

/* Idle from now on; for one in excess another that idles is cut, as cm_connections_cut does. NULL:
 * out of memory. The descriptor stays the caller's, who removes the connection before closing it,
 * so that no other one is ever cut. */
struct cm_connection *cm_connections_add(struct cm_connections *all, int fd);
void cm_connections_remove(struct cm_connections *all, struct cm_connection *c);
/* From now on it is cut ns later; INT64_MAX: never. */
void cm_connections_set_due(struct cm_connections *all, struct cm_connection *c, int64_t ns);
/* From now on it waits for its next request. */
void cm_connections_set_idle(struct cm_connections *all, struct cm_connection *c);
/* Was it one too many when it came, and is there still no place? */
bool cm_connections_is_excess(struct cm_connections *all, struct cm_connection *c);
/* Shuts down those that are due, and for each in excess one that has waited for its next request
 * for as long as one in excess may: whoever reads from them finds their end. */
void cm_connections_cut(struct cm_connections *all);

#endif
