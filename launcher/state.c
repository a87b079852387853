/* up.json and up.lock. */
#include "launcher/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define STATE_MAX_NBYTES (1 << 20)
#define LOCK_POLL_US     20000

static cm_status this_host(char host[256])
{
    if (gethostname(host, 255))
        return CM_FAIL_ERRNO("gethostname");
    host[255] = '\0';
    return CM_OK;
}

/* ---- the lock ---- */

/* The lock is held. CM_OK: by guardians of an `up` that is gone, which end soon. */
static cm_status who_holds_it(const char *run_dir)
{
    struct la_state_view view = {0};
    char host[256];
    CM_TRY(this_host(host));
    cm_status st = CM_OK;
    if (la_state_read(&view, run_dir) == CM_OK && (view.running || strcmp(host, view.host) != 0))
        st = CM_FAIL(CM_EBUSY, "%s: 'flywheel up' already runs there, pid %lld on %s with %s",
                     run_dir, (long long)view.pid, view.host, view.config);
    la_state_release(&view);
    return st;
}

static cm_status await_lock(int lock, const char *run_dir, struct cm_deadline deadline)
{
    bool told = false;
    while (flock(lock, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK)
            return CM_FAIL_ERRNO("%s/up.lock: flock", run_dir);
        CM_TRY(who_holds_it(run_dir));
        if (!told)
            cm_log_info("%s: waiting for what an earlier 'flywheel up' started to end", run_dir);
        told = true;
        if (cm_deadline_passed(deadline))
            return CM_FAIL(CM_EBUSY,
                           "%s: what an earlier 'flywheel up' started has still not ended; "
                           "'flywheel status' names it",
                           run_dir);
        cm_sleep_us(LOCK_POLL_US);
    }
    return CM_OK;
}

cm_status la_state_lock(int *fd, const char *run_dir, int64_t wait_ms)
{
    char path[CM_PATH];
    *fd = -1;
    CM_TRY(cm_path_join(path, run_dir, "up.lock"));
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0)
        return CM_FAIL_ERRNO("%s", path);
    cm_status st = await_lock(lock, run_dir, cm_deadline_in_ms(wait_ms));
    if (st != CM_OK) {
        close(lock);
        return st;
    }
    *fd = lock;
    return CM_OK;
}

static bool is_free(const char *run_dir, const char *file)
{
    char path[CM_PATH];
    if (cm_path_join(path, run_dir, file) != CM_OK)
        return true;
    int lock = open(path, O_RDWR | O_CLOEXEC);
    if (lock < 0)
        return true;
    bool got_it = flock(lock, LOCK_SH | LOCK_NB) == 0;
    close(lock);
    return got_it;
}

bool la_state_is_free(const char *run_dir)
{
    return is_free(run_dir, "up.lock");
}

cm_status la_state_check_gateway(const char *run_dir)
{
    if (is_free(run_dir, "serve.lock"))
        return CM_OK;
    return CM_FAIL(CM_EBUSY,
                   "%s: a gateway serves this run directory already, %s/serve.json says where: "
                   "stop it first, or choose another --run",
                   run_dir, run_dir);
}

/* ---- writing ---- */

static void write_role(struct cm_jw *w, const struct la_role *role)
{
    bool alive = role->proc.pid > 0;
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "role", role->name);
    cm_jw_string(w, "state", la_state_names[role->state]);
    cm_jw_i64(w, "pid", alive ? role->proc.pid : 0);
    cm_jw_i64(w, "guardian", alive ? role->proc.guardian : 0);
    cm_jw_u64(w, "ticks", alive ? role->proc.ticks : 0);
    cm_jw_i64(w, "restarts", role->restarts);
    cm_jw_f64(w, "since", role->since_utc);
    cm_jw_i64(w, "last_exit", role->last_exit);
    cm_jw_string(w, "log", role->log_path);
    cm_jw_end(w);
}

cm_status la_state_write(const char *run_dir, const char *config, const struct la_supervisor *s,
                         double started_utc)
{
    char host[256], path[CM_PATH];
    CM_TRY(this_host(host));
    CM_TRY(cm_path_join(path, run_dir, "up.json"));
    struct cm_jw w = {.indent = 1};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "format", "1.0");
    cm_jw_string(&w, "host", host);
    cm_jw_i64(&w, "pid", getpid());
    cm_jw_u64(&w, "ticks", la_process_ticks(getpid()));
    cm_jw_string(&w, "config", config);
    cm_jw_f64(&w, "started", started_utc);
    cm_jw_bool(&w, "stopping", s->stopping);
    cm_jw_begin(&w, "roles", '[');
    for (size_t i = 0; i < s->nroles; i++)
        write_role(&w, &s->roles[i]);
    cm_jw_end(&w);
    cm_jw_end(&w);
    char *text = NULL;
    size_t n = 0;
    cm_status st = cm_jw_take(&w, &text, &n);
    if (st == CM_OK)
        st = cm_file_replace(path, text, n);
    cm_free(&text);
    return st;
}

/* ---- reading ---- */

