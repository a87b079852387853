/* The hosts of a run with a hostfile: which answer, and how many ranks fit on those. */
#ifndef LAUNCHER_HOSTS_H
#define LAUNCHER_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "launcher/argv.h"

#define LA_HOSTS_MAX 1024
#define LA_HOST_NAME 256

struct la_host {
    char name[LA_HOST_NAME];
    int64_t slots;
    bool gone; /* does not answer */
};
struct la_hosts {
    struct la_host *host; /* owned */
    size_t n;
};

/* As mpirun reads it: "NAME [slots=N] …" a line, '#' begins a comment, a name without a number is
 * one slot, and one that comes again has more. what names the text in messages. */
CM_MUST_CHECK cm_status la_hosts_parse(struct la_hosts *out, const char *text, const char *what);
void la_hosts_release(struct la_hosts *hosts);

/* Starts a process on each host at once, as mpirun would start ranks there, and marks as gone those
 * where that fails or takes too long. mpirun: its argv up to the choice of hosts. */
CM_MUST_CHECK cm_status la_hosts_probe(struct la_hosts *hosts, const struct la_argv *mpirun,
                                       int64_t timeout_ms);

/* How many ranks to start: as many as are wanted; when hosts are gone and the rest has too few
 * slots, the largest power of two that fits. CM_ECONFIG: even with all hosts there are too few
 * slots. CM_ECONNECT: no host answers. Pure. */
CM_MUST_CHECK cm_status la_hosts_ranks(int64_t *ranks, const struct la_hosts *hosts, int64_t wanted,
                                       const char *what);
/* "h1:2,h3:2", those that answer, in the file's order. From cm_alloc. */
CM_MUST_CHECK cm_status la_hosts_list(char **list, const struct la_hosts *hosts);

/* cluster.interface: networks by name or CIDR, with commas, as mpirun takes them. CM_ECONFIG: this
 * host has no network of that name, of which mpirun would say nothing. Other hosts are not asked.
 */
CM_MUST_CHECK cm_status la_interface_check(const char *interface);

#endif
