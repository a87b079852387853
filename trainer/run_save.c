/* When versions are written, and what becomes of them. Only rank 0 writes, and beside the training
 * (saver.h): the other ranks need not know, until the run is to end. */
#include <stdio.h>

#include "common/log.h"
#include "trainer/run_private.h"
#include "trainer/stop.h"

uint32_t tr_run_bits(const struct tr_runner *r)
{
    double minutes = r->session.store.every_minutes;
    uint32_t bits = tr_stop_asked() ? TR_RUN_STOP : 0;
    if (tr_run_is_root(r) && minutes > 0 && !tr_saver_busy(r->saver) &&
        (double)(cm_now_ns() - r->saves.begun_ns) > minutes * 60e9)
        bits |= TR_RUN_SAVE;
    return bits;
}

bool tr_run_save_is_due(const struct tr_runner *r, int64_t step)
{
    const struct ps_config *store = &r->session.store;
    return (store->every_steps > 0 && step % store->every_steps == 0) ||
           (store->every_epochs > 0 && step % (store->every_epochs * r->steps_per_epoch) == 0);
}

bool tr_run_is_base(const struct tr_runner *r, int64_t step)
{
    const struct ps_config *store = &r->session.store;
    const struct tr_progress *p = &r->progress;
    if (p->nskips > 0 && p->skip[p->nskips - 1].last + 1 == step)
        return false;
    bool clock_alone =
        store->every_minutes > 0 && store->every_steps == 0 && store->every_epochs == 0;
    return step == 0 || clock_alone || tr_run_save_is_due(r, step);
}

/* ---- rank 0 ---- */

static const char writing_phase[] = "writing", idle_phase[] = "idle";

static int64_t taken_ms_of(const struct tr_saves *s)
{
    return (cm_now_ns() - s->begun_ns) / 1000000;
}

/* A disk that is slow is no rank that is late: the ranks do not wait for it, or wait with
 * many looks, so it is told of here, once a version, by the watchdog's measure. */
static void tell_if_slow(struct tr_runner *r, bool waiting)
{
    struct tr_saves *s = &r->saves;
    int64_t taken_ms = taken_ms_of(s);
    if (!tr_saver_busy(r->saver) || taken_ms < s->late_ms)
        return;
    s->late_ms = INT64_MAX;
    double usual_s = (double)ar_phases_median_ns(&s->pace, writing_phase) * 1e-9;
    int64_t step = tr_saver_step(r->saver);
    tr_report_break(&r->report);
    cm_log_warn("slow disk? the version of step %lld is not in %s after %.1f s (usually %.1f s); "
                "training %s after step %lld",
                (long long)step, r->session.store_dir, (double)taken_ms * 1e-3, usual_s,
                waiting ? "waits for it" : "goes on, now", (long long)r->progress.step);
    tr_report_slow_checkpoint(&r->report, step, (double)taken_ms * 1e-3, usual_s);
}

static size_t fill_metrics(const struct tr_runner *r, struct ps_metric metrics[TR_SAVER_METRICS])
{
    size_t n = 0;
    const struct {
        const char *set;
        const struct tr_score *score;
    } scores[] = {{"test", &r->test}, {"holdout", &r->holdout}};
    for (size_t i = 0; i < 2; i++) {
        if (scores[i].score->count == 0 || r->evaluated_step != r->progress.step)
            continue;
        snprintf(metrics[n].name, PS_NAME, "%s_accuracy", scores[i].set);
        metrics[n++].value = scores[i].score->accuracy;
        snprintf(metrics[n].name, PS_NAME, "%s_loss", scores[i].set);
        metrics[n++].value = scores[i].score->loss;
    }
    return n;
}

static void begin(struct tr_runner *r)
{
    struct tr_state state = tr_run_state(r);
    struct ps_metric metrics[TR_SAVER_METRICS] = {0};
    int64_t within = r->progress.step % r->steps_per_epoch;
    struct tr_publish what = {.state = &state,
                              .metrics = metrics,
                              .nmetrics = fill_metrics(r, metrics),
                              .epoch = r->progress.step / r->steps_per_epoch,
                              .sample = within * r->session.train.batch,
                              .parent = r->saves.base,
                              .producer = "train"};
    r->saves.begun_ns = cm_now_ns();
    ar_phases_enter(&r->saves.pace, writing_phase, r->saves.begun_ns);
    r->saves.late_ms =
        ar_phases_late_ms(&r->saves.pace, writing_phase, r->session.allreduce.late_ms);
    tr_saver_begin(r->saver, &what);
}

/* A version is through. What did not fit on the disk does not end a run that goes on: the old
 * versions stand, and the next one may fit. It does end one that ends here (must). */
static cm_status take(struct tr_runner *r, const struct tr_saved *saved, bool must)
{
    struct tr_saves *s = &r->saves;
    tr_report_break(&r->report);
    ar_phases_enter(&s->pace, idle_phase, cm_now_ns());
    s->stall_s += saved->stall_s;
    if (saved->st == CM_OK) {
        s->last = saved->publication;
        s->newest = s->last.version;
        s->newest_step = saved->step;
        if (tr_run_is_base(r, saved->step))
            s->base = s->newest;
        s->written++;
        cm_log_info("version %lld written: step %lld, sha256 %.16s…, %.2f s, of them %.1f ms of "
                    "training",
                    (long long)s->newest, (long long)saved->step, s->last.sha256, s->last.seconds,
                    saved->stall_s * 1e3);
        tr_report_checkpoint(&r->report, s->newest, saved->step, s->last.seconds, saved->stall_s);
        return CM_OK;
    }
    cm_error_restore(&saved->error);
    s->failed++;
    tr_report_no_checkpoint(&r->report, "checkpoint_failed", saved->step, cm_error_text());
    if (must || saved->st == CM_EFENCED)
        return saved->st;
    cm_error_report(CM_LOG_WARN, saved->st,
                    "version not written, older ones stay; training goes on");
    return CM_OK;
}

