#include "trainer/lost_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/events.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

#define SEEN_MS 5000 /* a network file system may show a new folder late */
#define LOOK_US 50000

#define SUMMARY_MAX_NBYTES (1 << 20)
#define UNKNOWN_STEP       (-1)

/* ---- the start ---- */

static bool is_same_owner(const struct ps_lease_owner *a, const struct ps_lease_owner *b)
{
    return a->generation == b->generation && a->pid == b->pid && a->start_ticks == b->start_ticks &&
           strcmp(a->host, b->host) == 0;
}

/* Until the newest lease that can be seen here is rank 0's. The fault says nothing of this rank:
 * those that see the same tell it once (group.h). */
static cm_status look_for(const struct ps_lease_owner *owner, const char *run_dir)
{
    struct cm_deadline deadline = cm_deadline_in_ms(SEEN_MS);
    struct ps_lease_owner seen;
    for (;;) {
        cm_status st = ps_lease_show(&seen, run_dir);
        if (st == CM_OK && is_same_owner(&seen, owner))
            return CM_OK;
        if (cm_deadline_passed(deadline))
            break;
        cm_sleep_us(LOOK_US);
    }
    return CM_FAIL(CM_EMISMATCH,
                   "%s, seen from here, is not what rank 0 on %s writes to: give all ranks the "
                   "same --run, on storage that all hosts share",
                   run_dir, owner->host);
}

cm_status tr_loss_arm(struct tr_loss *self, struct ar_group *g, const char *run_dir,
                      const char *summary)
{
    struct ps_lease_owner owner = {0};
    *self =
        (struct tr_loss){.summary = summary, .rank = ar_group_rank(g), .size = ar_group_size(g)};
    snprintf(self->run_dir, sizeof self->run_dir, "%s", run_dir);
    cm_status st = self->rank == 0 ? ps_lease_show(&owner, run_dir) : CM_OK;
    CM_TRY(ar_group_agree(g, st, "reading the lease"));
    CM_TRY(ar_group_broadcast(g, &owner, sizeof owner, 0));
    st = self->rank == 0 ? CM_OK : look_for(&owner, run_dir);
    CM_TRY(ar_group_agree(g, st, "looking at the run directory"));
    self->generation = owner.generation;
    ar_group_on_loss(g, tr_loss_write, self);
    return CM_OK;
}

/* ---- the end ---- */

/* When and where a loss was, beside what the group knows of it. */
struct scene {
    const char *run_dir, *summary;
    const char *job; /* NULL: nobody told these ranks of one; "": there was none */
    int64_t life, generation;
    double t;           /* utc seconds */
    int told_by, ranks; /* ranks 0: not known */
};

static void put_failure(struct cm_jw *w, const struct ar_loss *loss, double t)
{
    cm_jw_begin(w, "failure", '{');
    cm_jw_i64(w, "rank", loss->rank);
    cm_jw_string(w, "host", loss->host);
    cm_jw_string(w, "fault", loss->fault);
    cm_jw_string(w, "phase", loss->phase);
    cm_jw_i64(w, "step", loss->step);
    cm_jw_string(w, "what", loss->what);
    cm_jw_string(w, "others", loss->others);
    cm_jw_f64(w, "t", t);
    cm_jw_end(w);
}

/* A loop's folder may not be there yet. */
static cm_status summary_path(char path[CM_PATH], const struct scene *at)
{
    CM_TRY(cm_path_join(path, at->run_dir, at->summary));
    return cm_dir_make_for(path);
}

static cm_status write_summary(const struct scene *at, const struct ar_loss *loss)
{
    struct cm_jw w = {.indent = 2};
    char *text = NULL, path[CM_PATH];
    size_t n;
    cm_jw_begin(&w, NULL, '{');
    put_failure(&w, loss, at->t);
    cm_jw_i64(&w, "told_by", at->told_by);
    if (at->ranks > 0)
        cm_jw_i64(&w, "ranks", at->ranks);
    cm_jw_i64(&w, "generation", at->generation); /* the next start knows whose end this was by it */
    if (at->job) { /* the supervisor tells a late word of an earlier life by it */
        cm_jw_string(&w, "job", at->job);
        cm_jw_i64(&w, "life", at->life);
    }
    cm_jw_f64(&w, "t", cm_utc_now());
    cm_jw_end(&w);
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = summary_path(path, at);
    if (st == CM_OK)
        st = cm_file_replace(path, text, n);
    cm_free(&text);
    return st;
}

static void write_event(const struct scene *at, const struct ar_loss *loss)
{
    char path[CM_PATH];
    struct cm_events *events = NULL;
    struct cm_jw w = {0};
    if (cm_path_join(path, at->run_dir, "events.jsonl") != CM_OK ||
        cm_events_open(&events, path, at->told_by) != CM_OK)
        return;
    cm_events_begin(events, &w, "failed");
    put_failure(&w, loss, at->t);
    cm_events_put(events, &w);
    cm_events_close(&events);
}

