/* flywheel-train doctor: what the ranks of a run find where they were started. Every check is one
 * line; a failed one makes the command fail. */
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "allreduce/pattern.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/mem.h"
#include "common/vec.h"
#include "model/plan.h"
#include "trainer/commands.h"
#include "trainer/device_sum.h"
#include "trainer/fingerprint.h"
#include "trainer/rank_device.h"

#define MIB          (1024.0 * 1024.0)
#define GIB          (1024.0 * MIB)
#define SUM_NBYTES   ((size_t)16 << 20) /* larger than the caches of a core */
#define SUM_TIMES    5
#define CLOCKS_S     2
#define CLOCK_LOOKS  3 /* a rank that waits for a core looks late; hardly each time */
#define SHM_MIB      50
#define SLOW_SYNC_MS 100 /* a version is a handful of these */

/* What a rank says about itself; plain bytes, gathered. */
struct finding {
    char host[64], cpu[128], slurm[96], fingerprint[1024];
    char core_set[64];  /* the cores that it may run on, "0-3,8" */
    int64_t pid, cores; /* how many these are */
    int64_t given;   /* cores that its launcher could give to all ranks of the host; 0: unknown */
    int64_t threads; /* to compute: as the config says, or its part of those; 0: a GPU does */
    uint64_t core_hash; /* of the very cores */
    uint64_t bits_hash; /* of the whole fingerprint, which is cut above */
    uint64_t shm_id;    /* of the file system */
    double shm_free_mib, shm_mib;
    double ahead_s; /* of rank 0's clock, at least so far; < 0: behind */
};

struct doctor {
    struct tr_session session;
    struct ar_group *group;
    struct finding *all; /* (ranks) */
    int rank, size, faults;
};

/* What to do about a finding that is bad; "" when it says so itself. */
static const char *advice(const char *what)
{
    static const char *const known[][2] = {
        {"rank", "; start them by 'flywheel train --ranks', or mpirun --bind-to none (or set "
                 "train.threads)"},
        {"shared memory", "; MPI needs room there (containers: --shm-size)"},
        {"fingerprint", "; use one build, on hosts of one kind"},
        {"clocks", "; set them by NTP, or no two logs can be compared"},
        {"run directory", "; give all ranks the same --run, on storage that all hosts share"},
        {"disk", "; write versions elsewhere, or less often (store.every_steps)"},
        {"all-reduce", "; memory, network or library of a rank is at fault: do not train here"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i][0], what) == 0)
            return known[i][1];
    return "";
}

static void say(struct doctor *d, bool good, const char *what, const char *fmt, ...)
    CM_PRINTF(4, 5);
static void say(struct doctor *d, bool good, const char *what, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    d->faults += !good;
    if (d->rank == 0)
        printf("%-8s %-20s %s%s\n", good ? "ok" : "BAD", what, text, good ? "" : advice(what));
}

/* ---- who is where ---- */

static const char *line_of(const char *text, const char *item, char *line, size_t n)
{
    const char *at = strstr(text, item);
    at = at ? at + strlen(item) : "";
    snprintf(line, n, "%.*s", (int)strcspn(at, "\n"), at);
    return line;
}

/* "0-3,8", cut to size. */
static void list_cores(char *text, size_t n, const cpu_set_t *set)
{
    size_t at = 0;
    *text = '\0';
    for (int c = 0; c < CPU_SETSIZE && at < n; c++) {
        char range[32] = "";
        int first = c;
        while (c < CPU_SETSIZE && CPU_ISSET(c, set))
            c++;
        if (c > first + 1)
            snprintf(range, sizeof range, "-%d", c - 1);
        if (c > first)
            at += (size_t)snprintf(text + at, n - at, "%s%d%s", at ? "," : "", first, range);
    }
}

