#include "launcher/lives.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/events.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

#define FILE_MAX_NBYTES (1 << 20)
#define NOBODY          (-1) /* the rank in an event of the supervisor's */
#define SIGNAL_CODE     128  /* a code of 128 + N stands for signal N */

/* What a summary says of a life's end. */
struct failure {
    int64_t step; /* -1: it says none */
    bool is_loss; /* of a rank: gone, silent, cut off or stuck, not failed by itself */
    char what[512];
};

/* Who holds a run directory and tells of its end. */
struct tier {
    const char *name, *summary; /* the latter in the run directory */
    const char *versions;       /* what it calls them */
    char prefix;                /* of their names */
    const char *store;          /* where they are; NULL: where the run's resolved config says */
};
static const struct tier tiers[] = {
    {"train", "summary.json", "version", 'v', NULL},
    {"online", "online/summary.json", "state", 's', "online"},
};

struct la_lives {
    char run_dir[CM_PATH];
    const struct tier *tier;
    struct stat before;     /* of the summary when the life began; st_ino 0: there was none */
    struct failure failure; /* of the last life that ended; what "": it does not say */
    int64_t step;           /* where the last life failed that said so; -1: none did */
    int times;              /* in a row */
    char newest[32];        /* version when the last life ended by a fault of its own */
    int faults;             /* with that version, whatever else ended lives between them */
    char job[128];          /* of the life that runs, and its number in it */
    int64_t number;
};

cm_status la_lives_open(struct la_lives **out, const char *run_dir, const char *tier)
{
    const struct tier *known = NULL;
    *out = NULL;
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
        if (strcmp(tiers[i].name, tier) == 0)
            known = &tiers[i];
    if (!known)
        return CM_OK;
    CM_TRY(cm_alloc(out, 1, sizeof **out, "lives of the run"));
    (*out)->tier = known;
    snprintf((*out)->run_dir, sizeof(*out)->run_dir, "%s", run_dir);
    (*out)->step = (*out)->failure.step = -1;
    return CM_OK;
}

void la_lives_close(struct la_lives **lives)
{
    cm_free(lives);
}

static cm_status summary_path(const struct la_lives *l, char path[CM_PATH])
{
    return cm_path_join(path, l->run_dir, l->tier->summary);
}

void la_lives_begin(struct la_lives *l, const char *job, int64_t number)
{
    char path[CM_PATH];
    if (!l || summary_path(l, path) != CM_OK)
        return;
    snprintf(l->job, sizeof l->job, "%s", job);
    l->number = number;
    if (stat(path, &l->before))
        l->before = (struct stat){0};
}

/* Files are replaced, not rewritten: a new one has another inode, or at least another time. */
static bool is_new(const struct la_lives *l, const char *path)
{
    struct stat now;
    const struct stat *then = &l->before;
    return stat(path, &now) == 0 && (now.st_ino != then->st_ino || now.st_dev != then->st_dev ||
                                     now.st_mtim.tv_sec != then->st_mtim.tv_sec ||
                                     now.st_mtim.tv_nsec != then->st_mtim.tv_nsec);
}

/* Ranks that nobody told of a job speak for the life that runs; is_certain: not enough. */
static bool is_of_this_life(const struct la_lives *l, const struct cm_json *root, bool is_certain)
{
    const char *job;
    int64_t number;
    if (!cm_json_get(root, "job"))
        return !is_certain;
    return cm_json_need_string(root, l->tier->summary, "job", &job) == CM_OK &&
           cm_json_need_i64(root, l->tier->summary, "life", 0, INT64_MAX, &number) == CM_OK &&
           strcmp(job, l->job) == 0 && number == l->number;
}

