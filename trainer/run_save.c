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

bool tr_run_save_is_due(const struct tr_runner *r, uint32_t bits)
{
    const struct ps_config *store = &r->session.store;
    int64_t step = r->progress.step;
    return (bits & TR_RUN_SAVE) || (store->every_steps > 0 && step % store->every_steps == 0) ||
           (store->every_epochs > 0 && step % (store->every_epochs * r->steps_per_epoch) == 0);
}

/* ---- rank 0 ---- */

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
                              .parent = r->saves.newest,
                              .producer = "train"};
    r->saves.begun_ns = cm_now_ns();
    tr_saver_begin(r->saver, &what);
}

/* A version is through. What did not fit on the disk does not end a run that goes on: the old
 * versions stand, and the next one may fit. It does end one that ends here (must). */
static cm_status take(struct tr_runner *r, const struct tr_saved *saved, bool must)
{
    struct tr_saves *s = &r->saves;
    tr_report_break(&r->report);
    s->stall_s += saved->stall_s;
    if (saved->st == CM_OK) {
        s->last = saved->publication;
        s->newest = s->last.version;
        s->newest_step = saved->step;
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

/* Waits until nothing is being written, at most so long. */
static cm_status wait_idle(struct tr_runner *r, int64_t ms, bool must)
{
    struct tr_saved saved;
    return tr_saver_wait(r->saver, cm_deadline_in_ms(ms), &saved) ? take(r, &saved, must) : CM_OK;
}

cm_status tr_run_heed_saver(struct tr_runner *r)
{
    struct tr_saved saved;
    return tr_run_is_root(r) && tr_saver_poll(r->saver, &saved) ? take(r, &saved, false) : CM_OK;
}

/* Waiting a little loses no version to a disk that is slow for once; waiting long would let a disk
 * that hangs stop the training. */
static cm_status save_root(struct tr_runner *r)
{
    if (!tr_run_is_root(r) || r->saves.newest_step == r->progress.step)
        return CM_OK;
    int64_t began_ns = cm_now_ns();
    CM_TRY(wait_idle(r, (int64_t)(r->session.store.wait_seconds * 1e3), false));
    r->saves.stall_s += (double)(cm_now_ns() - began_ns) * 1e-9;
    if (!tr_saver_busy(r->saver)) {
        begin(r);
        return CM_OK;
    }
    r->saves.skipped++;
    tr_report_break(&r->report);
    cm_log_warn("no version of step %lld: the one before is still being written after %.0f s",
                (long long)r->progress.step, (double)(cm_now_ns() - r->saves.begun_ns) * 1e-9);
    tr_report_no_checkpoint(&r->report, "checkpoint_skipped", r->progress.step,
                            "the version before is still being written");
    return CM_OK;
}

/* ---- all ranks ---- */

cm_status tr_run_save(struct tr_runner *r)
{
    ar_group_set_phase(r->session.group, "checkpoint", r->progress.step);
    CM_TRY(tr_audit_run(r->audit, r->progress.step));
    return save_root(r);
}

/* At most one second of rank 0's waiting. last: the version of this step must come of it, if it is
 * not there yet; *begun: it is the one that is being written. */
static cm_status wait_root(struct tr_runner *r, bool last, bool *begun, struct cm_deadline deadline,
                           int64_t *done)
{
    CM_TRY(wait_idle(r, 1000, *begun));
    if (tr_saver_busy(r->saver)) {
        if (cm_deadline_passed(deadline))
            return CM_FAIL(CM_ETIMEDOUT,
                           "a version is still being written after %g s: is the disk slow? "
                           "(store.finish_seconds)",
                           r->session.store.finish_seconds);
        return CM_OK;
    }
    *done = !last || r->saves.newest_step == r->progress.step;
    if (!*done) {
        *begun = true;
        begin(r);
    }
    return CM_OK;
}

/* The others learn second by second how far rank 0 is, so a slow disk is no late collective. */
static cm_status wait_all(struct tr_runner *r, bool last)
{
    struct ar_group *g = r->session.group;
    double seconds = r->session.store.finish_seconds;
    struct cm_deadline deadline = cm_deadline_in_ms((int64_t)(seconds * 1e3));
    bool begun = false;
    int64_t done = 0;
    ar_group_set_phase(g, "checkpoint", r->progress.step);
    while (!done) {
        cm_status st = tr_run_is_root(r) ? wait_root(r, last, &begun, deadline, &done) : CM_OK;
        CM_TRY(ar_group_agree(g, st, "writing a version"));
        CM_TRY(ar_group_broadcast(g, &done, sizeof done, 0));
    }
    return CM_OK;
}

cm_status tr_run_save_last(struct tr_runner *r)
{
    CM_TRY(tr_audit_run(r->audit, r->progress.step));
    return wait_all(r, true);
}

cm_status tr_run_settle(struct tr_runner *r)
{
    return wait_all(r, false);
}