/* Neither a container nor Slurm need to have given it all cores of the host. */
static int64_t cores_of_launcher(void)
{
    const char *slurm = getenv("SLURM_CPUS_ON_NODE");
    cpu_set_t set;
    if (slurm)
        return strtoll(slurm, NULL, 10);
    return sched_getaffinity(getppid(), sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

static void look_at_cores(const struct doctor *d, struct finding *f)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        f->cores = CPU_COUNT(&set);
        f->core_hash = cm_xxh64(&set, sizeof set);
        list_cores(f->core_set, sizeof f->core_set, &set);
    }
    f->given = cores_of_launcher();
    if (d->session.device)
        return;
    f->threads = d->session.train.threads;
    if (f->threads == 0)
        f->threads = f->given / ar_group_local_size(d->group);
    if (f->threads == 0)
        f->threads = 1;
}

static cm_status look_around(struct doctor *d, struct finding *f)
{
    struct tr_session *s = &d->session;
    const struct nn_backend *backend = tr_session_backend(s);
    CM_TRY(tr_fingerprint(&s->fingerprint, backend,
                          nn_precision_dtype((enum nn_precision)s->model.precision, backend)));
    if (s->device)
        CM_TRY(tr_fingerprint_device(&s->fingerprint, s->device));
    (void)gethostname(f->host, sizeof f->host - 1);
    line_of(s->fingerprint, "cpu ", f->cpu, sizeof f->cpu);
    f->pid = getpid();
    snprintf(f->fingerprint, sizeof f->fingerprint, "%s", s->fingerprint);
    f->bits_hash = cm_xxh64(s->fingerprint, strlen(s->fingerprint));
    look_at_cores(d, f);
    struct statvfs shm;
    struct stat id;
    if (stat("/dev/shm", &id) == 0)
        f->shm_id = (uint64_t)id.st_dev;
    if (statvfs("/dev/shm", &shm) == 0) {
        f->shm_mib = (double)shm.f_blocks * (double)shm.f_frsize / MIB;
        f->shm_free_mib = (double)shm.f_bavail * (double)shm.f_frsize / MIB;
    }
    const char *job = getenv("SLURM_JOB_ID"), *node = getenv("SLURMD_NODENAME");
    const char *step = getenv("SLURM_STEP_ID");
    if (job)
        snprintf(f->slurm, sizeof f->slurm, "job %s, step %s, node %s", job, step ? step : "-",
                 node ? node : "-");
    return CM_OK;
}

/* Ranks of one host that were each bound to some of the cores, and to the same ones. */
static bool shares_cores(const struct doctor *d, int r)
{
    const struct finding *mine = &d->all[r];
    for (int k = 0; k < d->size; k++)
        if (k != r && strcmp(d->all[k].host, mine->host) == 0 &&
            d->all[k].core_hash == mine->core_hash && mine->cores < mine->given)
            return true;
    return false;
}

/* All ranks look at their clocks at the same moment, nearly. An error injected at
 * train.doctor.clock puts one an hour ahead. */
static cm_status compare_clocks(struct doctor *d, double *ahead_s)
{
    double wrong_s = cm_fault("train.doctor.clock") == CM_OK ? 0 : 3600, rank0_s;
    for (int i = 0; i < CLOCK_LOOKS; i++) {
        CM_TRY(ar_group_agree(d->group, CM_OK, "looking at clocks"));
        double mine_s = rank0_s = cm_utc_now() + wrong_s;
        CM_TRY(ar_group_broadcast(d->group, &rank0_s, sizeof rank0_s, 0));
        if (i == 0 || fabs(mine_s - rank0_s) < fabs(*ahead_s))
            *ahead_s = mine_s - rank0_s;
    }
    return CM_OK;
}

/* A rank before it sees the same shared memory: ranks may be many, hosts are few. */
static bool was_told_of(const struct doctor *d, int r)
{
    const struct finding *mine = &d->all[r];
    for (int k = 0; k < r; k++)
        if (strcmp(d->all[k].host, mine->host) == 0 && d->all[k].shm_id == mine->shm_id)
            return true;
    return false;
}

