/* Taking the lease of generation g+1 is one claim (numbered.h). Because an owner removes older
 * generations, a claimant who looked long ago can make an old number anew; so it looks once more
 * afterwards, and a higher number wins. */
#include "parameter/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/process.h"
#include "parameter/numbered.h"
#include "parameter/seal.h"

#define STEM     "gen-"
#define OWNER    "owner.json"
#define RELEASED "released" /* a folder in the generation's: making one is atomic */
#define STEAL    "--steal-lease ('checkpoint' commands: --force)"
#define TRIES    64 /* each is lost to another process that made progress */

struct ps_lease {
    char run_dir[CM_PATH];
    int64_t generation;
};

/* ---- processes ---- */

/* The first line of a file of /proc; "" when there is none. */
static void read_line(char *line, int n, const char *path)
{
    line[0] = '\0';
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    if (!fgets(line, n, f))
        line[0] = '\0';
    fclose(f);
    line[strcspn(line, "\n")] = '\0';
}

static void describe_self(struct ps_lease_owner *self)
{
    struct cm_process process;
    struct stat space;
    char boot[128];
    if (gethostname(self->host, sizeof self->host - 1) != 0)
        snprintf(self->host, sizeof self->host, "unknown");
    read_line(boot, sizeof boot, "/proc/sys/kernel/random/boot_id");
    snprintf(self->boot, sizeof self->boot, "%.36s", boot);
    self->pid = getpid();
    self->pid_space = stat("/proc/self/ns/pid", &space) == 0 ? (int64_t)space.st_ino : 0;
    bool seen = cm_process_look(&process, (pid_t)self->pid);
    self->start_ticks = seen ? (int64_t)process.start_ticks : -1;
    const char *job = getenv("FLYWHEEL_JOB"), *life = getenv("FLYWHEEL_LIFE");
    snprintf(self->job, sizeof self->job, "%s", job ? job : "");
    self->life = life ? strtoll(life, NULL, 10) : 0;
    self->since_utc_s = cm_utc_now();
}

enum owner_state { OWNER_GONE, OWNER_ALIVE, OWNER_OUT_OF_SIGHT };

static bool is_earlier_life(const struct ps_lease_owner *owner, const struct ps_lease_owner *self)
{
    return *self->job && strcmp(owner->job, self->job) == 0 && owner->life < self->life;
}

/* A process of this host, boot and namespace. One that /proc hides (hidepid, another user's) is not
 * dead for that: only the kernel's word that there is none counts. */
static enum owner_state look_at_process(const struct ps_lease_owner *owner, enum owner_state unseen)
{
    struct cm_process process;
    if (!cm_process_look(&process, (pid_t)owner->pid))
        return kill((pid_t)owner->pid, 0) != 0 && errno == ESRCH ? OWNER_GONE : unseen;
    if (process.state == 'Z' || process.state == 'X')
        return OWNER_GONE;
    return (int64_t)process.start_ticks == owner->start_ticks ? OWNER_ALIVE : OWNER_GONE;
}

static enum owner_state look_at(const struct ps_lease_owner *owner,
                                const struct ps_lease_owner *self)
{
    if (owner->released)
        return OWNER_GONE;
    enum owner_state unseen = is_earlier_life(owner, self) ? OWNER_GONE : OWNER_OUT_OF_SIGHT;
    if (strcmp(owner->host, self->host) != 0)
        return unseen;
    if (strcmp(owner->boot, self->boot) != 0)
        return OWNER_GONE;
    if (owner->pid_space != self->pid_space)
        return unseen;
    return look_at_process(owner, unseen);
}

/* ---- owner.json ---- */

static cm_status write_owner(char **text, size_t *n, const struct ps_lease_owner *o)
{
    struct cm_jw w = {0};
    ps_seal_begin(&w);
    cm_jw_i64(&w, "generation", o->generation);
    cm_jw_string(&w, "host", o->host);
    cm_jw_i64(&w, "pid", o->pid);
    cm_jw_string(&w, "boot", o->boot);
    cm_jw_i64(&w, "pid_space", o->pid_space);
    cm_jw_i64(&w, "start_ticks", o->start_ticks);
    cm_jw_string(&w, "run", o->run);
    if (*o->job) {
        cm_jw_string(&w, "job", o->job);
        cm_jw_i64(&w, "life", o->life);
    }
    cm_jw_f64(&w, "since_utc_s", o->since_utc_s);
    cm_status st = ps_seal_end(&w, text, n, NULL);
    cm_jw_release(&w);
    return st;
}

