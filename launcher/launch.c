/* A ranked command under supervision: `flywheel train CONFIG --ranks W --restarts N`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "launcher/dispatch.h"
#include "launcher/mpirun.h"
#include "launcher/roles.h"

/* The section "cluster" of the run's configuration, or its defaults when the command has none. */
static cm_status read_cluster(struct la_cluster *cluster, const char *path)
{
    struct cm_config *cfg = NULL;
    CM_TRY(cm_config_open(&cfg, path, NULL, 0));
    cm_status st = cm_config_read(cfg, &la_cluster_section, cluster);
    cm_config_close(&cfg);
    return st;
}

/* The code of a run that was told to stop: ranks that USR1 found before they could handle it had
 * nothing to lose. */
static int run_code(const struct la_supervisor *s, int exit_code)
{
    if (s->stopping && (exit_code == 128 + SIGUSR1 || exit_code < 0))
        return LA_EXIT_PREEMPTED;
    return exit_code < 0 ? 1 : exit_code;
}

static cm_status run(const struct la_launch *launch, const char *name, char *const *program,
                     size_t nprogram, struct la_role *role, int *code)
{
    struct la_cluster cluster;
    CM_TRY(read_cluster(&cluster, launch->config));
    snprintf(role->name, sizeof role->name, "%s", name);
    role->once = true;
    role->max_restarts = launch->restarts < 0 ? 0 : launch->restarts;
    CM_TRY(la_role_set_ranks(role, launch->ranks ? launch->ranks : 1, &cluster, program, nprogram));
    struct la_supervisor supervisor = {.roles = role,
                                       .nroles = 1,
                                       .backoff = la_cluster_backoff(&cluster),
                                       .stop_timeout_ms = cluster.stop_timeout_ms,
                                       .keep_fd = -1};
    CM_TRY(la_supervise(&supervisor));
    *code = run_code(&supervisor, role->last_exit);
    return CM_OK;
}

int la_launch_run(const struct la_launch *launch, const char *name, char *const *program,
                  size_t nprogram)
{
    if (la_inside_mpi(getenv))
        return cm_main_end(
            CM_FAIL(CM_EUSAGE, "--ranks and --restarts start ranks; this process is one"));
    struct la_role role = {0};
    int code = 1;
    cm_status st = run(launch, name, program, nprogram, &role, &code);
    la_role_release(&role);
    return st == CM_OK ? code : cm_main_end(st);
}