static cm_status read_view(struct la_state_view *view, const char *path)
{
    int64_t ticks = 0;
    const struct cm_json *v = view->root;
    CM_TRY(cm_json_need_format(v, path, 1, NULL));
    CM_TRY(cm_json_need_i64(v, path, "pid", 1, INT32_MAX, &view->pid));
    CM_TRY(cm_json_need_i64(v, path, "ticks", 0, INT64_MAX, &ticks));
    CM_TRY(cm_json_need_string(v, path, "host", &view->host));
    CM_TRY(cm_json_need_string(v, path, "config", &view->config));
    CM_TRY(cm_json_need_f64(v, path, "started", &view->started_utc));
    CM_TRY(cm_json_need(v, path, "roles", CM_JSON_ARRAY, &view->roles));
    char host[256];
    CM_TRY(this_host(host));
    view->ticks = (uint64_t)ticks;
    view->running = strcmp(host, view->host) == 0 && ticks != 0 &&
                    la_process_ticks((pid_t)view->pid) == view->ticks;
    return CM_OK;
}

cm_status la_state_read(struct la_state_view *view, const char *run_dir)
{
    *view = (struct la_state_view){0};
    char path[CM_PATH];
    CM_TRY(cm_path_join(path, run_dir, "up.json"));
    if (!cm_path_exists(path))
        return CM_FAIL(CM_ENOTFOUND, "%s: no 'flywheel up' has run there yet", run_dir);
    CM_TRY(cm_json_parse_file(&view->root, path, STATE_MAX_NBYTES));
    cm_status st = read_view(view, path);
    /* Its last act is to let go of the lock: `down` returns then, and what follows it may ask. */
    view->running = view->running && !la_state_is_free(run_dir);
    if (st != CM_OK)
        la_state_release(view);
    return st;
}

void la_state_release(struct la_state_view *view)
{
    cm_json_close(&view->root);
    *view = (struct la_state_view){0};
}

/* ---- showing ---- */

struct role_view {
    const char *name, *state;
    int64_t pid, restarts, last_exit;
    double since_utc;
};

/* A role of a dead `up` is dead too, whatever the file says last. */
static cm_status read_role(struct role_view *r, const struct cm_json *v, bool up_runs)
{
    CM_TRY(cm_json_need_string(v, "up.json: role", "role", &r->name));
    CM_TRY(cm_json_need_string(v, "up.json: role", "state", &r->state));
    CM_TRY(cm_json_need_i64(v, "up.json: role", "pid", 0, INT32_MAX, &r->pid));
    CM_TRY(cm_json_need_i64(v, "up.json: role", "restarts", 0, INT64_MAX, &r->restarts));
    CM_TRY(cm_json_need_i64(v, "up.json: role", "last_exit", -1, 255, &r->last_exit));
    CM_TRY(cm_json_need_f64(v, "up.json: role", "since", &r->since_utc));
    if (!up_runs && strcmp(r->state, "done") != 0 && strcmp(r->state, "failed") != 0) {
        r->state = "stopped";
        r->pid = 0;
    }
    return CM_OK;
}

static void uptime_text(char text[32], const struct role_view *r)
{
    if (strcmp(r->state, "running") != 0) {
        snprintf(text, 32, "-");
        return;
    }
    double age = cm_utc_now() - r->since_utc;
    long long s = age > 0 ? (long long)age : 0;
    snprintf(text, 32, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

static void print_role(const struct role_view *r)
{
    char uptime[32], pid[24] = "-", last[24] = "-";
    uptime_text(uptime, r);
    if (r->pid)
        snprintf(pid, sizeof pid, "%lld", (long long)r->pid);
    if (r->last_exit >= 0)
        snprintf(last, sizeof last, "%lld", (long long)r->last_exit);
    printf("%-12s %8s  %-9s %8lld %10s %9s\n", r->name, pid, r->state, (long long)r->restarts,
           uptime, last);
}

static void write_role_view(struct cm_jw *w, const struct role_view *r)
{
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "role", r->name);
    cm_jw_string(w, "state", r->state);
    cm_jw_i64(w, "pid", r->pid);
    cm_jw_i64(w, "restarts", r->restarts);
    cm_jw_i64(w, "last_exit", r->last_exit);
    cm_jw_f64(w, "since", r->since_utc);
    cm_jw_end(w);
}

cm_status la_state_print(const struct la_state_view *view, bool json, bool *healthy)
{
    struct cm_jw w = {0};
    *healthy = view->running;
    if (json) {
        cm_jw_begin(&w, NULL, '{');
        cm_jw_bool(&w, "running", view->running);
        cm_jw_i64(&w, "pid", view->pid);
        cm_jw_string(&w, "config", view->config);
        cm_jw_begin(&w, "roles", '[');
    } else {
        printf("%s: pid %lld on %s with %s\n", view->running ? "up" : "not running",
               (long long)view->pid, view->host, view->config);
        printf("%-12s %8s  %-9s %8s %10s %9s\n", "role", "pid", "state", "restarts", "uptime",
               "last exit");
    }
    CM_JSON_EACH (member, view->roles) {
        struct role_view r;
        cm_status st = read_role(&r, member, view->running);
        if (st != CM_OK) {
            cm_jw_release(&w);
            return st;
        }
        if (strcmp(r.state, "running") != 0 && strcmp(r.state, "done") != 0)
            *healthy = false;
        if (json)
            write_role_view(&w, &r);
        else
            print_role(&r);
    }
    if (!json)
        return CM_OK;
    cm_jw_end(&w);
    cm_jw_bool(&w, "healthy", *healthy);
    cm_jw_end(&w);
    char *text = NULL;
    size_t n = 0;
    CM_TRY(cm_jw_take(&w, &text, &n));
    puts(text);
    cm_free(&text);
    return CM_OK;
}