static cm_status need_text(const struct cm_json *root, const char *path, const char *key, char *dst,
                           size_t n)
{
    const char *text;
    CM_TRY(cm_json_need_string(root, path, key, &text));
    snprintf(dst, n, "%s", text);
    return CM_OK;
}

static cm_status parse_owner(struct ps_lease_owner *o, const struct cm_json *root, const char *path)
{
    const int64_t most = (int64_t)1 << 53;
    CM_TRY(need_text(root, path, "host", o->host, sizeof o->host));
    CM_TRY(cm_json_need_i64(root, path, "pid", 1, INT32_MAX, &o->pid));
    CM_TRY(need_text(root, path, "boot", o->boot, sizeof o->boot));
    CM_TRY(cm_json_need_i64(root, path, "pid_space", 0, most, &o->pid_space));
    CM_TRY(cm_json_need_i64(root, path, "start_ticks", -1, most, &o->start_ticks));
    CM_TRY(need_text(root, path, "run", o->run, sizeof o->run));
    if (cm_json_get(root, "job")) { /* only where lives are counted */
        CM_TRY(need_text(root, path, "job", o->job, sizeof o->job));
        CM_TRY(cm_json_need_i64(root, path, "life", 0, most, &o->life));
    }
    return cm_json_need_f64(root, path, "since_utc_s", &o->since_utc_s);
}

static cm_status read_owner(struct ps_lease_owner *o, const char *run_dir, int64_t generation)
{
    char name[PS_NUMBERED], dir[CM_PATH], path[CM_PATH];
    char *text = NULL;
    struct cm_json *root = NULL;
    size_t n;
    *o = (struct ps_lease_owner){.generation = generation};
    ps_numbered_format(name, STEM, generation);
    CM_TRY(cm_path_join(dir, run_dir, name));
    CM_TRY(cm_path_join(path, dir, OWNER));
    CM_TRY(cm_file_read(&text, &n, path, 1 << 16));
    cm_status st;
    CM_GOTO(st, ps_seal_parse(&root, text, n, path, NULL), out);
    CM_GOTO(st, parse_owner(o, root, path), out);
    CM_GOTO(st, cm_path_join(path, dir, RELEASED), out);
    o->released = cm_path_is_dir(path);
out:
    cm_json_close(&root);
    cm_free(&text);
    return st;
}

cm_status ps_lease_show(struct ps_lease_owner *out, const char *run_dir)
{
    cm_status st = CM_OK;
    for (int i = 0; i < TRIES; i++) {
        int64_t generation;
        *out = (struct ps_lease_owner){0};
        CM_TRY(ps_numbered_highest(&generation, run_dir, STEM));
        if (generation == 0)
            return CM_FAIL(CM_ENOTFOUND, "%s: no process ever held the lease", run_dir);
        st = read_owner(out, run_dir, generation);
        if (st != CM_ENOTFOUND) /* a successor has removed it since: look again */
            return st;
    }
    return st;
}

/* ---- the lease ---- */

static cm_status refuse(const struct ps_lease_owner *owner, const char *run_dir,
                        enum owner_state state)
{
    char since[CM_UTC_TEXT];
    cm_utc_format(since, owner->since_utc_s);
    if (state == OWNER_ALIVE)
        return CM_FAIL(CM_EBUSY,
                       "%s is written by process %" PRId64 " on %s since %s (generation %" PRId64
                       "): stop it first, or fence it off with " STEAL,
                       run_dir, owner->pid, owner->host, since, owner->generation);
    return CM_FAIL(CM_EBUSY,
                   "%s was taken by process %" PRId64 " on %s at %s (generation %" PRId64
                   ") and not released; from here nobody can tell whether it lives: if it does "
                   "not, take over with " STEAL,
                   run_dir, owner->pid, owner->host, since, owner->generation);
}

/* The generation to claim next, when the current owner allows it. */
static cm_status next_generation(int64_t *out, const char *run_dir,
                                 const struct ps_lease_owner *self, bool steal)
{
    struct ps_lease_owner owner;
    cm_status st = ps_lease_show(&owner, run_dir);
    *out = owner.generation + 1; /* 1 when there is no owner */
    if (st == CM_ENOTFOUND && owner.generation == 0)
        return CM_OK;
    if (steal) /* also from an owner whose file does not read */
        return owner.generation > 0 ? CM_OK : st;
    if (st != CM_OK)
        return CM_CONTEXT(st, "the owner of the lease cannot be read (take over with " STEAL ")");
    enum owner_state state = look_at(&owner, self);
    return state == OWNER_GONE ? CM_OK : refuse(&owner, run_dir, state);
}

