/* The end of a run: its champion, its summary, its last line. */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "trainer/run_private.h"

#define SUMS_MUCH 0.25 /* of the training */

static void put_checkpoints(struct cm_jw *w, const struct tr_saves *s)
{
    cm_jw_begin(w, "checkpoints", '{');
    cm_jw_i64(w, "written", s->written);
    cm_jw_i64(w, "skipped", s->skipped);
    cm_jw_i64(w, "failed", s->failed);
    cm_jw_f64(w, "stall_seconds", s->stall_s);
    cm_jw_end(w);
}

/* As airbench counts: neither the data, nor the start of anything, nor what is in between. Of this
 * process, as train_seconds. */
static void put_counted(struct cm_jw *w, const struct tr_runner *r)
{
    cm_jw_begin(w, "counted_seconds", '{');
    cm_jw_f64(w, "initialise", r->initialise_s);
    cm_jw_f64(w, "train", r->seconds);
    cm_jw_f64(w, "evaluate", r->evaluate_s);
    cm_jw_f64(w, "sum", r->initialise_s + r->seconds + r->evaluate_s);
    cm_jw_end(w);
}

/* Where ranks compute on their hosts, the group knows how long nothing else was left to do. */
static bool knows_sums(const struct tr_runner *r)
{
    return ar_group_size(r->session.group) > 1 && !r->session.device && r->seconds > 0;
}

/* Why a run does not get faster with more ranks. */
static void tell_sums(const struct tr_runner *r)
{
    if (knows_sums(r) && r->sums_s > SUMS_MUCH * r->seconds)
        cm_log_info("%.0f %% of the training waited for sums between ranks: more ranks make it "
                    "hardly faster; a larger train.batch gives them more to do (does one have less "
                    "of a core? see flywheel-train doctor)",
                    100 * r->sums_s / r->seconds);
}

static void put_summary(struct cm_jw *w, const struct tr_runner *r)
{
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "network", r->session.spec->name);
    cm_jw_string(w, "dataset", r->session.data.set.name);
    cm_jw_i64(w, "ranks", ar_group_size(r->session.group));
    if (r->session.device) {
        cm_jw_string(w, "device", nn_device_describe(r->session.device));
        cm_jw_string(w, "graphs", tr_graphs_name(tr_engine_graphs(r->engine)));
        cm_jw_i64(w, "steps_ahead", r->most_begun);
        if (ar_group_size(r->session.group) > 1)
            cm_jw_string(w, "transport",
                         ar_transport_name((enum ar_transport_kind)r->session.allreduce.transport));
    }
    cm_jw_i64(w, "steps", r->progress.step);
    cm_jw_f64(w, "epochs", (double)r->progress.step / (double)r->steps_per_epoch);
    cm_jw_f64(w, "images_per_s", r->seconds > 0 ? (double)r->images / r->seconds : 0);
    cm_jw_f64(w, "train_seconds", r->seconds);
    put_counted(w, r);
    if (knows_sums(r))
        cm_jw_f64(w, "sums_share", r->sums_s / r->seconds);
    cm_jw_f64(w, "accuracy", r->test.accuracy);
    if (r->views.count)
        cm_jw_f64(w, "accuracy_views", r->views.accuracy);
    cm_jw_f64(w, "loss", r->test.loss);
    if (r->holdout.count)
        cm_jw_f64(w, "holdout_accuracy", r->holdout.accuracy);
    cm_jw_i64(w, "version", r->saves.newest);
    cm_jw_string(w, "sha256", r->saves.last.version ? r->saves.last.sha256 : NULL);
    put_checkpoints(w, &r->saves);
    cm_jw_begin(w, "audits", '{');
    cm_jw_i64(w, "count", tr_audit_count(r->audit));
    cm_jw_f64(w, "seconds", tr_audit_seconds(r->audit));
    cm_jw_end(w);
    cm_jw_i64(w, "rollbacks", r->progress.nskips);
    cm_jw_end(w);
}

static cm_status write_summary(struct tr_runner *r)
{
    struct cm_jw w = {.indent = 2};
    char *text, path[CM_PATH];
    size_t n;
    put_summary(&w, r);
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = cm_path_join(path, r->session.run_dir, "summary.json");
    if (st == CM_OK)
        st = cm_file_replace(path, text, n);
    cm_free(&text);
    return st;
}

cm_status tr_run_finish(struct tr_runner *r)
{
    if (!tr_run_is_root(r))
        return CM_OK;
    CM_TRY(tr_publisher_first_champion(r->publisher, r->saves.newest));
    CM_TRY(write_summary(r));
    tr_report_text(&r->report, "end", "sha256",
                   r->saves.last.version ? r->saves.last.sha256 : NULL);
    tell_sums(r);
    cm_log_info("done: version %lld, test accuracy %.2f %%", (long long)r->saves.newest,
                100 * r->test.accuracy);
    return CM_OK;
}