static cm_status map_ranks(struct doctor *d)
{
    struct finding mine = {0};
    CM_TRY(ar_group_agree(d->group, look_around(d, &mine), "looking around"));
    CM_TRY(compare_clocks(d, &mine.ahead_s));
    CM_TRY(ar_group_gather(d->group, &mine, sizeof mine, d->all));
    for (int r = 0; r < d->size; r++) {
        const struct finding *f = &d->all[r];
        bool shared = shares_cores(d, r), few = f->cores < f->threads;
        char threads[48] = "";
        if (f->threads > 0)
            snprintf(threads, sizeof threads, " for %lld threads", (long long)f->threads);
        say(d, !shared && !few, "rank", "%d: %s, process %lld, %lld cores (%s%s)%s, %s%s%s", r,
            f->host, (long long)f->pid, (long long)f->cores, f->core_set,
            shared ? "; another rank has them too" : "", threads, f->cpu,
            *f->slurm ? ", Slurm " : "", f->slurm);
        if (!was_told_of(d, r))
            say(d, f->shm_free_mib > SHM_MIB, "shared memory",
                "rank %d on %s: %.0f of %.0f MiB free in /dev/shm", r, f->host, f->shm_free_mib,
                f->shm_mib);
    }
    return CM_OK;
}

/* ---- the GPUs ---- */

/* A sum on the GPU, where one is asked for, is what the host makes of it: driver, plug-in, memory
 * and a kernel work. An error injected at train.doctor.device makes the host's another. */
static cm_status try_device(struct nn_device *device, double *off)
{
    enum { N = 1 << 16 };
    const struct nn_backend *backend = nn_device_backend(device);
    float *host = NULL, *x = NULL;
    double *space = NULL, sum = 0;
    cm_status st;
    CM_GOTO(st, cm_alloc_aligned(&host, N, sizeof *host, "numbers"), out);
    ar_pattern_integers(host, N, 0);
    CM_GOTO(st, backend->alloc(backend, &x, N * sizeof *x, "numbers"), out);
    CM_GOTO(st, backend->alloc(backend, &space, (N / 4096 + 1) * sizeof *space, "sums"), out);
    CM_GOTO(st, nn_device_copy(device, NULL, x, host, N * sizeof *x), out);
    CM_GOTO(st, nn_device_sum_squares(device, NULL, space + N / 4096, x, N, space), out);
    CM_GOTO(st, nn_device_copy(device, NULL, &sum, space + N / 4096, sizeof sum), out);
    if (cm_fault("train.doctor.device") != CM_OK)
        host[N / 2] += 1;
    *off = sum - cm_vec_sum_squares(host, N);
out:
    backend->release(backend, &x);
    backend->release(backend, &space);
    cm_free(&host);
    return st;
}

static cm_status check_devices(struct doctor *d)
{
    struct tr_session *s = &d->session;
    char mine[192] = "", (*all)[192];
    double off = 0;
    cm_status st = tr_rank_device_open(&s->device, &s->model, &s->allreduce, d->group);
    if (st == CM_OK && s->device)
        st = ar_group_agree(d->group, try_device(s->device, &off), "trying the GPU");
    if (st != CM_OK) {
        say(d, false, "device", "%s: %s", s->model.device, cm_error_text());
        return CM_OK;
    }
    if (s->device)
        snprintf(mine, sizeof mine, "%s%s", nn_device_describe(s->device),
                 off != 0 ? ": WRONG SUM" : "");
    CM_TRY(ar_group_agree(d->group, cm_alloc(&all, (size_t)d->size, sizeof *all, "devices"),
                          "asking for devices"));
    st = ar_group_gather(d->group, mine, sizeof mine, all);
    bool any = false;
    for (int r = 0; r < d->size && st == CM_OK; r++)
        any = any || *all[r];
    for (int r = 0; r < d->size && any; r++)
        say(d, !strstr(all[r], "WRONG"), "device", "rank %d: %s", r, *all[r] ? all[r] : "the CPU");
    if (st == CM_OK && !any)
        say(d, true, "device", "the CPU, on all ranks");
    cm_free(&all);
    return st;
}

