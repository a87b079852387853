#include "online/trial.h"

#include <math.h>
#include <string.h>

#include "common/hash.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/vec.h"
#include "online/resolve.h"

/* Which images judge: no feedback may be one of them, and no anchor is of others. */
static cm_status list_holdout(struct ol_trial *t)
{
    const struct tr_data *data = &t->session->data;
    size_t n = (size_t)data->split.n_holdout, nbytes = tr_dataset_image_nbytes(&data->set);
    struct cm_xxh *all;
    CM_TRY(ol_dedup_init(&t->held_out, n));
    CM_TRY(cm_xxh_open(&all));
    for (size_t i = 0; i < n; i++) {
        uint64_t one = ol_image_hash(tr_dataset_image(&data->set, data->split.holdout[i]), nbytes);
        t->label[i] = data->set.labels[data->split.holdout[i]];
        ol_dedup_add(&t->held_out, one);
        cm_xxh_update(all, &one, sizeof one);
        cm_xxh_update(all, &t->label[i], sizeof t->label[i]);
    }
    t->holdout = cm_xxh_digest(all);
    cm_xxh_close(&all);
    return CM_OK;
}

/* What the config allows and a person may not have meant. */
static void warn_of_size(const struct ol_trial *t)
{
    const struct ol_config *cfg = t->cfg;
    int64_t n = t->session->data.split.n_holdout;
    int64_t fair = ol_gate_fair_holdout(cfg->margin, OL_GATE_CHANGED);
    int64_t least = ol_gate_smallest_class(t->label, (size_t)n, t->session->spec->nclasses);
    if (n < fair)
        cm_log_warn(
            "data.holdout: on %lld images a candidate that changes 5 %% of the answers and "
            "loses nothing is refused more often than not (online.margin %g): %lld are fair",
            (long long)n, cfg->margin, (long long)fair);
    if ((double)least * cfg->recall_drop < OL_GATE_SHOWN)
        cm_log_warn("data.holdout: of its smallest class %lld images are too few to show a fall of "
                    "recall by online.recall_drop %g",
                    (long long)least, cfg->recall_drop);
}

/* A smaller holdout is a part of a larger one of the same seed (trainer/split.h). */
void ol_trial_check_champion(const struct ol_trial *t, const struct ps_manifest *m)
{
    const struct tr_data_config *now = &t->session->data_config;
    struct cm_json *config = NULL;
    const struct cm_json *data = NULL;
    int64_t holdout = 0, seed = 0;
    cm_status st = CM_ENOTFOUND;
    if (m->config)
        st = cm_json_parse(&config, m->config, strlen(m->config), "the version's config");
    if (st == CM_OK)
        st = cm_json_need(config, "config", "data", CM_JSON_OBJECT, &data);
    if (st == CM_OK)
        st = cm_json_need_i64(data, "data", "holdout", 0, INT64_MAX, &holdout);
    if (st == CM_OK)
        st = cm_json_need_i64(data, "data", "seed", 0, INT64_MAX, &seed);
    if (st == CM_OK && (holdout < now->holdout || seed != now->seed))
        cm_log_warn("version %lld was trained with data.holdout %lld and data.seed %lld, this loop "
                    "has %lld and %lld: the gate judges by images that it was trained on, and may "
                    "refuse what is better",
                    (long long)m->version, (long long)holdout, (long long)seed,
                    (long long)now->holdout, (long long)now->seed);
    cm_json_close(&config);
}

cm_status ol_trial_open(struct ol_trial *t, const struct tr_session *s, const struct ol_config *cfg)
{
    *t = (struct ol_trial){.session = s, .cfg = cfg};
    const struct tr_split *split = &s->data.split;
    size_t n = (size_t)split->n_holdout;
    struct tr_evaluator_config evaluator = tr_session_evaluator(s);
    CM_TRY(tr_evaluator_open(&t->evaluator, &evaluator));
    CM_TRY(ol_replay_init(&t->replay, s->data.set.labels, split->train, (uint32_t)split->n_train,
                          s->spec->nclasses, cfg->replay == OL_REPLAY_BALANCED));
    CM_TRY(cm_alloc_aligned(&t->champion, s->layout->ntotal, sizeof(float), "champion"));
    CM_TRY(cm_alloc_aligned(&t->moved, s->layout->ntotal, sizeof(float), "an update"));
    CM_TRY(cm_alloc(&t->label, n, sizeof *t->label, "holdout labels"));
    CM_TRY(cm_alloc(&t->by_champion, n, sizeof *t->by_champion, "holdout answers"));
    CM_TRY(cm_alloc(&t->by_candidate, n, sizeof *t->by_candidate, "holdout answers"));
    CM_TRY(cm_alloc(&t->by_anchor, n, sizeof *t->by_anchor, "holdout answers"));
    CM_TRY(list_holdout(t));
    warn_of_size(t);
    return CM_OK;
}

void ol_trial_close(struct ol_trial *t)
{
    ol_trial_end(t);
    tr_evaluator_close(&t->evaluator);
    ol_replay_release(&t->replay);
    cm_free(&t->champion);
    cm_free(&t->moved);
    cm_free(&t->label);
    cm_free(&t->by_champion);
    cm_free(&t->by_candidate);
    cm_free(&t->by_anchor);
    cm_free(&t->feedback);
    ol_dedup_release(&t->held_out);
}

