/* From the section "cluster" to command lines. */
#include "launcher/roles.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "launcher/dispatch.h"
#include "launcher/mpirun.h"

#define KEY(name_, type_, field_, initial_, lo_, hi_, unit_, help_)                                \
    {                                                                                              \
        .name = name_, .type = type_, .offset = offsetof(struct la_cluster, field_),               \
        .initial = initial_, .lo = lo_, .hi = hi_, .unit = unit_, .help = help_                    \
    }

static const struct cm_key keys[] = {
    KEY("redis", CM_KEY_STRING, redis, "\"\"", 0, 0, NULL,
        "address of a private Redis that 'up' starts, host:port or unix:PATH; empty: none"),
    KEY("gateway", CM_KEY_BOOL, gateway, "true", 0, 0, NULL, "start a gateway"),
    KEY("workers", CM_KEY_INT, workers, "1", 0, 64, "processes", "inference workers"),
    KEY("online_ranks", CM_KEY_INT, online_ranks, "0", 0, 4096, "ranks",
        "fine-tuning service; 0: none"),
    KEY("train_ranks", CM_KEY_INT, train_ranks, "0", 0, 4096, "ranks",
        "one training run beside the others; 0: none"),
    KEY("hostfile", CM_KEY_STRING, hostfile, "\"\"", 0, 0, NULL,
        "mpirun's list of hosts; empty: this host, or the Slurm allocation"),
    KEY("interface", CM_KEY_STRING, interface, "\"\"", 0, 0, NULL,
        "network for TCP between ranks, as a name or CIDR; empty: loopback on one host"),
    KEY("probe_ms", CM_KEY_INT, probe_ms, "10000", 100, 600000, "ms",
        "how long a host of the hostfile has to answer before each start; without it the run goes "
        "on with fewer ranks"),
    KEY("restart_ms", CM_KEY_INT, restart_ms, "500", 1, 3600000, "ms",
        "wait before the first restart of a role, doubled with each failure in a row"),
    KEY("restart_max_ms", CM_KEY_INT, restart_max_ms, "30000", 1, 3600000, "ms",
        "longest wait before a restart"),
    KEY("healthy_ms", CM_KEY_INT, healthy_ms, "60000", 1, 86400000, "ms",
        "a life this long ends the row of failures"),
    KEY("stop_timeout_ms", CM_KEY_INT, stop_timeout_ms, "30000", 1, 3600000, "ms",
        "until a role that was told to stop is killed"),
    KEY("nodes", CM_KEY_INT, nodes, "1", 1, 65536, "nodes", "submit: nodes of the job"),
    KEY("ranks_per_node", CM_KEY_INT, ranks_per_node, "1", 1, 1024, "ranks",
        "submit: ranks on each node"),
    KEY("cpus_per_rank", CM_KEY_INT, cpus_per_rank, "0", 0, 4096, "CPUs",
        "submit: CPUs for each rank's train.threads; 0: Slurm's default, which is often one"),
    KEY("gpus_per_node", CM_KEY_INT, gpus_per_node, "0", 0, 64, "GPUs",
        "submit: GPUs on each node; 0: none asked for"),
    KEY("warn_s", CM_KEY_INT, warn_s, "120", 1, 65535, "s",
        "submit: Slurm warns the run this long before the time limit, so that it can save"),
    KEY("requeues", CM_KEY_INT, requeues, "20", 0, 10000, NULL,
        "submit: a job that loses a rank is queued again unless it was restarted so often before"),
    KEY("partition", CM_KEY_STRING, partition, "\"\"", 0, 0, NULL,
        "submit: Slurm partition; empty: the default one"),
    KEY("time_limit", CM_KEY_STRING, time_limit, "\"\"", 0, 0, NULL,
        "submit: as sbatch --time takes it; empty: the partition's"),
};

const struct cm_section la_cluster_section = {.name = "cluster",
                                              .keys = keys,
                                              .nkeys = sizeof keys / sizeof *keys,
                                              .size = sizeof(struct la_cluster)};

struct la_backoff la_cluster_backoff(const struct la_cluster *cluster)
{
    return (struct la_backoff){.initial_ms = cluster->restart_ms,
                               .max_ms = cluster->restart_max_ms,
                               .healthy_ms = cluster->healthy_ms};
}