static void compare_fingerprints(struct doctor *d)
{
    const char *ours = d->all[0].fingerprint;
    char theirs[TR_FINGERPRINT_LINE], rank0s[TR_FINGERPRINT_LINE], library[TR_FINGERPRINT_LINE];
    for (int r = 1; r < d->size; r++) {
        if (d->all[r].bits_hash == d->all[0].bits_hash)
            continue;
        if (!tr_fingerprint_differs(d->all[r].fingerprint, ours, theirs, rank0s))
            theirs[0] = rank0s[0] = '\0'; /* beyond what was gathered */
        say(d, false, "fingerprint", "rank %d on %s has '%s', rank 0 '%s': other bits", r,
            d->all[r].host, theirs, rank0s);
        return;
    }
    say(d, true, "fingerprint", "the same on all ranks: %016llx, %s",
        (unsigned long long)d->all[0].bits_hash,
        line_of(ours, "library ", library, sizeof library));
}

static void compare_findings(struct doctor *d)
{
    int off = 0;
    for (int r = 1; r < d->size; r++)
        if (fabs(d->all[r].ahead_s) > fabs(d->all[off].ahead_s))
            off = r;
    compare_fingerprints(d);
    const struct finding *f = &d->all[off];
    double off_s = fabs(f->ahead_s);
    if (off_s < CLOCKS_S)
        say(d, true, "clocks", "at most %.3f s apart", off_s);
    else
        say(d, false, "clocks", "rank %d on %s is %.1f s %s rank 0 on %s", off, f->host, off_s,
            f->ahead_s < 0 ? "behind" : "ahead of", d->all[0].host);
}

/* ---- the run directory ---- */

/* Every rank renames a folder of its own to one name: who is not the first must be refused. */
static cm_status race(struct doctor *d, const char *dir, int64_t *won)
{
    char name[64], mine[CM_PATH], prize[CM_PATH];
    snprintf(name, sizeof name, "rank-%d", d->rank);
    CM_TRY(cm_path_join(mine, dir, name));
    CM_TRY(cm_path_join(prize, dir, "prize"));
    cm_status st = cm_path_is_dir(dir) ? cm_dir_make_new(mine) : CM_ENOTFOUND;
    *won = st == CM_OK ? 0 : -1; /* -1: it is not there */
    CM_TRY(ar_group_agree(d->group, CM_OK, "the folder of the test"));
    if (*won == 0)
        *won = cm_dir_rename(mine, prize) == CM_OK;
    return CM_OK;
}

static cm_status judge_race(struct doctor *d, int64_t won)
{
    int64_t *all;
    int winners = 0, blind = -1;
    CM_TRY(cm_alloc(&all, (size_t)d->size, sizeof *all, "winners"));
    cm_status st = ar_group_gather(d->group, &won, sizeof won, all);
    for (int r = 0; r < d->size && st == CM_OK; r++) {
        winners += all[r] > 0;
        blind = all[r] < 0 && blind < 0 ? r : blind;
    }
    cm_free(&all);
    CM_TRY(st);
    if (blind >= 0)
        say(d, false, "run directory", "%s: rank %d on %s does not see what rank 0 made there",
            d->session.run_dir, blind, d->all[blind].host);
    else
        say(d, winners == 1, "run directory", "%s: shared; of %d renames to one name %d succeeded",
            d->session.run_dir, d->size, winners);
    return CM_OK;
}

/* Rank 0: milliseconds of a small durable write. */
static cm_status time_write(const char *dir, double *ms)
{
    char path[CM_PATH];
    const char text[4096] = "flywheel doctor";
    CM_TRY(cm_path_join(path, dir, "write"));
    int64_t began_ns = cm_now_ns();
    CM_TRY(cm_file_replace(path, text, sizeof text));
    *ms = (double)(cm_now_ns() - began_ns) * 1e-6;
    return CM_OK;
}

