#include "trainer/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/vec.h"
#include "model/init.h"
#include "trainer/differences.h"
#include "trainer/engine.h"
#include "trainer/evaluate.h"
#include "trainer/publish.h"
#include "trainer/report.h"
#include "trainer/stop.h"

/* The control word: any rank raises, all see it after the same step. */
enum { BIT_STOP = 1, BIT_SAVE = 2 };

struct run {
    const struct tr_run_options *options;
    struct tr_session session;
    struct tr_engine *engine;
    struct tr_evaluator *evaluator;
    struct tr_publisher *publisher; /* rank 0 only */
    struct tr_report report;
    struct tr_progress progress;
    float *average; /* look-ahead: layout->ntotal floats; NULL when off */
    int64_t total, steps_per_epoch;
    struct tr_score test, holdout; /* of the last evaluation; count 0: none yet */
    int64_t parent; /* the newest version, this process's or the one resumed from; 0: none */
    int64_t evaluated_step, saved_step;
    int64_t saved_ns;
    int64_t images; /* trained in this process, and in how many seconds */
    double seconds;
    struct tr_publication last; /* the newest version of this process; version 0: none */
};

static bool is_root(const struct run *r)
{
    return ar_group_rank(r->session.group) == 0;
}

static struct tr_state state_of(struct run *r)
{
    return (struct tr_state){.spec = r->session.spec,
                             .layout = r->session.layout,
                             .weights = tr_engine_weights(r->engine),
                             .optimizer = tr_engine_optimizer(r->engine),
                             .average = r->average,
                             .progress = &r->progress};
}

/* ---- start ---- */

static cm_status open_engine(struct run *r)
{
    struct tr_session *s = &r->session;
    struct tr_engine_config engine = tr_session_engine(s);
    CM_TRY(tr_engine_open(&r->engine, &engine));
    struct tr_evaluator_config evaluator = {.spec = s->spec,
                                            .layout = s->layout,
                                            .backend = tr_session_backend(s),
                                            .precision = (enum nn_precision)s->model.precision,
                                            .group = s->group,
                                            .nlanes = tr_engine_nlanes(r->engine)};
    CM_TRY(tr_evaluator_open(&r->evaluator, &evaluator));
    if (s->train.average_decay > 0)
        CM_TRY(cm_alloc_aligned(&r->average, s->layout->ntotal, sizeof(float), "average weights"));
    r->steps_per_epoch = tr_order_steps_per_epoch(tr_engine_order(r->engine));
    r->total = tr_order_total_steps(tr_engine_order(r->engine), s->train.epochs);
    if (r->average && r->total > 0 && r->total < s->train.average_every)
        return CM_FAIL(CM_ECONFIG,
                       "train.average_every is %lld, but the run has only %lld steps: it would end "
                       "with its initial weights",
                       (long long)s->train.average_every, (long long)r->total);
    return CM_OK;
}

/* Rank 0 alone: lease, store, reports. */
static cm_status open_root(struct run *r)
{
    if (!is_root(r))
        return CM_OK;
    CM_TRY(tr_publisher_open(&r->publisher, &r->session, r->options->steal_lease));
    return tr_report_open(&r->report, r->session.run_dir, r->options->quiet);
}

static cm_status initialise(struct run *r)
{
    struct tr_session *s = &r->session;
    tr_plateau_init(&r->progress.plateau);
    r->progress.best_accuracy = -1;
    r->progress.next_evaluation = 1;
    float *weights = tr_engine_weights(r->engine);
    CM_TRY(nn_init_weights(weights, s->layout, s->spec, (uint64_t)s->train.seed, s->data.set.images,
                           s->data.set.n_train));
    if (r->average)
        memcpy(r->average, weights, s->layout->ntotal * sizeof(float));
    return CM_OK;
}

/* Rank 0 alone. Leaves progress.step 0 when there is nothing to resume. */
static cm_status resume_root(struct run *r)
{
    const char *resume = r->options->resume;
    if (!is_root(r) || strcmp(resume, "never") == 0)
        return CM_OK;
    struct ps_store *store = tr_publisher_store(r->publisher);
    struct ps_version *version;
    bool any = strcmp(resume, "auto") == 0;
    cm_status st = any ? ps_version_open_newest(&version, store)
                       : ps_version_open_ref(&version, store, resume);
    if (any && st == CM_ENOTFOUND)
        return CM_OK;
    CM_TRY(st);
    const struct ps_manifest *m = ps_version_manifest(version);
    struct tr_state state = state_of(r);
    st = tr_checkpoint_get(version, &state);
    if (st == CM_OK) {
        tr_warn_of_differences(&r->session, m);
        r->parent = ps_version_number(version);
        if (m->run[0])
            tr_publisher_set_run(r->publisher, m->run);
        cm_log_info("resuming from version %lld, step %lld of %lld", (long long)r->parent,
                    (long long)r->progress.step, (long long)r->total);
    }
    ps_version_close(&version);
    if (st == CM_EMISMATCH)
        return CM_CONTEXT(st,
                          "%s holds versions of another network, optimiser or averaging than the "
                          "config's, '%s' (choose another --run)",
                          r->session.run_dir, r->session.model.network);
    return st;
}

