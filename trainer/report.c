#include "trainer/report.h"

#include <math.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#define METRICS_EVERY_S 5

cm_status tr_report_open(struct tr_report *r, const char *run_dir, bool quiet)
{
    char path[CM_PATH];
    *r = (struct tr_report){.on = true, .run_dir = run_dir, .epoch = -1};
    r->quiet = quiet;
    CM_TRY(cm_path_join(path, run_dir, "events.jsonl"));
    CM_TRY(cm_events_open(&r->events, path, 0));
    CM_TRY(cm_metrics_open(&r->metrics));
    const struct {
        struct cm_metric **metric;
        const char *name, *labels, *help;
    } gauges[] = {
        {&r->step, "flywheel_train_step", "", "Steps finished."},
        {&r->loss, "flywheel_train_loss", "", "Mean loss of the last step."},
        {&r->accuracy, "flywheel_train_accuracy", "", "Share of the last step's images got right."},
        {&r->lr, "flywheel_train_learning_rate", "", "Learning rate of the last step."},
        {&r->images_per_s, "flywheel_train_images_per_second", "", "Speed of the last step."},
        {&r->test_accuracy, "flywheel_eval_accuracy", "set=\"test\"", "Last evaluation."},
        {&r->holdout_accuracy, "flywheel_eval_accuracy", "set=\"holdout\"", "Last evaluation."},
    };
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        CM_TRY(cm_metric_gauge(gauges[i].metric, r->metrics, gauges[i].name, gauges[i].labels,
                               gauges[i].help));
    const struct {
        struct cm_metric **metric;
        const char *name, *help;
    } counters[] = {
        {&r->images, "flywheel_train_images_total",
         "Images trained on since this process started."},
        {&r->checkpoints, "flywheel_train_checkpoints_total",
         "Versions written since this process started."},
        {&r->checkpoints_lost, "flywheel_train_checkpoints_lost_total",
         "Versions that failed or were left out since this process started."},
        {&r->stall, "flywheel_train_checkpoint_stall_seconds_total",
         "Time that training stood still for copies of its state."},
        {&r->rollbacks, "flywheel_train_rollbacks_total",
         "Returns to a version since this process started."},
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        CM_TRY(cm_metric_counter(counters[i].metric, r->metrics, counters[i].name, "",
                                 counters[i].help));
    return CM_OK;
}

/* Metrics never stop a run. */
static void write_metrics(struct tr_report *r)
{
    char path[CM_PATH];
    cm_status st = cm_path_join(path, r->run_dir, "metrics.prom");
    if (st == CM_OK)
        st = cm_metrics_write(r->metrics, path);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "metrics");
    r->metrics_written = cm_utc_now();
}

void tr_report_release(struct tr_report *r)
{
    if (!r->on)
        return;
    tr_report_break(r);
    if (r->metrics)
        write_metrics(r);
    cm_events_close(&r->events);
    cm_metrics_close(&r->metrics);
    r->on = false;
}

void tr_report_text(struct tr_report *r, const char *event, const char *key, const char *value)
{
    if (!r->on)
        return;
    struct cm_jw w = {0};
    cm_events_begin(r->events, &w, event);
    cm_jw_string(&w, key, value);
    cm_events_put(r->events, &w);
}

static void refresh_metrics(struct tr_report *r, const struct tr_outcome *o, int64_t step)
{
    double count = o->count ? (double)o->count : 1;
    cm_metric_set(r->step, (double)step + 1);
    cm_metric_set(r->loss, o->loss / count);
    cm_metric_set(r->accuracy, (double)o->correct / count);
    cm_metric_set(r->lr, o->lr);
    cm_metric_set(r->images_per_s, count / o->seconds);
    cm_metric_add(r->images, count);
    if (cm_utc_now() - r->metrics_written >= METRICS_EVERY_S)
        write_metrics(r);
}

static void end_epoch(struct tr_report *r, int64_t step)
{
    tr_report_break(r);
    struct cm_jw w = {0};
    cm_events_begin(r->events, &w, "epoch");
    cm_jw_i64(&w, "epoch", r->epoch);
    cm_jw_i64(&w, "step", step + 1);
    cm_jw_f64(&w, "loss", r->loss_sum / (double)r->count);
    cm_jw_f64(&w, "accuracy", (double)r->correct / (double)r->count);
    cm_jw_f64(&w, "images_per_s", (double)r->count / r->seconds);
    cm_events_put(r->events, &w);
    r->epoch = -1;
}

/* A process that resumed has not run the steps before its own, so they say nothing of its pace. */
static double time_left_s(struct tr_report *r, const struct tr_outcome *o,
                          const struct tr_place *at)
{
    int64_t now_ns = cm_now_ns();
    if (r->nsteps == 0)
        r->began_ns = now_ns - (int64_t)(o->seconds * 1e9);
    r->nsteps++;
    double pace_s = (double)(now_ns - r->began_ns) * 1e-9 / (double)r->nsteps;
    return pace_s * (double)(at->total - at->step - 1);
}

