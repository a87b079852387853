#include "launcher/lives.h"

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

#define SUMMARY_MAX_NBYTES (1 << 20)
#define NOBODY             (-1) /* the rank in an event of the supervisor's */
#define SIGNAL_CODE        128  /* a code of 128 + N stands for signal N */

struct la_lives {
    char run_dir[CM_PATH];
    const char *summary; /* in it */
    struct stat before;  /* of the summary when the life began; st_ino 0: there was none */
    int64_t step;        /* where the last life failed that said so; -1: none did */
    int times;           /* in a row */
    char what[512];      /* why */
    char job[128];       /* of the life that runs, and its number in it */
    int64_t number;
};

cm_status la_lives_open(struct la_lives **out, const char *run_dir, const char *tier)
{
    CM_TRY(cm_alloc(out, 1, sizeof **out, "lives of the run"));
    (*out)->summary = strcmp(tier, "online") == 0 ? "online/summary.json" : "summary.json";
    snprintf((*out)->run_dir, sizeof(*out)->run_dir, "%s", run_dir);
    (*out)->step = -1;
    return CM_OK;
}

void la_lives_close(struct la_lives **lives)
{
    cm_free(lives);
}

static cm_status summary_path(const struct la_lives *l, char path[CM_PATH])
{
    return cm_path_join(path, l->run_dir, l->summary);
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
    return cm_json_need_string(root, l->summary, "job", &job) == CM_OK &&
           cm_json_need_i64(root, l->summary, "life", 0, INT64_MAX, &number) == CM_OK &&
           strcmp(job, l->job) == 0 && number == l->number;
}

/* Whether the life that runs, or has just ended, said itself that it failed. */
static bool has_failed(const struct la_lives *l, bool is_certain)
{
    char path[CM_PATH];
    struct cm_json *root = NULL;
    if (!l || summary_path(l, path) != CM_OK || !is_new(l, path) ||
        cm_json_parse_file(&root, path, SUMMARY_MAX_NBYTES) != CM_OK)
        return false;
    bool failed = cm_json_get(root, "failure") && is_of_this_life(l, root, is_certain);
    cm_json_close(&root);
    return failed;
}

bool la_lives_is_lost(struct la_lives *l)
{
    return has_failed(l, true);
}

/* The failed step of the life that has just ended, and why; -1 when it did not say. */
static int64_t failed_step(struct la_lives *l)
{
    char path[CM_PATH];
    struct cm_json *root = NULL;
    const struct cm_json *failure;
    const char *what;
    int64_t step = -1;
    l->what[0] = '\0';
    if (summary_path(l, path) != CM_OK || !is_new(l, path) ||
        cm_json_parse_file(&root, path, SUMMARY_MAX_NBYTES) != CM_OK)
        return -1;
    failure = cm_json_get(root, "failure");
    if (failure && is_of_this_life(l, root, false) &&
        cm_json_need_i64(failure, path, "step", 0, INT64_MAX, &step) == CM_OK &&
        cm_json_need_string(failure, path, "what", &what) == CM_OK)
        snprintf(l->what, sizeof l->what, "%s", what);
    else
        step = -1;
    cm_json_close(&root);
    return step;
}

bool la_lives_lost_a_rank(const char *run_dir, const char *job, int64_t number, char what[512])
{
    struct la_lives *l = NULL;
    char path[CM_PATH];
    struct cm_json *root = NULL;
    const char *fault, *text;
    if (la_lives_open(&l, run_dir, "train") != CM_OK)
        return false;
    snprintf(l->job, sizeof l->job, "%s", job);
    l->number = number;
    const struct cm_json *failure = NULL;
    if (summary_path(l, path) == CM_OK && cm_path_exists(path) &&
        cm_json_parse_file(&root, path, SUMMARY_MAX_NBYTES) == CM_OK &&
        is_of_this_life(l, root, true))
        failure = cm_json_get(root, "failure");
    bool lost = failure && cm_json_need_string(failure, path, "fault", &fault) == CM_OK &&
                cm_json_need_string(failure, path, "what", &text) == CM_OK &&
                strcmp(fault, "failed") != 0;
    snprintf(what, 512, "%s", lost ? text : "");
    cm_json_close(&root);
    la_lives_close(&l);
    return lost;
}

/* NULL when there is no run directory, or none that can be written: the log has it as well. */
static struct cm_events *open_events(const struct la_lives *l)
{
    char path[CM_PATH];
    struct cm_events *events = NULL;
    if (cm_path_is_dir(l->run_dir) && cm_path_join(path, l->run_dir, "events.jsonl") == CM_OK &&
        cm_events_open(&events, path, NOBODY) != CM_OK)
        cm_error_report(CM_LOG_WARN, CM_EIO, "events");
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

/* mpirun has codes of its own above those of signals. */
void la_lives_end(struct la_lives *l, int exit_code)
{
    char what[128];
    int number = exit_code - SIGNAL_CODE;
    const char *name = number > 0 ? sigdescr_np(number) : NULL;
    if (!l || !name || !cm_path_is_dir(l->run_dir) || has_failed(l, false))
        return;
    snprintf(what, sizeof what, "ended by signal %d (%s)%s", number, name,
             number == SIGKILL ? ": somebody's kill -9, or the kernel's memory limit" : "");
    if (write_killed(l, what, exit_code) != CM_OK)
        cm_error_report(CM_LOG_WARN, CM_EIO, l->summary);
    struct cm_events *events = open_events(l);
    struct cm_jw w = {0};
    cm_events_begin(events, &w, "failed");
    put_killed(&w, what, exit_code);
    cm_events_put(events, &w);
    cm_events_close(&events);
}

bool la_lives_try_again(struct la_lives *l, int exit_code)
{
    int64_t step = l ? failed_step(l) : -1;
    if (step < 0)
        return true;
    l->times = step == l->step ? l->times + 1 : 1;
    l->step = step;
    if (l->times < LA_STEP_TRIES)
        return true;
    cm_log_error("giving up: step %lld failed %d times in a row, the last time because of %s",
                 (long long)step, l->times, l->what);
    struct cm_events *events = open_events(l);
    struct cm_jw w = {0};
    cm_events_begin(events, &w, "gave_up");
    cm_jw_i64(&w, "step", step);
    cm_jw_i64(&w, "times", l->times);
    cm_jw_i64(&w, "code", exit_code);
    cm_jw_string(&w, "what", l->what);
    cm_events_put(events, &w);
    cm_events_close(&events);
    return false;
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
    if (*l->what)
        cm_jw_string(&w, "what", l->what);
    cm_events_put(events, &w);
    cm_events_close(&events);
}