static void remove_older(const char *run_dir, int64_t generation)
{
    int64_t *list = NULL;
    size_t n;
    if (ps_numbered_list(&list, &n, run_dir, STEM) != CM_OK)
        return; /* they do no harm */
    for (size_t i = 0; i < n && list[i] < generation; i++) {
        char name[PS_NUMBERED], path[CM_PATH];
        ps_numbered_format(name, STEM, list[i]);
        if (cm_path_join(path, run_dir, name) != CM_OK || cm_dir_remove(path) != CM_OK)
            cm_log_warn("left behind: %s", cm_error_text());
    }
    cm_free(&list);
}

/* One try. CM_EEXIST: another process was faster. */
static cm_status claim(struct ps_lease *lease, struct ps_lease_owner *self, bool steal)
{
    char *text = NULL;
    size_t n;
    int64_t highest;
    CM_TRY(next_generation(&self->generation, lease->run_dir, self, steal));
    CM_TRY(cm_fault("store.lease.seen"));
    CM_TRY(write_owner(&text, &n, self));
    cm_status st =
        ps_numbered_claim(lease->run_dir, STEM, self->generation, OWNER, text, n, "store.lease");
    cm_free(&text);
    CM_TRY(st);
    CM_TRY(ps_numbered_highest(&highest, lease->run_dir, STEM));
    remove_older(lease->run_dir, highest);
    if (highest != self->generation)
        return CM_FAIL(CM_EEXIST, "%s: generation %" PRId64 " was faster", lease->run_dir, highest);
    lease->generation = self->generation;
    return CM_OK;
}

cm_status ps_lease_acquire(struct ps_lease **out, const char *run_dir, const char *run, bool steal)
{
    struct ps_lease *lease = NULL;
    struct ps_lease_owner self = {0};
    cm_status st;
    *out = NULL;
    CM_TRY(cm_dir_make(run_dir));
    CM_TRY(cm_alloc(&lease, 1, sizeof *lease, "lease"));
    snprintf(self.run, sizeof self.run, "%s", run);
    describe_self(&self);
    if (strlen(run_dir) >= sizeof lease->run_dir) {
        st = CM_FAIL(CM_EINVAL, "the path of the run directory is too long");
        goto out;
    }
    memcpy(lease->run_dir, run_dir, strlen(run_dir) + 1);
    st = CM_EEXIST;
    for (int i = 0; i < TRIES && st == CM_EEXIST; i++)
        st = claim(lease, &self, steal);
    if (st == CM_OK) {
        *out = lease;
        return CM_OK;
    }
out:
    cm_free(&lease);
    return st;
}

cm_status ps_lease_check(const struct ps_lease *lease)
{
    int64_t highest;
    CM_TRY(ps_numbered_highest(&highest, lease->run_dir, STEM));
    if (highest == lease->generation)
        return CM_OK;
    struct ps_lease_owner owner = {0};
    if (highest == 0 || read_owner(&owner, lease->run_dir, highest) != CM_OK)
        snprintf(owner.host, sizeof owner.host, "unknown");
    return CM_FAIL(CM_EFENCED,
                   "%s: generation %" PRId64 " (process %" PRId64 " on %s) has taken over from "
                   "this process, generation %" PRId64,
                   lease->run_dir, highest, owner.pid, owner.host, lease->generation);
}

int64_t ps_lease_generation(const struct ps_lease *lease)
{
    return lease->generation;
}

void ps_lease_release(struct ps_lease **lease)
{
    if (!*lease)
        return;
    char name[PS_NUMBERED], dir[CM_PATH], path[CM_PATH];
    struct cm_error record; /* the caller may be on the way out, about to report it */
    cm_error_save(&record);
    ps_numbered_format(name, STEM, (*lease)->generation);
    cm_status st = cm_path_join(dir, (*lease)->run_dir, name);
    if (st == CM_OK)
        st = cm_path_join(path, dir, RELEASED);
    if (st == CM_OK)
        st = cm_dir_make_new(path);
    if (st != CM_OK && st != CM_ENOTFOUND) /* a successor has removed the folder */
        cm_log_warn("lease not released: %s", cm_error_text());
    cm_error_restore(&record);
    cm_free(lease);
}