/* A folder name that nobody has: in shared memory, where mpirun's shared segments belong, or in
 * TMPDIR. */
static cm_status name_scratch(char **path)
{
    const char *dir = "/dev/shm", *tmp = getenv("TMPDIR");
    if (access(dir, W_OK))
        dir = tmp && *tmp ? tmp : "/tmp";
    char text[CM_PATH], id[CM_UUID_TEXT];
    cm_uuid_format(id, cm_uuid_make());
    if (snprintf(text, sizeof text, "%s/flywheel-%s", dir, id) >= (int)sizeof text)
        return CM_FAIL(CM_EINVAL, "TMPDIR: path too long");
    return cm_strdup(path, text);
}

/* Names of the variables that ranks on other hosts should have as well. */
static void list_exports(struct la_argv *names)
{
    la_argv_add(names, LA_ENV_JOB); /* set before each life, so not there yet */
    la_argv_add(names, LA_ENV_LIFE);
    for (char **e = environ; *e; e++) {
        const char *equals = strchr(*e, '=');
        if (equals && strncmp(*e, "FLYWHEEL_", 9) == 0 &&
            strncmp(*e, LA_ENV_JOB "=", sizeof LA_ENV_JOB) != 0 &&
            strncmp(*e, LA_ENV_LIFE "=", sizeof LA_ENV_LIFE) != 0)
            la_argv_addf(names, "%.*s", (int)(equals - *e), *e);
    }
}

/* `flywheel ranks`, which becomes mpirun on the hosts that answer. */
static cm_status ranks_argv(struct la_role *role, const struct la_mpirun *m,
                            const struct la_cluster *cluster)
{
    char bin_dir[CM_PATH];
    CM_TRY(la_bin_dir(bin_dir));
    la_argv_addf(&role->argv, "%s/flywheel", bin_dir);
    la_argv_add(&role->argv, "ranks");
    la_argv_addf(&role->argv, "--np=%lld", (long long)m->ranks);
    la_argv_addf(&role->argv, "--hostfile=%s", cluster->hostfile);
    la_argv_addf(&role->argv, "--interface=%s", m->interface);
    la_argv_addf(&role->argv, "--probe-ms=%lld", (long long)cluster->probe_ms);
    for (size_t i = 0; i < m->nexport_names; i++)
        la_argv_addf(&role->argv, "--export=%s", m->export_names[i]);
    la_argv_add(&role->argv, "--");
    la_argv_add_all(&role->argv, m->program, m->nprogram);
    return la_argv_end(&role->argv);
}

cm_status la_role_set_ranks(struct la_role *role, int64_t ranks, const struct la_cluster *cluster,
                            char *const *program, size_t nprogram)
{
    bool in_allocation = getenv("SLURM_JOB_ID") != NULL;
    if (ranks == 1 && !*cluster->hostfile && !in_allocation) {
        role->stop_signal = SIGTERM;
        la_argv_add_all(&role->argv, program, nprogram);
        return la_argv_end(&role->argv);
    }
    /* mpirun turns TERM into a kill within two seconds, but forwards USR1 to the ranks. */
    role->stop_signal = SIGUSR1;
    CM_TRY(name_scratch(&role->scratch));
    struct la_argv names = {0};
    list_exports(&names);
    cm_status st = la_argv_end(&names);
    struct la_mpirun mpirun = {.ranks = ranks,
                               .hosts = "",
                               .interface = cluster->interface,
                               .in_allocation = in_allocation,
                               .scratch = role->scratch,
                               .program = program,
                               .nprogram = nprogram,
                               .export_names = names.item,
                               .nexport_names = names.n};
    if (st == CM_OK && *cluster->hostfile)
        st = ranks_argv(role, &mpirun, cluster);
    else if (st == CM_OK)
        la_mpirun_build(&mpirun, &role->argv, &role->env);
    la_argv_release(&names);
    CM_TRY(st);
    CM_TRY(la_argv_end(&role->argv));
    return la_argv_end(&role->env);
}

