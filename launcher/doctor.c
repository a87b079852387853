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

static const struct cm_command command = {
    .name = "flywheel doctor",
    .operands = "",
    .summary = "Checks what this machine offers; 1 when something that every use needs is missing.",
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

int la_command_doctor(int argc, char **argv)
{
    char **operands = NULL;
    int n = 0;
    bool helped = false;
    int none = 0;
    cm_status st = cm_args_parse(&command, argc, argv, &none, &operands, &n, &helped);
    if (st != CM_OK || helped)
        return cm_main_end(st);
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
    return all ? 0 : 1;
}