cm_status tr_run_heed_saver(struct tr_runner *r)
{
    struct tr_saved saved;
    if (!tr_run_is_root(r))
        return CM_OK;
    if (tr_saver_poll(r->saver, &saved))
        return take(r, &saved, false);
    tell_if_slow(r, false);
    return CM_OK;
}

static void skip(struct tr_runner *r)
{
    r->saves.skipped++;
    tr_report_break(&r->report);
    cm_log_warn("no version of step %lld: the one before is still being written after %.0f s",
                (long long)r->progress.step, (double)(cm_now_ns() - r->saves.begun_ns) * 1e-9);
    tr_report_no_checkpoint(&r->report, "checkpoint_skipped", r->progress.step,
                            "the version before is still being written");
}

/* ---- all ranks ---- */

enum writing { WRITING, IDLE, LATE };

/* Until the next look: no longer than is left, and not beyond the moment to tell of it. */
static int64_t wait_ms_of(const struct tr_saves *s, const struct cm_awake *deadline)
{
    int64_t left_ms = cm_deadline_left_ms(deadline->end), late_ms = s->late_ms - taken_ms_of(s);
    int64_t ms = left_ms < late_ms ? left_ms : late_ms;
    return ms < 0 ? 0 : ms < CM_AWAKE_LOOK_MS ? ms : CM_AWAKE_LOOK_MS;
}

/* Rank 0. */
static cm_status wait_root(struct tr_runner *r, struct cm_awake *deadline, bool must,
                           int64_t *writing)
{
    struct tr_saved saved;
    if (tr_saver_wait(r->saver, cm_deadline_in_ms(wait_ms_of(&r->saves, deadline)), &saved))
        CM_TRY(take(r, &saved, must));
    bool late = cm_awake_passed(deadline);
    tell_if_slow(r, !late);
    *writing = !tr_saver_busy(r->saver) ? IDLE : late ? LATE : WRITING;
    return CM_OK;
}

/* Until nothing is being written, or the deadline. must: a version that fails is an error. The
 * other ranks learn at every look how far rank 0 is, so a slow disk is no late collective. */
static cm_status wait_all(struct tr_runner *r, struct cm_awake *deadline, bool must, bool *idle)
{
    struct ar_group *g = r->session.group;
    int64_t writing = WRITING;
    ar_group_set_phase(g, "checkpoint", r->progress.step);
    while (writing == WRITING) {
        cm_status st = tr_run_is_root(r) ? wait_root(r, deadline, must, &writing) : CM_OK;
        CM_TRY(ar_group_agree(g, st, "writing a version"));
        CM_TRY(ar_group_broadcast(g, &writing, sizeof writing, 0));
    }
    *idle = writing == IDLE;
    return CM_OK;
}

static struct cm_awake patience(double seconds)
{
    return cm_awake_until(cm_deadline_in_ms((int64_t)(seconds * 1e3)));
}

/* All ranks know that time is up; it is rank 0 that could not do its part. */
static cm_status finish(struct tr_runner *r, struct cm_awake *deadline, bool must)
{
    bool idle;
    cm_status st = CM_OK;
    CM_TRY(wait_all(r, deadline, must, &idle));
    if (!idle && tr_run_is_root(r))
        st = CM_FAIL(CM_ETIMEDOUT,
                     "a version is still being written after %g s: is the disk slow? "
                     "(store.finish_seconds)",
                     r->session.store.finish_seconds);
    return ar_group_agree(r->session.group, st, "writing a version");
}

/* Waiting a little loses no version to a disk that is slow for once; waiting long would let a disk
 * that hangs stop the training. */
cm_status tr_run_save(struct tr_runner *r)
{
    bool idle = true;
    CM_TRY(tr_engine_fetch(r->engine));
    CM_TRY(tr_audit_run(r->audit, r->progress.step));
    int64_t began_ns = cm_now_ns();
    struct cm_awake little = patience(r->session.store.wait_seconds);
    if (r->session.train.on_spike == TR_SPIKE_ROLLBACK)
        CM_TRY(tr_run_settle(r));
    else
        CM_TRY(wait_all(r, &little, false, &idle));
    if (!tr_run_is_root(r))
        return CM_OK;
    r->saves.stall_s += (double)(cm_now_ns() - began_ns) * 1e-9;
    if (idle)
        begin(r);
    else
        skip(r);
    return CM_OK;
}

cm_status tr_run_save_last(struct tr_runner *r)
{
    CM_TRY(tr_engine_fetch(r->engine));
    CM_TRY(tr_audit_run(r->audit, r->progress.step));
    struct cm_awake deadline = patience(r->session.store.finish_seconds);
    CM_TRY(finish(r, &deadline, false));
    if (tr_run_is_root(r) && r->saves.newest_step != r->progress.step)
        begin(r);
    return finish(r, &deadline, true);
}

cm_status tr_run_settle(struct tr_runner *r)
{
    struct cm_awake deadline = patience(r->session.store.finish_seconds);
    return finish(r, &deadline, false);
}