void ol_trial_end(struct ol_trial *t)
{
    ol_tuner_close(&t->tuner);
}

const float *ol_trial_candidate(const struct ol_trial *t)
{
    return t->tuner.engine ? tr_engine_weights(t->tuner.engine) : NULL;
}

static cm_status answer_holdout(struct ol_trial *t, const float *weights, int32_t *said)
{
    const struct tr_data *data = &t->session->data;
    struct tr_score score;
    return tr_evaluate(t->evaluator, weights, data->set.images, data->set.labels,
                       data->split.holdout, (uint32_t)data->split.n_holdout, said, &score);
}

static cm_status answer_feedback(struct ol_trial *t, const float *weights, const struct ol_batch *b,
                                 int32_t *said, double *accuracy)
{
    struct tr_score score;
    CM_TRY(tr_evaluate(t->evaluator, weights, b->pixels, b->labels, NULL, (uint32_t)b->nimages,
                       said, &score));
    *accuracy = score.accuracy;
    return CM_OK;
}

/* |candidate - champion| / |champion| over the parameters, in the fixed order of sums. */
static double update_norm(struct ol_trial *t, const float *candidate)
{
    size_t n = t->session->layout->nparam;
    memcpy(t->moved, candidate, n * sizeof *candidate);
    cm_vec_axpby(t->moved, -1, t->champion, 1, n);
    double champion = sqrt(cm_vec_sum_squares(t->champion, n));
    double moved = sqrt(cm_vec_sum_squares(t->moved, n));
    return champion > 0 ? moved / champion : (double)INFINITY;
}

static cm_status judge(struct ol_trial *t, const struct ol_batch *b, bool finite)
{
    const float *candidate = ol_trial_candidate(t);
    struct ol_gate_verdict *v = &t->verdict;
    if (!finite || !cm_vec_finite(candidate, t->session->layout->ntotal)) {
        ol_gate_refuse(v, OL_GATE_NOT_FINITE, "a loss, gradient or weight was not finite");
        return CM_OK;
    }
    v->update = update_norm(t, candidate);
    CM_TRY(answer_holdout(t, candidate, t->by_candidate));
    CM_TRY(answer_feedback(t, candidate, b, NULL, &v->feedback_candidate));
    const struct ol_config *cfg = t->cfg;
    struct ol_gate_limits limits = {.margin = cfg->margin,
                                    .recall_drop = cfg->recall_drop,
                                    .recall_floor = cfg->recall_floor,
                                    .max_update = cfg->max_update,
                                    .min_gain = cfg->min_gain};
    struct ol_gate_case holdout = {.n = (size_t)t->session->data.split.n_holdout,
                                   .nclasses = t->session->spec->nclasses,
                                   .label = t->label,
                                   .champion = t->by_champion,
                                   .candidate = t->by_candidate};
    ol_gate_judge(v, &limits, &holdout);
    holdout.champion = t->by_anchor;
    ol_gate_judge_anchor(v, &limits, &holdout);
    return CM_OK;
}

static int64_t count_right(const struct ol_trial *t, const int32_t *said)
{
    int64_t right = 0;
    for (int64_t i = 0; i < t->session->data.split.n_holdout; i++)
        right += said[i] == t->label[i];
    return right;
}

cm_status ol_trial_answer(struct ol_trial *t, const struct ol_batch *b)
{
    size_t n = (size_t)t->session->data.split.n_holdout;
    ol_trial_end(t);
    t->verdict = (struct ol_gate_verdict){0};
    cm_free(&t->feedback);
    CM_TRY(answer_holdout(t, t->champion, t->by_champion));
    if (!t->anchored || count_right(t, t->by_champion) > count_right(t, t->by_anchor))
        memcpy(t->by_anchor, t->by_champion, n * sizeof *t->by_anchor);
    t->anchored = true;
    if (b->nimages == 0)
        return CM_OK;
    CM_TRY(cm_alloc(&t->feedback, b->nimages, sizeof *t->feedback, "answers to feedback"));
    return answer_feedback(t, t->champion, b, t->feedback, &t->verdict.feedback_champion);
}

cm_status ol_trial_run(struct ol_trial *t, const struct ol_batch *b, bool (*stop)(void))
{
    bool finite;
    if (b->nimages == 0) {
        ol_gate_refuse(&t->verdict, OL_GATE_NOTHING, "no entry to train on");
        return CM_OK;
    }
    if (b->nimages < (size_t)t->cfg->min_entries) {
        ol_gate_refuse(&t->verdict, OL_GATE_FEW, "fewer good entries than online.min_entries");
        return CM_OK;
    }
    CM_TRY(ol_tuner_open(&t->tuner, t->session, t->cfg, &t->replay, b, t->champion));
    CM_TRY(ol_tuner_run(&t->tuner, stop, &finite));
    CM_TRY(cm_fault("online.trained"));
    return judge(t, b, finite);
}
