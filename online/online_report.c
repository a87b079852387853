#include "online/online_report.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#define REFRESH_NS 5000000000

cm_status ol_report_open(struct ol_report *r, const char *run_dir)
{
    char path[CM_PATH];
    *r = (struct ol_report){.run_dir = run_dir};
    CM_TRY(cm_path_join(path, run_dir, "events.jsonl"));
    CM_TRY(cm_events_open(&r->events, path, 0));
    CM_TRY(cm_metrics_open(&r->metrics));
    static const char entries[] = "flywheel_online_entries_total",
                      batches[] = "flywheel_online_batches_total";
    const struct {
        struct cm_metric **to;
        const char *name, *labels, *help;
        bool counts;
    } all[] = {
        {&r->fate[OL_TRAINED], entries, "fate=\"trained\"", "Feedback entries, by fate.", true},
        {&r->fate[OL_REJECTED], entries, "fate=\"rejected\"", "Feedback entries, by fate.", true},
        {&r->fate[OL_DEAD], entries, "fate=\"dead\"", "Feedback entries, by fate.", true},
        {&r->fate[OL_DUPLICATE], entries, "fate=\"duplicate\"", "Feedback entries, by fate.", true},
        {&r->passed, batches, "gate=\"passed\"", "Batches, by the gate's verdict.", true},
        {&r->refused, batches, "gate=\"refused\"", "Batches, by the gate's verdict.", true},
        {&r->drifts, "flywheel_online_drifts_total", "", "Drifts found in what is served.", true},
        {&r->batch, "flywheel_online_batch", "", "Number of the last decided batch.", false},
        {&r->pending, "flywheel_online_pending_entries", "", "Read for the next batch.", false},
        {&r->champion, "flywheel_online_champion_version", "", "Champion after it.", false},
        {&r->holdout, "flywheel_online_holdout_accuracy", "", "Of the last candidate.", false},
        {&r->seconds, "flywheel_online_batch_seconds", "", "Last batch, log to commit.", false},
        {&r->age, "flywheel_online_time_to_model_seconds", "",
         "Age of the last batch's oldest entry when its weights became champion.", false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CM_TRY((all[i].counts ? cm_metric_counter : cm_metric_gauge)(
            all[i].to, r->metrics, all[i].name, all[i].labels, all[i].help));
    return CM_OK;
}

static void refresh(struct ol_report *r)
{
    char path[CM_PATH];
    cm_status st = cm_path_join(path, r->run_dir, "metrics.prom");
    if (st == CM_OK)
        st = cm_metrics_write(r->metrics, path);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "metrics");
    r->written_ns = cm_now_ns();
}

void ol_report_release(struct ol_report *r)
{
    if (r->metrics)
        refresh(r);
    cm_events_close(&r->events);
    cm_metrics_close(&r->metrics);
    *r = (struct ol_report){0};
}

void ol_report_waiting(struct ol_report *r, size_t pending)
{
    if (!r->metrics)
        return;
    cm_metric_set(r->pending, (double)pending);
    if (cm_now_ns() - r->written_ns > REFRESH_NS)
        refresh(r);
}

/* ---- prequential accuracy: of what was served, before it is trained on ---- */

static int64_t answered_by(const struct ol_batch *b, const struct ol_entry *e)
{
    return e->served_class >= 0 ? e->served_version : b->champion;
}

static void tell_accuracy(struct ol_report *r, const struct ol_report_batch *d, int64_t version,
                          int32_t operator_index)
{
    const struct ol_batch *b = d->batch;
    const char *name = b->operators[operator_index];
    int64_t right = 0, n = 0;
    for (size_t i = 0; i < b->nentries; i++) {
        const struct ol_entry *e = &b->entries[i];
        if (e->row < 0 || e->operator_index != operator_index || answered_by(b, e) != version)
            continue;
        n++;
        right += ol_entry_was_right(b, e, d->predicted);
    }
    struct cm_jw w;
    cm_events_begin(r->events, &w, "prequential");
    cm_jw_i64(&w, "batch", b->number);
    cm_jw_i64(&w, "version", version);
    cm_jw_string(&w, "operator", name);
    cm_jw_i64(&w, "count", n);
    cm_jw_i64(&w, "correct", right);
    cm_jw_f64(&w, "accuracy", (double)right / (double)n);
    cm_events_put(r->events, &w);

    char labels[WI_OPERATOR + 16]; /* versions come for ever, and are in the events */
    struct cm_metric *count = NULL, *correct = NULL;
    snprintf(labels, sizeof labels, "operator=\"%s\"", name);
    if (cm_metric_counter(&count, r->metrics, "flywheel_online_judged_total", labels,
                          "Answers judged by feedback, by operator.") != CM_OK ||
        cm_metric_counter(&correct, r->metrics, "flywheel_online_judged_correct_total", labels,
                          "Those that feedback confirmed.") != CM_OK)
        return;
    cm_metric_add(count, (double)n);
    cm_metric_add(correct, (double)right);
}

/* One event for each pair of version and operator, at the first entry of the pair. */
static void tell_accuracies(struct ol_report *r, const struct ol_report_batch *d)
{
    const struct ol_batch *b = d->batch;
    for (size_t i = 0; i < b->nentries; i++) {
        const struct ol_entry *e = &b->entries[i];
        bool first = e->row >= 0;
        for (size_t j = 0; j < i && first; j++)
            first = b->entries[j].row < 0 || b->entries[j].operator_index != e->operator_index ||
                    answered_by(b, &b->entries[j]) != answered_by(b, e);
        if (first)
            tell_accuracy(r, d, answered_by(b, e), e->operator_index);
    }
}

/* ---- the batch ---- */

static struct ol_count count_fates(const struct ol_batch *b, bool passed)
{
    struct ol_count c = {0};
    for (size_t i = 0; i < b->nentries; i++) {
        c.dead += b->entries[i].fate == OL_DEAD;
        c.duplicate += b->entries[i].fate == OL_DUPLICATE;
    }
    *(passed ? &c.trained : &c.rejected) = (int64_t)b->nimages;
    return c;
}

static double oldest_age_s(const struct ol_batch *b)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < b->nentries; i++)
        if (b->entries[i].row >= 0 && b->entries[i].id.ms < oldest)
            oldest = b->entries[i].id.ms;
    return cm_utc_now() - (double)oldest * 1e-3;
}

