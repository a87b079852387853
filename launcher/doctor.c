/* `doctor`: what this machine offers, one line per thing that Flywheel leans on. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/args.h"
#include "common/file.h"
#include "common/log.h"
#include "common/version.h"
#include "launcher/dispatch.h"
#include "launcher/own_commands.h"
#include "launcher/roles.h"

static const struct cm_command command = {
    .name = "flywheel doctor",
    .operands = "[CONFIG [OPTIONS]]",
    .max_operands = -1,
    .summary = "Checks what this machine offers; 1 when something that every use needs is missing.",
    .details = "With CONFIG, starts its ranks (--ranks W, or as many as section cluster asks for) "
               "and checks what\nthey find: hosts, cores, fingerprint, run directory, sums, "
               "clocks, shared memory. OPTIONS are those of\n'flywheel train': --ranks, --set, "
               "--run.",
};

#define GIB (1024.0 * 1024.0 * 1024.0)

enum verdict { GOOD, NOTE, BAD };

static void say(enum verdict verdict, const char *what, const char *finding)
{
    static const char *const words[] = {"ok", "note", "missing"};
    printf("%-8s %-20s %s\n", words[verdict], what, finding);
}

/* First program of this name in PATH. */
static bool find_program(char path[CM_PATH], const char *name)
{
    const char *dirs = getenv("PATH");
    while (dirs && *dirs) {
        size_t n = strcspn(dirs, ":");
        if (snprintf(path, CM_PATH, "%.*s/%s", (int)n, dirs, name) < CM_PATH &&
            access(path, X_OK) == 0)
            return true;
        dirs += n + (dirs[n] == ':');
    }
    return false;
}

static bool check_tiers(void)
{
    static const char *const tiers[] = {"flywheel-train",   "flywheel-allreduce", "flywheel-store",
                                        "flywheel-gateway", "flywheel-worker",    "flywheel-client",
                                        "flywheel-online"};
    char dir[CM_PATH], path[CM_PATH];
    bool all = true;
    if (la_bin_dir(dir) != CM_OK)
        return false;
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++) {
        if (cm_path_join(path, dir, tiers[i]) != CM_OK)
            return false;
        bool there = access(path, X_OK) == 0;
        say(there ? GOOD : BAD, tiers[i], path);
        all = all && there;
    }
    return all;
}

static void check_program(const char *name, const char *why)
{
    char path[CM_PATH], finding[2 * CM_PATH];
    bool there = find_program(path, name);
    snprintf(finding, sizeof finding, "%s", there ? path : why);
    say(there ? GOOD : NOTE, name, finding);
}

static void check_space(const char *path, double wanted_gib)
{
    struct statvfs fs;
    char finding[128];
    if (statvfs(path, &fs)) {
        snprintf(finding, sizeof finding, "%s", strerror(errno));
        say(NOTE, path, finding);
        return;
    }
    double gib = (double)fs.f_bavail * (double)fs.f_frsize / GIB;
    snprintf(finding, sizeof finding, "%.1f GiB free%s", gib, gib < wanted_gib ? ": little" : "");
    say(gib < wanted_gib ? NOTE : GOOD, path, finding);
}

static void check_cpu(void)
{
    char finding[256];
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 0 : CPU_COUNT(&set);
    snprintf(finding, sizeof finding, "%d for this process, %ld in the machine, %.1f GiB of memory",
             n, sysconf(_SC_NPROCESSORS_ONLN),
             (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / GIB);
    say(GOOD, "cpus", finding);
#if defined(__x86_64__)
    bool avx512 = __builtin_cpu_supports("avx512f"), bf16 = __builtin_cpu_supports("avx512bf16");
    say(GOOD, "instructions",
        bf16     ? "AVX-512 with bf16: mixed precision is native"
        : avx512 ? "AVX-512: fp32 is fast, bf16 is not native"
                 : "no AVX-512: fp32 only, bf16 falls back to it");
#endif
}

static int check_machine(void)
{
    say(GOOD, "flywheel", cm_version());
    bool all = check_tiers();
    check_cpu();
    check_program("mpirun", "not in PATH: --ranks needs it (Debian: openmpi-bin)");
    check_program("ssh", "not in PATH: mpirun needs it, even on one host (Debian: openssh-client)");
    check_program("redis-server", "not in PATH: cluster.redis needs it (Debian: redis-server)");
    check_program("curl", "not in PATH: 'data get' needs it (Debian: curl)");
    check_program("sbatch", "not in PATH: only 'submit' needs it");
    check_program("nvidia-smi", "not in PATH: no NVIDIA driver, so CPUs only");
    check_space("/dev/shm", 1);
    check_space(".", 5);
    fflush(stdout);
    return all ? 0 : 1;
}

/* Ranks that section cluster asks for, here or by Slurm. */
static cm_status count_ranks(struct la_launch *launch)
{
    struct la_cluster cluster;
    CM_TRY(la_launch_cluster(&cluster, launch));
    int64_t ranks = cluster.nodes * cluster.ranks_per_node;
    launch->ranks = cluster.train_ranks > ranks ? (long)cluster.train_ranks : (long)ranks;
    return CM_OK;
}

/* What the ranks find; the exit code. */
static int check_ranks(char **args, size_t nargs)
{
    static const struct la_verb verb = {
        .name = "doctor", .program = "flywheel-train", .subcommand = "doctor", .ranked = true};
    char bin_dir[CM_PATH];
    struct la_launch launch = {0};
    struct la_argv argv = {0};
    cm_status st = la_bin_dir(bin_dir);
    if (st == CM_OK)
        st = la_launch_take(&launch, args, nargs);
    if (st == CM_OK && launch.ranks == 0)
        st = count_ranks(&launch);
    if (st == CM_OK)
        st = la_verb_argv(&argv, &verb, bin_dir, launch.rest, launch.nrest);
    int code = st == CM_OK ? la_launch_run(&launch, verb.name, argv.item, argv.n) : cm_main_end(st);
    la_argv_release(&argv);
    return code;
}

int la_command_doctor(int argc, char **argv)
{
    bool with_config = argc > 1 && argv[1][0] != '-';
    if (!with_config) {
        char **operands = NULL;
        int n = 0, none = 0;
        bool helped = false;
        cm_status st = cm_args_parse(&command, argc, argv, &none, &operands, &n, &helped);
        return st != CM_OK || helped ? cm_main_end(st) : check_machine();
    }
    int machine = check_machine();
    int ranks = check_ranks(argv + 1, (size_t)argc - 1);
    return ranks ? ranks : machine;
}