/* Every rank starts from rank 0's state: version, weights, optimiser, averages, progress. */
static cm_status share_state(struct run *r)
{
    struct ar_group *g = r->session.group;
    const struct nn_layout *layout = r->session.layout;
    CM_TRY(ar_group_broadcast(g, &r->parent, sizeof r->parent, 0));
    CM_TRY(ar_group_broadcast(g, &r->progress, sizeof r->progress, 0));
    CM_TRY(ar_group_broadcast(g, tr_engine_weights(r->engine), layout->ntotal * sizeof(float), 0));
    struct tr_optimizer *optimizer = tr_engine_optimizer(r->engine);
    for (int i = 0; i < tr_optimizer_nslots(optimizer); i++)
        CM_TRY(ar_group_broadcast(g, tr_optimizer_slot(optimizer, i),
                                  layout->nparam * sizeof(float), 0));
    if (r->average)
        CM_TRY(ar_group_broadcast(g, r->average, layout->ntotal * sizeof(float), 0));
    return ar_group_agree(g, tr_engine_prepare(r->engine), "preparing the weights");
}

static cm_status start(struct run *r)
{
    struct ar_group *g = r->session.group;
    CM_TRY(ar_group_agree(g, open_engine(r), "preparing the network"));
    CM_TRY(ar_group_agree(g, open_root(r), "opening the run directory"));
    CM_TRY(ar_group_agree(g, initialise(r), "initialising weights"));
    CM_TRY(ar_group_agree(g, resume_root(r), "resuming"));
    CM_TRY(share_state(r));
    r->saved_step = r->parent > 0 ? r->progress.step : -1; /* initial weights are worth saving */
    r->evaluated_step = -1;
    r->saved_ns = cm_now_ns();
    tr_report_text(&r->report, "start", "network", r->session.spec->name);
    return CM_OK;
}

/* ---- evaluation ---- */

/* CM_EPREEMPTED, on all ranks: told to stop in the middle; what was measured is forgotten. */
static cm_status evaluate(struct run *r)
{
    struct tr_session *s = &r->session;
    if (r->evaluated_step == r->progress.step)
        return CM_OK;
    tr_report_break(&r->report);
    ar_group_set_phase(s->group, "evaluate", r->progress.step);
    const float *weights = tr_engine_weights(r->engine);
    CM_TRY(tr_evaluate(r->evaluator, weights, tr_session_test_images(s), tr_session_test_labels(s),
                       NULL, (uint32_t)s->data.n_test, NULL, &r->test));
    tr_report_score(&r->report, "test", r->progress.step, &r->test);
    if (s->data.split.n_holdout > 0) {
        CM_TRY(tr_evaluate(r->evaluator, weights, s->data.set.images, s->data.set.labels,
                           s->data.split.holdout, (uint32_t)s->data.split.n_holdout, NULL,
                           &r->holdout));
        tr_report_score(&r->report, "holdout", r->progress.step, &r->holdout);
    }
    r->evaluated_step = r->progress.step;
    return CM_OK;
}

/* A function of the progress alone: a run that stopped early stays so when it is started again. It
 * keeps the weights that were measured: no last look-ahead average. */
static bool stops_early(const struct run *r)
{
    int64_t patience = r->session.train.early_stop;
    return patience > 0 && r->progress.evaluations_since >= patience;
}

static bool is_over(const struct run *r)
{
    return r->progress.step >= r->total || stops_early(r);
}

/* What the holdout decides; every rank has the same score and comes to the same decision. */
static void heed_holdout(struct run *r)
{
    const struct tr_train_config *train = &r->session.train;
    struct tr_progress *p = &r->progress;
    if (r->holdout.count == 0)
        return;
    if (train->schedule == TR_PLATEAU)
        tr_plateau_observe(&p->plateau, train, r->holdout.loss);
    if (r->holdout.accuracy > p->best_accuracy) {
        p->best_accuracy = r->holdout.accuracy;
        p->evaluations_since = 0;
    } else {
        p->evaluations_since++;
    }
    if (stops_early(r))
        cm_log_info("stopping early: %lld evaluations without a better holdout accuracy than "
                    "%.2f %%",
                    (long long)p->evaluations_since, 100 * p->best_accuracy);
}