/* False: it is no failure that a rank or a supervisor wrote. */
static bool read_failure(struct failure *f, const struct cm_json *failure, const char *where)
{
    const char *what, *fault;
    int64_t step;
    *f = (struct failure){.step = -1};
    if (!failure || cm_json_need_string(failure, where, "what", &what) != CM_OK)
        return false;
    snprintf(f->what, sizeof f->what, "%s", what);
    if (cm_json_need_i64(failure, where, "step", 0, INT64_MAX, &step) == CM_OK)
        f->step = step;
    f->is_loss = cm_json_need_string(failure, where, "fault", &fault) == CM_OK &&
                 strcmp(fault, "failed") != 0;
    return true;
}

/* What the life that runs, or has just ended, said itself of its end; false: nothing. */
static bool failure_of(const struct la_lives *l, bool is_certain, struct failure *f)
{
    char path[CM_PATH];
    struct cm_json *root = NULL;
    *f = (struct failure){.step = -1};
    if (summary_path(l, path) != CM_OK || !is_new(l, path) ||
        cm_json_parse_file(&root, path, FILE_MAX_NBYTES) != CM_OK)
        return false;
    bool said = is_of_this_life(l, root, is_certain) &&
                read_failure(f, cm_json_get(root, "failure"), l->tier->summary);
    cm_json_close(&root);
    return said;
}

bool la_lives_is_lost(struct la_lives *l)
{
    struct failure ignored;
    return l && failure_of(l, true, &ignored);
}

/* NULL when there is no run directory, or none that can be written: the log has it as well. */
static struct cm_events *open_events(const struct la_lives *l)
{
    char path[CM_PATH];
    struct cm_events *events = NULL;
    if (!cm_path_is_dir(l->run_dir))
        return NULL;
    cm_status st = cm_path_join(path, l->run_dir, "events.jsonl");
    if (st == CM_OK)
        st = cm_events_open(&events, path, NOBODY);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "events");
    return events;
}

static void put_killed(struct cm_jw *w, const char *what, int exit_code)
{
    char host[64] = "";
    (void)gethostname(host, sizeof host - 1);
    cm_jw_begin(w, "failure", '{');
    cm_jw_i64(w, "rank", NOBODY);
    cm_jw_string(w, "host", host);
    cm_jw_string(w, "fault", "killed");
    cm_jw_string(w, "what", what);
    cm_jw_i64(w, "code", exit_code);
    cm_jw_f64(w, "t", cm_utc_now());
    cm_jw_end(w);
}

static cm_status write_killed(const struct la_lives *l, const char *what, int exit_code)
{
    struct cm_jw w = {.indent = 2};
    char *text = NULL, path[CM_PATH];
    size_t n;
    CM_TRY(summary_path(l, path));
    CM_TRY(cm_dir_make_for(path)); /* a loop's may not be there yet */
    cm_jw_begin(&w, NULL, '{');
    put_killed(&w, what, exit_code);
    cm_jw_string(&w, "job", l->job);
    cm_jw_i64(&w, "life", l->number);
    cm_jw_f64(&w, "t", cm_utc_now());
    cm_jw_end(&w);
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = cm_file_replace(path, text, n);
    cm_free(&text);
    return st;
}

/* NULL: no signal's. mpirun has codes of its own above those of signals. */
static const char *signal_of(int exit_code)
{
    return exit_code > SIGNAL_CODE ? sigdescr_np(exit_code - SIGNAL_CODE) : NULL;
}

void la_lives_end(struct la_lives *l, int exit_code)
{
    const char *name = signal_of(exit_code);
    int number = exit_code - SIGNAL_CODE;
    if (!l || failure_of(l, false, &l->failure) || !name || !cm_path_is_dir(l->run_dir))
        return;
    char *what = l->failure.what;
    snprintf(what, sizeof l->failure.what, "ended by signal %d (%s)%s", number, name,
             number == SIGKILL ? ": somebody's kill -9, or the kernel's memory limit" : "");
    cm_status st = write_killed(l, what, exit_code);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, l->tier->summary);
    struct cm_events *events = open_events(l);
    struct cm_jw w = {0};
    cm_events_begin(events, &w, "failed");
    put_killed(&w, what, exit_code);
    cm_events_put(events, &w);
    cm_events_close(&events);
}