static void tell_batch(struct ol_report *r, const struct ol_report_batch *d,
                       const struct ol_count *c)
{
    const struct ol_state *s = d->state;
    const struct ol_gate_verdict *v = &s->verdict;
    struct cm_jw w;
    cm_events_begin(r->events, &w, "batch");
    cm_jw_i64(&w, "batch", s->batch);
    cm_jw_i64(&w, "state", d->version);
    cm_jw_string(&w, "gate", ol_gate_reason_name(v->reason));
    cm_jw_string(&w, "text", v->text);
    cm_jw_i64(&w, "champion", s->champion);
    cm_jw_i64(&w, "weights", s->weights);
    cm_jw_i64(&w, "trained", c->trained);
    cm_jw_i64(&w, "rejected", c->rejected);
    cm_jw_i64(&w, "dead", c->dead);
    cm_jw_i64(&w, "duplicate", c->duplicate);
    cm_jw_f64(&w, "holdout_champion", v->champion_accuracy);
    cm_jw_f64(&w, "holdout_candidate", v->candidate_accuracy);
    cm_jw_f64(&w, "feedback_champion", v->feedback_champion);
    cm_jw_f64(&w, "feedback_candidate", v->feedback_candidate);
    cm_jw_f64(&w, "seconds", d->seconds);
    cm_events_put(r->events, &w);
}

void ol_report_decided(struct ol_report *r, const struct ol_report_batch *d)
{
    const struct ol_state *s = d->state;
    bool passed = s->verdict.reason == OL_GATE_PASSED;
    if (!r->metrics)
        return;
    struct ol_count c = count_fates(d->batch, passed);
    cm_metric_add(r->fate[OL_TRAINED], (double)c.trained);
    cm_metric_add(r->fate[OL_REJECTED], (double)c.rejected);
    cm_metric_add(r->fate[OL_DEAD], (double)c.dead);
    cm_metric_add(r->fate[OL_DUPLICATE], (double)c.duplicate);
    cm_metric_add(passed ? r->passed : r->refused, 1);
    cm_metric_add(r->drifts, (double)d->drifts);
    cm_metric_set(r->batch, (double)s->batch);
    cm_metric_set(r->champion, (double)(s->weights ? s->weights : s->champion));
    cm_metric_set(r->holdout, s->verdict.candidate_accuracy);
    cm_metric_set(r->seconds, d->seconds);
    if (passed)
        cm_metric_set(r->age, oldest_age_s(d->batch));
    tell_accuracies(r, d);
    tell_batch(r, d, &c);
    if (d->drifts) {
        cm_log_warn("drift: the error rate of what is served has risen beyond chance");
        struct cm_jw w;
        cm_events_begin(r->events, &w, "drift");
        cm_jw_i64(&w, "batch", s->batch);
        cm_jw_i64(&w, "times", d->drifts);
        cm_events_put(r->events, &w);
    }
    refresh(r);
}