static cm_status check_run_dir(struct doctor *d)
{
    char dir[CM_PATH] = "", id[CM_UUID_TEXT], name[CM_UUID_TEXT + 16];
    double ms = 0;
    uint64_t nbytes = 0;
    int64_t won = -1;
    cm_uuid_format(id, cm_uuid_make());
    snprintf(name, sizeof name, ".doctor-%s", id);
    CM_TRY(ar_group_broadcast(d->group, name, sizeof name, 0));
    CM_TRY(cm_path_join(dir, d->session.run_dir, name));
    cm_status st = CM_OK;
    if (d->rank == 0) {
        st = cm_dir_make(dir);
        if (st == CM_OK)
            st = time_write(dir, &ms);
        if (st == CM_OK)
            st = cm_disk_free(&nbytes, dir);
    }
    st = ar_group_agree(d->group, st, "writing to the run directory");
    if (st != CM_OK) {
        struct cm_error why;
        cm_error_save(&why);
        if (d->rank == 0 && cm_dir_remove(dir) != CM_OK)
            cm_error_restore(&why); /* of both faults the first one tells more */
        return st;
    }
    say(d, ms < SLOW_SYNC_MS, "disk", "%.1f ms for a small durable write, %.1f GiB free", ms,
        (double)nbytes / GIB);
    CM_TRY(race(d, dir, &won));
    st = judge_race(d, won);
    return d->rank == 0 && cm_dir_remove(dir) != CM_OK ? CM_EIO : st;
}

/* ---- the sum ---- */

/* What is summed, where a run's gradients lie. */
struct vector {
    size_t n;
    float *host, *want;
    struct nn_device *gpu; /* NULL: on the host */
    float *device;
};

/* Small integers have the same sum in every order, but would not survive rounding. */
static cm_status open_vector(struct doctor *d, struct vector *v)
{
    size_t nbytes = v->n * sizeof *v->host;
    CM_TRY(cm_alloc_aligned(&v->want, v->n, sizeof *v->want, "sums"));
    if (d->session.allreduce.compress)
        ar_pattern_tree(v->want, v->n, (struct ar_range){0, (size_t)d->size}, true);
    for (size_t i = 0; i < v->n && !d->session.allreduce.compress; i++)
        v->want[i] = ar_pattern_integer_sum(i, d->size);
    if (!v->gpu)
        return cm_alloc_aligned(&v->host, v->n, sizeof *v->host, "sums");
    const struct nn_backend *backend = nn_device_backend(v->gpu);
    CM_TRY(nn_device_pin(v->gpu, &v->host, nbytes, "sums"));
    return backend->alloc(backend, &v->device, nbytes, "sums");
}

static void close_vector(struct vector *v)
{
    cm_free(&v->want);
    if (!v->gpu) {
        cm_free(&v->host);
        return;
    }
    const struct nn_backend *backend = nn_device_backend(v->gpu);
    backend->release(backend, &v->device);
    nn_device_unpin(v->gpu, &v->host);
}

static cm_status copy_vector(const struct vector *v, float *to, const float *from)
{
    return v->gpu ? nn_device_copy(v->gpu, NULL, to, from, v->n * sizeof *to) : CM_OK;
}

/* An error injected at train.doctor.sum makes one number another. */
static cm_status fill_vector(const struct doctor *d, const struct vector *v)
{
    if (d->session.allreduce.compress)
        ar_pattern_tree(v->host, v->n, (struct ar_range){(size_t)d->rank, (size_t)d->rank + 1},
                        false);
    else
        ar_pattern_integers(v->host, v->n, d->rank);
    if (cm_fault("train.doctor.sum") != CM_OK)
        v->host[v->n / 2] = 1e6f;
    return copy_vector(v, v->device, v->host);
}

/* As a run sums gradients. */
static cm_status sum_vector(struct doctor *d, const struct vector *v)
{
    struct tr_device_sum *sum = d->session.sum;
    if (sum) {
        CM_TRY(tr_device_sum_add(sum, v->device, v->n));
        return tr_device_sum_wait(sum);
    }
    CM_TRY(copy_vector(v, v->host, v->device));
    CM_TRY(ar_group_sum_f32(d->group, v->host, v->n));
    return copy_vector(v, v->device, v->host);
}

static cm_status time_sums(struct doctor *d, const struct vector *v, double *seconds)
{
    *seconds = 0;
    for (int i = 0; i <= SUM_TIMES; i++) { /* the first one warms up */
        CM_TRY(fill_vector(d, v));
        CM_TRY(ar_group_agree(d->group, CM_OK, "beginning a sum"));
        int64_t began_ns = cm_now_ns();
        CM_TRY(sum_vector(d, v));
        *seconds += i > 0 ? (double)(cm_now_ns() - began_ns) * 1e-9 : 0;
    }
    return copy_vector(v, v->host, v->device);
}