/* ---- whether the next can do better ---- */

static cm_status versions_dir(const struct la_lives *l, char dir[CM_PATH])
{
    char path[CM_PATH];
    struct cm_json *root = NULL;
    const struct cm_json *store;
    const char *name;
    if (l->tier->store)
        return cm_path_join(dir, l->run_dir, l->tier->store);
    CM_TRY(cm_path_join(path, l->run_dir, "config.json"));
    CM_TRY(cm_json_parse_file(&root, path, FILE_MAX_NBYTES));
    cm_status st = cm_json_need(root, path, "store", CM_JSON_OBJECT, &store);
    if (st == CM_OK)
        st = cm_json_need_string(store, path, "dir", &name);
    if (st == CM_OK)
        st = cm_path_join(dir, l->run_dir, name);
    cm_json_close(&root);
    return st;
}

/* The name of the newest version or state, "" when there is none: "v000123", so the last by name.
 */
static void newest_version(const struct la_lives *l, char name[32])
{
    char dir[CM_PATH], **names = NULL, prefix = l->tier->prefix;
    size_t n = 0;
    *name = '\0';
    if (versions_dir(l, dir) != CM_OK || cm_dir_list(&names, &n, dir) != CM_OK)
        return;
    for (size_t i = 0; i < n; i++)
        if (names[i][0] == prefix && isdigit((unsigned char)names[i][1]))
            snprintf(name, 32, "%s", names[i]);
    cm_dir_list_free(&names, n);
}