/* The next role, named, restarted for ever, with its log when it has one. */
static cm_status add_role(struct la_role *roles, size_t *n, enum la_roles_kind kind,
                          const struct la_tiers *tiers, int stop_phase, const char *name)
{
    if (*n == LA_ROLES_MAX)
        return CM_FAIL(CM_ECONFIG, "cluster: more than %d roles", LA_ROLES_MAX);
    struct la_role *role = &roles[(*n)++];
    *role = (struct la_role){
        .stop_signal = SIGTERM, .stop_phase = stop_phase, .max_restarts = -1, .last_exit = -1};
    snprintf(role->name, sizeof role->name, "%s", name);
    if (kind == LA_ROLES_SERVE)
        return CM_OK;
    char path[CM_PATH];
    if (snprintf(path, sizeof path, "%s/logs/%s.log", tiers->run_dir, name) >= (int)sizeof path)
        return CM_FAIL(CM_EINVAL, "%s: path too long", tiers->run_dir);
    return cm_strdup(&role->log_path, path);
}

/* PROGRAM [SUBCOMMAND] CONFIG [--id K] OPTIONS… */
static void tier_argv(struct la_argv *argv, const struct la_tiers *tiers, const char *program,
                      const char *subcommand, int id)
{
    la_argv_addf(argv, "%s/%s", tiers->bin_dir, program);
    if (subcommand)
        la_argv_add(argv, subcommand);
    la_argv_add(argv, tiers->config);
    if (id >= 0) {
        la_argv_add(argv, "--id");
        la_argv_addf(argv, "%d", id);
    }
    la_argv_add_all(argv, tiers->options, tiers->noptions);
}

static cm_status add_ranked(struct la_role *roles, size_t *n, const struct la_cluster *cluster,
                            const struct la_tiers *tiers, const char *name, const char *program,
                            int64_t ranks)
{
    CM_TRY(add_role(roles, n, LA_ROLES_ALL, tiers, 0, name));
    struct la_argv argv = {0};
    tier_argv(&argv, tiers, program, name, -1);
    cm_status st = la_argv_end(&argv);
    if (st == CM_OK)
        st = la_role_set_ranks(&roles[*n - 1], ranks, cluster, argv.item, argv.n);
    la_argv_release(&argv);
    CM_TRY(st);
    return la_lives_open(&roles[*n - 1].lives, tiers->run_dir, name);
}

static cm_status add_redis(struct la_role *roles, size_t *n, const struct la_tiers *tiers)
{
    CM_TRY(add_role(roles, n, LA_ROLES_ALL, tiers, 2, "redis"));
    struct la_argv *argv = &roles[*n - 1].argv;
    la_argv_add(argv, "redis-server");
    la_argv_addf(argv, "%s/redis/redis.conf", tiers->run_dir);
    return la_argv_end(argv);
}

cm_status la_roles_build(struct la_role *roles, size_t *n, enum la_roles_kind kind,
                         const struct la_cluster *cluster, const struct la_tiers *tiers)
{
    *n = 0;
    bool all = kind == LA_ROLES_ALL;
    /* Stopped in phases: who needs workers to finish its requests goes before them, and all before
     * Redis. */
    if (all && *cluster->redis)
        CM_TRY(add_redis(roles, n, tiers));
    if (!all || cluster->gateway) {
        CM_TRY(add_role(roles, n, kind, tiers, 0, "gateway"));
        tier_argv(&roles[*n - 1].argv, tiers, "flywheel-gateway", NULL, -1);
        CM_TRY(la_argv_end(&roles[*n - 1].argv));
    }
    int64_t workers = all || cluster->workers ? cluster->workers : 1;
    for (int k = 0; k < workers; k++) {
        char name[LA_ROLE_NAME];
        snprintf(name, sizeof name, "worker-%d", k);
        CM_TRY(add_role(roles, n, kind, tiers, 1, name));
        tier_argv(&roles[*n - 1].argv, tiers, "flywheel-worker", NULL, k);
        CM_TRY(la_argv_end(&roles[*n - 1].argv));
    }
    if (all && cluster->online_ranks)
        CM_TRY(add_ranked(roles, n, cluster, tiers, "online", "flywheel-online",
                          cluster->online_ranks));
    if (all && cluster->train_ranks) {
        CM_TRY(
            add_ranked(roles, n, cluster, tiers, "train", "flywheel-train", cluster->train_ranks));
        roles[*n - 1].once = true;
    }
    return *n ? CM_OK : CM_FAIL(CM_ECONFIG, "section cluster asks for no role at all");
}
