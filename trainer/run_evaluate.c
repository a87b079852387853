/* When a run is measured, and what the holdout decides. */
#include <math.h>

#include "common/clock.h"
#include "common/log.h"
#include "trainer/run_private.h"

/* From the engine's weights to the score: what evaluate_s counts. */
static cm_status score_test(struct tr_runner *r, bool views)
{
    const struct tr_session *s = &r->session;
    const uint8_t *images = tr_session_test_images(s);
    const int32_t *labels = tr_session_test_labels(s);
    const float *weights = tr_engine_weights_in_place(r->engine);
    uint32_t n = (uint32_t)s->data.n_test;
    int64_t began = cm_now_ns();
    CM_TRY(views ? tr_evaluate_views(r->evaluator, weights, images, labels, n, &r->test, &r->views)
                 : tr_evaluate(r->evaluator, weights, images, labels, NULL, n, NULL, &r->test));
    r->evaluate_s = (double)(cm_now_ns() - began) * 1e-9;
    tr_report_score(&r->report, "test", r->progress.step, &r->test);
    if (views)
        tr_report_score(&r->report, "views", r->progress.step, &r->views);
    return CM_OK;
}

/* What the last step has made of the weights is seen by the next one's loss; of the last of all,
 * here. All ranks have the same score. */
static cm_status check_score(struct tr_runner *r)
{
    if (isfinite(r->test.loss))
        return CM_OK;
    if (r->progress.step > 0)
        r->progress.step--; /* as a step that fails, it does not count */
    cm_status st = CM_FAIL(CM_ENUMERIC,
                           "step %lld: it leads to a loss of the test images that is not finite; "
                           "gradient largest against its weights: %s; lower train.lr or set "
                           "train.clip_norm",
                           (long long)r->progress.step, tr_engine_steepest(r->engine));
    return ar_group_alike(r->session.group, st);
}

cm_status tr_run_evaluate(struct tr_runner *r)
{
    struct tr_session *s = &r->session;
    bool views = s->train.eval_views && tr_run_is_over(r);
    if (r->evaluated_step == r->progress.step && (!views || r->views.count > 0))
        return CM_OK;
    tr_report_break(&r->report);
    ar_group_set_phase(s->group, "evaluate", r->progress.step);
    CM_TRY(score_test(r, views));
    CM_TRY(check_score(r));
    if (s->data.split.n_holdout > 0) {
        CM_TRY(tr_evaluate(r->evaluator, tr_engine_weights_in_place(r->engine), s->data.set.images,
                           s->data.set.labels, s->data.split.holdout,
                           (uint32_t)s->data.split.n_holdout, NULL, &r->holdout));
        tr_report_score(&r->report, "holdout", r->progress.step, &r->holdout);
    }
    r->evaluated_step = r->progress.step;
    return CM_OK;
}

/* A function of the progress alone: a run that stopped early stays so when it is started again. It
 * keeps the weights that were measured: no last look-ahead average. */
static bool stops_early(const struct tr_runner *r)
{
    int64_t patience = r->session.train.early_stop;
    return patience > 0 && r->progress.evaluations_since >= patience;
}

bool tr_run_is_over(const struct tr_runner *r)
{
    return r->progress.step >= r->total || stops_early(r);
}

/* What the holdout decides; every rank has the same score and comes to the same decision. */
static void heed_holdout(struct tr_runner *r)
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

/* How many belong to so many steps; some are wanted. */
static int64_t evaluations_by(const struct tr_runner *r, int64_t step)
{
    double every = r->session.train.eval_epochs * (double)r->steps_per_epoch;
    return (int64_t)(((double)step + 1e-6) / every);
}

bool tr_run_evaluation_is_due(const struct tr_runner *r, int64_t step)
{
    return r->session.train.eval_epochs > 0 && step > 0 &&
           r->progress.next_evaluation <= evaluations_by(r, step);
}

cm_status tr_run_evaluate_if_due(struct tr_runner *r)
{
    struct tr_progress *p = &r->progress;
    if (!tr_run_evaluation_is_due(r, p->step))
        return CM_OK;
    CM_TRY(tr_run_evaluate(r));
    p->next_evaluation = evaluations_by(r, p->step) + 1;
    heed_holdout(r);
    return CM_OK;
}
