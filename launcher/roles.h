/* The config section "cluster", and the roles that it asks for on this machine. Building them
 * starts nothing. */
#ifndef LAUNCHER_ROLES_H
#define LAUNCHER_ROLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/file.h"
#include "common/status.h"
#include "launcher/supervise.h"

struct la_cluster {
    char redis[CM_CONFIG_STRING]; /* "host:port", "unix:PATH"; "": none */
    bool gateway;
    int64_t workers;
    int64_t online_ranks, train_ranks; /* 0: none */
    char hostfile[CM_CONFIG_STRING], interface[CM_CONFIG_STRING];
    int64_t probe_ms;
    int64_t restart_ms, restart_max_ms, healthy_ms, stop_timeout_ms;
    /* for `submit` */
    int64_t nodes, ranks_per_node, cpus_per_rank, gpus_per_node, warn_s, requeues;
    char partition[CM_CONFIG_STRING], time_limit[CM_CONFIG_STRING];
};
extern const struct cm_section la_cluster_section;

struct la_backoff la_cluster_backoff(const struct la_cluster *cluster);

/* How the tier programs are called; borrowed. */
struct la_tiers {
    const char *bin_dir; /* where the programs are */
    const char *config;  /* path, as the tiers get it */
    const char *run_dir;
    char *const *options; /* passed on to every tier: --set …, --run … */
    size_t noptions;
};

enum la_roles_kind {
    LA_ROLES_ALL,   /* what the section asks for, each with a log file under RUN/logs */
    LA_ROLES_SERVE, /* gateway and at least one worker, on the caller's own stderr */
};
/* Fills roles[LA_ROLES_MAX] and *n; release each with la_role_release, also after a failure. */
CM_MUST_CHECK
cm_status la_roles_build(struct la_role *roles, size_t *n, enum la_roles_kind kind,
                         const struct la_cluster *cluster, const struct la_tiers *tiers);

/* Makes role's argv, env and scratch those of mpirun with `ranks` ranks of program, or of program
 * alone when one rank on this host is all there is; its stop signal becomes the one that lets the
 * ranks save. */
CM_MUST_CHECK
cm_status la_role_set_ranks(struct la_role *role, int64_t ranks, const struct la_cluster *cluster,
                            char *const *program, size_t nprogram);

/* ---- the private Redis ---- */

struct la_redis_address {
    char host[CM_CONFIG_STRING]; /* or "" */
    int port;                    /* 0: socket */
    char socket[108];            /* absolute; or "" */
};
/* "unix:" paths may be relative to the working directory. */
CM_MUST_CHECK
cm_status la_redis_address_parse(struct la_redis_address *a, const char *text);
/* redis.conf: append-only file in dir, nobody but this address served. Text from cm_alloc. */
CM_MUST_CHECK
cm_status la_redis_conf(char **text, const struct la_redis_address *a, const char *dir);
/* CM_EBUSY when something serves the address already: `up` never uses a Redis that it did not
 * start. */
CM_MUST_CHECK
cm_status la_redis_check_free(const struct la_redis_address *a, const char *text);

#endif