static cm_status evaluate_if_due(struct run *r)
{
    double every = r->session.train.eval_epochs;
    struct tr_progress *p = &r->progress;
    if (every <= 0 || p->step == 0)
        return CM_OK;
    int64_t due = (int64_t)(((double)p->step + 1e-6) / (every * (double)r->steps_per_epoch));
    if (p->next_evaluation > due)
        return CM_OK;
    CM_TRY(evaluate(r));
    p->next_evaluation = due + 1;
    heed_holdout(r);
    return CM_OK;
}

/* ---- saving ---- */

static size_t fill_metrics(const struct run *r, struct ps_metric metrics[4])
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

static cm_status save_root(struct run *r)
{
    if (!is_root(r))
        return CM_OK;
    struct tr_state state = state_of(r);
    struct ps_metric metrics[4] = {0};
    int64_t within = r->progress.step % r->steps_per_epoch;
    struct tr_publish what = {.state = &state,
                              .metrics = metrics,
                              .nmetrics = fill_metrics(r, metrics),
                              .epoch = r->progress.step / r->steps_per_epoch,
                              .sample = within * r->session.train.batch,
                              .parent = r->parent,
                              .producer = "train"};
    CM_TRY(tr_publisher_commit(r->publisher, &what, &r->last));
    r->parent = r->last.version;
    cm_log_info("version %lld written: step %lld, sha256 %.16s…, %.2f s",
                (long long)r->last.version, (long long)r->progress.step, r->last.sha256,
                r->last.seconds);
    tr_report_checkpoint(&r->report, r->last.version, r->progress.step, r->last.seconds);
    return CM_OK;
}

/* A full disk does not end a run that goes on: the old versions stand, the next save may fit. It
 * does end one that ends here (must). */
static cm_status save(struct run *r, bool must)
{
    if (r->saved_step == r->progress.step)
        return CM_OK;
    tr_report_break(&r->report);
    ar_group_set_phase(r->session.group, "checkpoint", r->progress.step);
    cm_status st = save_root(r);
    if (st == CM_ENOSPC && !must) {
        cm_error_report(CM_LOG_WARN, st, "version not written, older ones stay; training goes on");
        st = CM_OK;
    }
    r->saved_ns = cm_now_ns();
    CM_TRY(ar_group_agree(r->session.group, st, "writing a version"));
    r->saved_step = r->progress.step;
    return CM_OK;
}

static bool save_is_due(const struct run *r, uint32_t bits)
{
    const struct ps_config *store = &r->session.store;
    int64_t step = r->progress.step;
    return (bits & BIT_SAVE) || (store->every_steps > 0 && step % store->every_steps == 0) ||
           (store->every_epochs > 0 && step % (store->every_epochs * r->steps_per_epoch) == 0);
}

/* What this rank raises: clocks and signals may only raise bits. */
static uint32_t bits_to_raise(const struct run *r)
{
    double minutes = r->session.store.every_minutes;
    uint32_t bits = tr_stop_asked() ? BIT_STOP : 0;
    if (is_root(r) && minutes > 0 && (double)(cm_now_ns() - r->saved_ns) > minutes * 60e9)
        bits |= BIT_SAVE;
    return bits;
}

/* ---- the loop ---- */

/* airbench's look-ahead: every k steps average = d average + (1 - d) weights, and weights =
 * average, over all tensors and statistics, d = decay^k ((s / total)^3); after the last step
 * weights = average. */
static cm_status look_ahead(struct run *r)
{
    const struct tr_train_config *train = &r->session.train;
    bool last = r->progress.step == r->total;
    if (!r->average || (!last && r->progress.step % train->average_every != 0))
        return CM_OK;
    float *weights = tr_engine_weights(r->engine);
    size_t n = r->session.layout->ntotal;
    double done = (double)r->progress.step / (double)r->total;
    double d = last ? 1 : pow(train->average_decay, (double)train->average_every) * pow(done, 3);
    cm_vec_axpby(r->average, (float)(1 - d), weights, (float)d, n);
    memcpy(weights, r->average, n * sizeof(float));
    return tr_engine_prepare(r->engine);
}