static void judge_sums(struct doctor *d, const struct vector *v, bool right, double seconds)
{
    const char *way = ar_transport_name((enum ar_transport_kind)d->session.allreduce.transport);
    const char *verdict = right ? "every bit is right" : "WRONG SUMS";
    double bytes_per_s = (double)SUM_NBYTES * SUM_TIMES / seconds;
    if (d->size == 1)
        say(d, right, "all-reduce", "%s; one rank sends nothing", verdict);
    else
        say(d, right, "all-reduce", "%s; 16 MiB between %d %s%s: %.2f GB/s (busbw %.2f)", verdict,
            d->size, v->gpu ? "GPUs by " : "ranks", v->gpu ? way : "", bytes_per_s / 1e9,
            bytes_per_s * 2 * (d->size - 1) / d->size / 1e9);
}

static cm_status check_sums(struct doctor *d)
{
    struct tr_session *s = &d->session;
    struct vector v = {.n = SUM_NBYTES / sizeof(float), .gpu = d->size > 1 ? s->device : NULL};
    double seconds = 0, nwrong = 0;
    if (v.gpu && s->allreduce.transport == AR_TRANSPORT_NCCL)
        CM_TRY(tr_device_sum_open(&s->sum, v.gpu, d->group, &s->allreduce, v.n));
    cm_status st = ar_group_agree(d->group, open_vector(d, &v), "making room for sums");
    if (st == CM_OK) {
        st = time_sums(d, &v, &seconds);
        if (st != CM_OK && d->size > 1) /* the others may wait for this rank's part */
            ar_group_abort(d->group, st, "summing");
    }
    for (size_t i = 0; i < v.n && st == CM_OK; i++)
        nwrong += v.host[i] != v.want[i];
    close_vector(&v);
    CM_TRY(st);
    CM_TRY(ar_group_sum_f64(d->group, &nwrong, 1));
    judge_sums(d, &v, nwrong == 0, seconds);
    return CM_OK;
}

/* ---- the command ---- */

struct values {
    struct tr_common_args common;
};
static const struct cm_opt opts[] = {TR_COMMON_OPTS(struct values, common)};
static const struct cm_command command = {
    .name = "flywheel-train doctor",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Checks what the ranks of a run find: each other, GPUs, cores, clocks, the disk.",
    .details = "Exit: 0 all is well, 1 something is not, 2 usage or config, 78 ranks of two kinds.",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
};

static cm_status examine(struct doctor *d)
{
    CM_TRY(cm_alloc(&d->all, (size_t)d->size, sizeof *d->all, "findings"));
    CM_TRY(check_devices(d)); /* first: what computes is in the fingerprint */
    CM_TRY(map_ranks(d));
    compare_findings(d);
    CM_TRY(check_run_dir(d));
    CM_TRY(check_sums(d));
    int64_t faults = d->faults;
    CM_TRY(ar_group_broadcast(d->group, &faults, sizeof faults, 0));
    if (faults == 0)
        return CM_OK;
    return ar_group_alike(d->group,
                          CM_FAIL(CM_EPEER, "%lld of the checks failed", (long long)faults));
}

cm_status tr_command_doctor(int argc, char **argv)
{
    struct values v = {0};
    struct doctor d = {0};
    char **operands;
    int noperands;
    bool helped;
    cm_status st = cm_args_parse(&command, argc, argv, &v, &operands, &noperands, &helped);
    if (st != CM_OK)
        return ar_group_decline(st);
    if (helped)
        return CM_OK;
    struct tr_session_options options = tr_session_options_of(&v.common, operands[0]);
    if (v.common.check)
        return tr_session_check(&options);
    CM_TRY(tr_session_open(&d.session, &options));
    d.group = d.session.group;
    d.rank = ar_group_rank(d.group);
    d.size = ar_group_size(d.group);
    st = examine(&d);
    tr_session_fail(&d.session, st, "examining");
    cm_free(&d.all);
    tr_session_release(&d.session);
    return st;
}