/* Whose cause is most likely the program, on this data. A kill comes from outside. */
static bool is_own_fault(int exit_code)
{
    static const int faults[] = {SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (exit_code == SIGNAL_CODE + faults[i])
            return true;
    return false;
}

static bool has_failed_there_before(struct la_lives *l)
{
    if (l->failure.step < 0)
        return false;
    l->times = l->failure.step == l->step ? l->times + 1 : 1;
    l->step = l->failure.step;
    return l->times >= LA_LIVES_TRIES;
}

static bool gets_nowhere(struct la_lives *l, int exit_code)
{
    char newest[sizeof l->newest];
    if (!is_own_fault(exit_code))
        return false;
    newest_version(l, newest);
    l->faults = strcmp(newest, l->newest) == 0 ? l->faults + 1 : 1;
    memcpy(l->newest, newest, sizeof newest);
    return l->faults >= LA_LIVES_TRIES;
}

static void tell_gave_up(const struct la_lives *l, bool same_step, int exit_code)
{
    struct cm_events *events = open_events(l);
    struct cm_jw w = {0};
    cm_events_begin(events, &w, "gave_up");
    if (same_step)
        cm_jw_i64(&w, "step", l->step);
    else
        cm_jw_string(&w, "newest", l->newest);
    cm_jw_i64(&w, "times", same_step ? l->times : l->faults);
    if (exit_code)
        cm_jw_i64(&w, "code", exit_code);
    cm_jw_string(&w, "what", l->failure.what);
    cm_events_put(events, &w);
    cm_events_close(&events);
}

bool la_lives_try_again(struct la_lives *l, int exit_code)
{
    if (!l)
        return true;
    bool same_step = has_failed_there_before(l), nowhere = gets_nowhere(l, exit_code);
    if (!same_step && !nowhere)
        return true;
    if (same_step)
        cm_log_error("giving up: step %lld failed %d times in a row, the last time because of %s",
                     (long long)l->step, l->times, l->failure.what);
    else
        cm_log_error("giving up: %d lives ended by a fault, the last one by signal %d (%s), and "
                     "none left a %s%s%s",
                     l->faults, exit_code - SIGNAL_CODE, signal_of(exit_code), l->tier->versions,
                     *l->newest ? " newer than " : "", l->newest);
    tell_gave_up(l, same_step, exit_code);
    return false;
}

void la_lives_give_up(struct la_lives *l, int exit_code)
{
    if (!l)
        return;
    struct cm_events *events = open_events(l);
    struct cm_jw w = {0};
    cm_events_begin(events, &w, "gave_up");
    cm_jw_i64(&w, "code", exit_code);
    cm_jw_string(&w, "what",
                 *l->failure.what ? l->failure.what
                                  : "no restart mends what ends with this code; the log names it");
    cm_events_put(events, &w);
    cm_events_close(&events);
}

void la_lives_restart(struct la_lives *l, int64_t number, int exit_code, int64_t delay_ms)
{
    if (!l)
        return;
    struct cm_events *events = open_events(l);
    struct cm_jw w = {0};
    cm_events_begin(events, &w, "restart");
    cm_jw_i64(&w, "life", number);
    cm_jw_i64(&w, "code", exit_code);
    cm_jw_i64(&w, "delay_ms", delay_ms);
    if (*l->failure.what)
        cm_jw_string(&w, "what", l->failure.what);
    cm_events_put(events, &w);
    cm_events_close(&events);
}

/* ---- lives that nobody watches from one to the next ---- */

static cm_status read_row(struct la_lives *l, const struct cm_json *root, const char *path)
{
    const char *job;
    int64_t step, times;
    CM_TRY(cm_json_need_format(root, path, 1, NULL));
    CM_TRY(cm_json_need_string(root, path, "job", &job));
    CM_TRY(cm_json_need_i64(root, path, "step", 0, INT64_MAX, &step));
    CM_TRY(cm_json_need_i64(root, path, "times", 1, INT32_MAX - 1, &times));
    if (strcmp(job, l->job) == 0) { /* another job begins its own row */
        l->step = step;
        l->times = (int)times;
    }
    return CM_OK;
}

static cm_status recall(struct la_lives *l, const char *path)
{
    struct cm_json *root = NULL;
    if (!cm_path_exists(path))
        return CM_OK;
    CM_TRY(cm_json_parse_file(&root, path, FILE_MAX_NBYTES));
    cm_status st = read_row(l, root, path);
    cm_json_close(&root);
    return st;
}

static cm_status remember(const struct la_lives *l, const char *path)
{
    struct cm_jw w = {.indent = 2};
    char *text = NULL;
    size_t n;
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "format", "1.0");
    cm_jw_string(&w, "job", l->job);
    cm_jw_i64(&w, "step", l->step);
    cm_jw_i64(&w, "times", l->times);
    cm_jw_end(&w);
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = cm_file_replace(path, text, n);
    cm_free(&text);
    return st;
}

/* A row that is not kept counts from one again: a run is queued once too often, not dropped. */
static cm_status judge(struct la_lives *l, bool *again)
{
    char path[CM_PATH];
    CM_TRY(cm_path_join(path, l->run_dir, "lives.json"));
    cm_status st = recall(l, path);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "earlier lives of the job");
    *again = la_lives_try_again(l, 0);
    return l->step < 0 ? CM_OK : remember(l, path);
}

bool la_lives_go_on(const char *run_dir, const char *job, int64_t number, char what[512])
{
    struct la_lives *l = NULL;
    bool again = false;
    *what = '\0';
    if (la_lives_open(&l, run_dir, "train") != CM_OK)
        return false;
    snprintf(l->job, sizeof l->job, "%s", job);
    l->number = number;
    if (failure_of(l, true, &l->failure) && l->failure.is_loss) {
        cm_status st = judge(l, &again);
        if (st != CM_OK)
            cm_error_report(CM_LOG_WARN, st, "lives of the job");
        snprintf(what, 512, "%s", l->failure.what);
    }
    la_lives_close(&l);
    return again;
}
