/* A ranked command under supervision: `flywheel train CONFIG --ranks W --restarts N`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/args.h"
#include "common/config.h"
#include "common/log.h"
#include "launcher/dispatch.h"
#include "launcher/hosts.h"
#include "launcher/mpirun.h"
#include "launcher/roles.h"
#include "launcher/slurm.h"

/* The values of an option in the tier's arguments, "--name V" or "--name=V" or "-l V". */
static size_t values_of(const char **values, size_t most, const struct la_launch *launch,
                        const char *name, char letter)
{
    size_t n = 0, length = strlen(name);
    for (size_t i = 0; i < launch->nrest && n < most; i++) {
        const char *arg = launch->rest[i];
        bool is_long = strncmp(arg, name, length) == 0;
        if (is_long && arg[length] == '=')
            values[n++] = arg + length + 1;
        else if (((is_long && !arg[length]) ||
                  (letter && arg[0] == '-' && arg[1] == letter && !arg[2])) &&
                 i + 1 < launch->nrest)
            values[n++] = launch->rest[++i];
    }
    return n;
}

/* The section "cluster" of the run's configuration, or its defaults when the command has none, and
 * its run directory. */
static cm_status read_cluster(struct la_cluster *cluster, char run_dir[CM_PATH],
                              const struct la_launch *launch)
{
    struct cm_config *cfg = NULL;
    const char *sets[CM_OPT_LIST_MAX], *run = NULL;
    size_t nsets = values_of(sets, CM_OPT_LIST_MAX, launch, "--set", 's');
    (void)values_of(&run, 1, launch, "--run", '\0');
    CM_TRY(cm_config_open(&cfg, launch->config, sets, nsets));
    cm_status st = cm_config_read(cfg, &la_cluster_section, cluster);
    if (st == CM_OK)
        st = cm_config_run_dir(cfg, run, run_dir);
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

/* mpirun hands on what its ranks say through pipes: so they are told who reads it. */
static void tell_of_terminal(void)
{
    bool terminal = isatty(STDERR_FILENO) != 0;
    (void)(terminal ? setenv(CM_ENV_TERMINAL, "1", 1) : unsetenv(CM_ENV_TERMINAL));
}

static cm_status run(const struct la_launch *launch, const char *name, char *const *program,
                     size_t nprogram, struct la_role *role, int *code)
{
    struct la_cluster cluster;
    char run_dir[CM_PATH];
    CM_TRY(read_cluster(&cluster, run_dir, launch));
    if (launch->config)
        CM_TRY(la_lives_open(&role->lives, run_dir, name));
    CM_TRY(la_interface_check(cluster.interface));
    CM_TRY(la_slurm_check_room(launch->ranks, getenv));
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

cm_status la_launch_cluster(struct la_cluster *cluster, const struct la_launch *launch)
{
    char run_dir[CM_PATH];
    return read_cluster(cluster, run_dir, launch);
}

cm_status la_launch_check(const struct la_launch *launch)
{
    struct la_cluster cluster;
    char run_dir[CM_PATH];
    if (!launch->config || !la_inside_mpi(getenv) || !getenv("SLURM_JOB_ID"))
        return CM_OK;
    CM_TRY(read_cluster(&cluster, run_dir, launch));
    return la_slurm_check_step(&cluster, getenv);
}

int la_launch_run(const struct la_launch *launch, const char *name, char *const *program,
                  size_t nprogram)
{
    if (la_inside_mpi(getenv))
        return cm_main_end(
            CM_FAIL(CM_EUSAGE, "--ranks and --restarts start ranks; this process is one"));
    struct la_role role = {0};
    int code = 1;
    tell_of_terminal();
    cm_status st = run(launch, name, program, nprogram, &role, &code);
    la_role_release(&role);
    return st == CM_OK ? code : cm_main_end(st);
}