static cm_status one_step(struct run *r, struct tr_outcome *outcome)
{
    const struct tr_train_config *train = &r->session.train;
    int64_t step = r->progress.step;
    CM_TRY(cm_fault("train.step"));
    double lr = train->lr * r->progress.plateau.factor *
                tr_schedule_factor(train, step, r->total, (double)r->steps_per_epoch);
    CM_TRY(tr_engine_step(r->engine, step, lr, bits_to_raise(r), outcome));
    r->progress.step++;
    CM_TRY(look_ahead(r));
    r->images += outcome->count;
    r->seconds += outcome->seconds;
    int64_t epoch = step / r->steps_per_epoch, left = r->total - epoch * r->steps_per_epoch;
    const struct tr_place at = {.step = step,
                                .total = r->total,
                                .epoch = epoch,
                                .within = step % r->steps_per_epoch,
                                .epoch_steps =
                                    left < r->steps_per_epoch ? left : r->steps_per_epoch,
                                .epochs = train->epochs};
    tr_report_step(&r->report, outcome, &at);
    return CM_OK;
}

/* The run is to end before its time: all is saved, and a later one goes on from here. */
static cm_status preempt(struct run *r)
{
    CM_TRY(save(r, true));
    tr_report_text(&r->report, "preempted", "reason", "signal");
    return CM_FAIL(CM_EPREEMPTED, "stopped after step %lld of %lld, saved",
                   (long long)r->progress.step, (long long)r->total);
}

static cm_status loop(struct run *r)
{
    cm_status st = evaluate_if_due(r); /* left over by a run that was told to stop */
    while (st == CM_OK && !is_over(r)) {
        struct tr_outcome outcome;
        CM_TRY(one_step(r, &outcome));
        if (outcome.bits & BIT_STOP)
            return preempt(r);
        st = evaluate_if_due(r);
        if (st == CM_OK && !is_over(r) && save_is_due(r, outcome.bits))
            CM_TRY(save(r, false));
    }
    if (st == CM_OK)
        st = evaluate(r);
    if (st == CM_EPREEMPTED)
        return preempt(r);
    CM_TRY(st);
    return save(r, true);
}

/* ---- end ---- */

static cm_status write_summary(struct run *r)
{
    struct cm_jw w = {.indent = 2};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "network", r->session.spec->name);
    cm_jw_string(&w, "dataset", r->session.data.set.name);
    cm_jw_i64(&w, "ranks", ar_group_size(r->session.group));
    cm_jw_i64(&w, "steps", r->progress.step);
    cm_jw_f64(&w, "epochs", (double)r->progress.step / (double)r->steps_per_epoch);
    cm_jw_f64(&w, "images_per_s", r->seconds > 0 ? (double)r->images / r->seconds : 0);
    cm_jw_f64(&w, "train_seconds", r->seconds);
    cm_jw_f64(&w, "accuracy", r->test.accuracy);
    cm_jw_f64(&w, "loss", r->test.loss);
    if (r->holdout.count)
        cm_jw_f64(&w, "holdout_accuracy", r->holdout.accuracy);
    cm_jw_i64(&w, "version", r->parent);
    cm_jw_string(&w, "sha256", r->last.version ? r->last.sha256 : NULL);
    cm_jw_end(&w);
    char *text, path[CM_PATH];
    size_t n;
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = cm_path_join(path, r->session.run_dir, "summary.json");
    if (st == CM_OK)
        st = cm_file_replace(path, text, n);
    cm_free(&text);
    return st;
}

static cm_status finish(struct run *r)
{
    if (!is_root(r))
        return CM_OK;
    CM_TRY(tr_publisher_first_champion(r->publisher, r->parent));
    CM_TRY(write_summary(r));
    tr_report_text(&r->report, "end", "sha256", r->last.version ? r->last.sha256 : NULL);
    cm_log_info("done: version %lld, test accuracy %.2f %%", (long long)r->parent,
                100 * r->test.accuracy);
    return CM_OK;
}

static void release(struct run *r)
{
    tr_report_release(&r->report);
    tr_publisher_close(&r->publisher);
    tr_evaluator_close(&r->evaluator);
    tr_engine_close(&r->engine);
    cm_free(&r->average);
    tr_session_release(&r->session);
}

cm_status tr_run(const struct tr_run_options *options)
{
    struct run r = {.options = options};
    tr_stop_block();
    CM_TRY(tr_session_open(&r.session, &options->session));
    cm_status st = tr_session_load(&r.session, NULL);
    if (st == CM_OK)
        st = start(&r);
    bool agreed = st == CM_OK; /* before: all ranks fail together; after: one may fail alone */
    if (st == CM_OK)
        st = loop(&r);
    if (st == CM_OK)
        st = finish(&r);
    if (agreed && st != CM_OK && st != CM_EPREEMPTED && ar_group_size(r.session.group) > 1)
        ar_group_abort(r.session.group, st, "training");
    release(&r);
    return st;
}