void tr_report_step(struct tr_report *r, const struct tr_outcome *o, const struct tr_place *at)
{
    if (!r->on)
        return;
    if (!r->line_open) { /* a new epoch, or one that goes on below a line of the log */
        snprintf(r->label, sizeof r->label, "epoch %lld/%.0f", (long long)at->epoch + 1,
                 ceil(at->epochs)); /* the last one may be a part */
        cm_progress_begin(&r->progress, r->label, at->epoch_steps, !r->quiet);
        r->line_open = true;
    }
    if (r->epoch != at->epoch) {
        r->epoch = at->epoch;
        r->loss_sum = r->seconds = 0;
        r->correct = r->count = 0;
    }
    r->loss_sum += o->loss;
    r->correct += o->correct;
    r->count += o->count;
    r->seconds += o->seconds;
    snprintf(r->note, sizeof r->note, "%.0f images/s  loss %.3f  accuracy %.2f %%",
             (double)r->count / r->seconds, r->loss_sum / (double)r->count,
             100 * (double)r->correct / (double)r->count);
    r->progress.left_s = time_left_s(r, o, at);
    cm_progress_update(&r->progress, at->within + 1, r->note);
    refresh_metrics(r, o, at->step);
    if (at->within + 1 == at->epoch_steps)
        end_epoch(r, at->step);
}

void tr_report_break(struct tr_report *r)
{
    if (!r->on || !r->line_open)
        return;
    cm_progress_end(&r->progress, r->note);
    r->line_open = false;
}

void tr_report_score(struct tr_report *r, const char *which, int64_t step,
                     const struct tr_score *score)
{
    if (!r->on)
        return;
    cm_log_info("%s accuracy %.2f %% (%lld of %lld), loss %.4f, after step %lld", which,
                100 * score->accuracy, (long long)score->correct, (long long)score->count,
                score->loss, (long long)step);
    if (which[0] != 'v')
        cm_metric_set(which[0] == 't' ? r->test_accuracy : r->holdout_accuracy, score->accuracy);
    struct cm_jw w = {0};
    cm_events_begin(r->events, &w, "evaluate");
    cm_jw_string(&w, "set", which);
    cm_jw_i64(&w, "step", step);
    cm_jw_f64(&w, "accuracy", score->accuracy);
    cm_jw_f64(&w, "loss", score->loss);
    cm_jw_i64(&w, "count", score->count);
    cm_events_put(r->events, &w);
}

void tr_report_checkpoint(struct tr_report *r, int64_t version, int64_t step, double seconds,
                          double stall_s)
{
    if (!r->on)
        return;
    cm_metric_add(r->checkpoints, 1);
    cm_metric_add(r->stall, stall_s);
    struct cm_jw w = {0};
    cm_events_begin(r->events, &w, "checkpoint");
    cm_jw_i64(&w, "version", version);
    cm_jw_i64(&w, "step", step);
    cm_jw_f64(&w, "seconds", seconds);
    cm_jw_f64(&w, "stall_seconds", stall_s);
    cm_events_put(r->events, &w);
}

void tr_report_no_checkpoint(struct tr_report *r, const char *event, int64_t step, const char *why)
{
    if (!r->on)
        return;
    cm_metric_add(r->checkpoints_lost, 1);
    struct cm_jw w = {0};
    cm_events_begin(r->events, &w, event);
    cm_jw_i64(&w, "step", step);
    cm_jw_string(&w, "why", why);
    cm_events_put(r->events, &w);
}

void tr_report_slow_checkpoint(struct tr_report *r, int64_t step, double seconds, double usual_s)
{
    if (!r->on)
        return;
    struct cm_jw w = {0};
    cm_events_begin(r->events, &w, "checkpoint_slow");
    cm_jw_i64(&w, "step", step);
    cm_jw_f64(&w, "seconds", seconds);
    cm_jw_f64(&w, "usual_seconds", usual_s);
    cm_events_put(r->events, &w);
}

void tr_report_rollback(struct tr_report *r, int64_t version, const struct tr_skip *skip,
                        const char *why)
{
    if (!r->on)
        return;
    cm_metric_add(r->rollbacks, 1);
    struct cm_jw w = {0};
    cm_events_begin(r->events, &w, "rollback");
    cm_jw_i64(&w, "version", version);
    cm_jw_i64(&w, "first_step", skip->first);
    cm_jw_i64(&w, "last_step", skip->last);
    cm_jw_string(&w, "why", why);
    cm_events_put(r->events, &w);
}