static void write_down(const struct scene *at, const struct ar_loss *loss)
{
    cm_status st = write_summary(at, loss);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, at->summary);
    write_event(at, loss);
}

void tr_loss_write(const struct ar_loss *loss, void *arg)
{
    const struct tr_loss *self = arg;
    struct ps_lease_owner owner;
    const char *job = getenv("FLYWHEEL_JOB"), *life = getenv("FLYWHEEL_LIFE");
    const struct scene at = {.run_dir = self->run_dir,
                             .summary = self->summary,
                             .job = job,
                             .life = life ? strtoll(life, NULL, 10) : 0,
                             .generation = self->generation,
                             .t = cm_utc_now(),
                             .told_by = self->rank,
                             .ranks = self->size};
    if (ps_lease_show(&owner, self->run_dir) == CM_OK && owner.generation > self->generation)
        return; /* the run goes on without us */
    write_down(&at, loss);
}

void tr_loss_write_here(struct tr_loss *self, const char *phase, int64_t step)
{
    char host[64] = "";
    struct cm_error why;
    cm_error_save(&why);
    (void)gethostname(host, sizeof host - 1);
    const struct ar_loss loss = {.rank = self->rank,
                                 .host = host,
                                 .fault = "failed",
                                 .phase = phase,
                                 .step = step,
                                 .what = why.text,
                                 .others = ""};
    tr_loss_write(&loss, self);
    cm_error_restore(&why);
}

/* ---- the end of the run before ---- */

/* Whether a summary is of that owner's end. The times in it prove nothing: the end of the owner
 * before is written down after this one began, and clocks are set, or another host's. A supervisor,
 * which knows no generation, names the life. */
static bool is_of(const struct ps_lease_owner *owner, const struct cm_json *root)
{
    const char *job;
    int64_t generation, life;
    if (cm_json_get(root, "generation"))
        return cm_json_need_i64(root, "summary", "generation", 0, INT64_MAX, &generation) ==
                   CM_OK &&
               generation == owner->generation;
    return *owner->job && cm_json_get(root, "job") &&
           cm_json_need_string(root, "summary", "job", &job) == CM_OK &&
           cm_json_need_i64(root, "summary", "life", 0, INT64_MAX, &life) == CM_OK &&
           strcmp(job, owner->job) == 0 && life == owner->life;
}

static bool was_told(const char *run_dir, const char *summary, const struct ps_lease_owner *before)
{
    char path[CM_PATH];
    struct cm_json *root = NULL;
    if (cm_path_join(path, run_dir, summary) != CM_OK || !cm_path_exists(path) ||
        cm_json_parse_file(&root, path, SUMMARY_MAX_NBYTES) != CM_OK)
        return false;
    bool told = cm_json_get(root, "failure") && is_of(before, root);
    cm_json_close(&root);
    return told;
}

/* Its last sign of life: metrics are refreshed every few seconds, by the run alone. Others, a
 * gateway or a supervisor, write events as well. */
static double last_heard_utc_s(const char *run_dir, const struct ps_lease_owner *before)
{
    char path[CM_PATH];
    struct stat s;
    double t = before->since_utc_s;
    if (cm_path_join(path, run_dir, "metrics.prom") != CM_OK || stat(path, &s) != 0)
        return t;
    return fmax(t, (double)s.st_mtim.tv_sec + (double)s.st_mtim.tv_nsec * 1e-9);
}

void tr_loss_write_before(const char *run_dir, const char *summary,
                          const struct ps_lease_owner *before)
{
    char what[512], heard[CM_UTC_TEXT];
    if (before->released || was_told(run_dir, TR_SUMMARY, before) ||
        was_told(run_dir, TR_LOOP_SUMMARY, before))
        return;
    const struct scene at = {.run_dir = run_dir,
                             .summary = summary,
                             .job = before->job,
                             .life = before->life,
                             .generation = before->generation,
                             .t = last_heard_utc_s(run_dir, before)};
    cm_utc_format(heard, at.t);
    snprintf(what, sizeof what,
             "process %lld on %s ended without a word (a signal, the kernel's memory limit, its "
             "host): last heard of at %s",
             (long long)before->pid, before->host, heard);
    const struct ar_loss loss = {.rank = 0, /* who holds a lease */
                                 .host = before->host,
                                 .fault = "killed",
                                 .phase = "",
                                 .step = UNKNOWN_STEP,
                                 .what = what,
                                 .others = ""};
    cm_log_warn("the run before this one: %s", what);
    write_down(&at, &loss);
}
