/* flywheel eval: the accuracy of a version, with the network, data and preprocessing that it was
 * made with. */
#include <stdio.h>

#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "model/layout.h"
#include "parameter/store.h"
#include "trainer/checkpoint.h"
#include "trainer/commands.h"
#include "trainer/evaluate.h"

struct values {
    struct tr_common_args common;
    const char *version;
    bool views, json;
};

static const struct cm_opt opts[] = {
    TR_COMMON_OPTS(struct values, common),
    {"version", 0, CM_OPT_STRING, offsetof(struct values, version), "VERSION",
     "v000012, 12, latest (the default) or an alias such as champion"},
    {"views", 0, CM_OPT_FLAG, offsetof(struct values, views), NULL,
     "also the accuracy of the average over six views of each image (mirrored, shifted by one "
     "pixel)"},
    {"json", 0, CM_OPT_FLAG, offsetof(struct values, json), NULL, "one JSON object for programs"},
};

static const struct cm_command command = {
    .name = "flywheel eval",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Evaluates a version on all test images, each counted once.",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
};

static void print_text(const char *what, const struct tr_score *score)
{
    printf("%s accuracy %.2f %% (%lld of %lld), loss %.4f\n", what, 100 * score->accuracy,
           (long long)score->correct, (long long)score->count, score->loss);
}

static void print_score(const struct values *v, const struct ps_version *version,
                        const struct tr_score *score, const struct tr_score *views)
{
    if (!v->json) {
        printf("%s:", ps_version_dir(version));
        print_text("", score);
        if (v->views)
            print_text("six views:", views);
        return;
    }
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_i64(&w, "version", ps_version_number(version));
    cm_jw_f64(&w, "accuracy", score->accuracy);
    cm_jw_f64(&w, "loss", score->loss);
    cm_jw_i64(&w, "correct", score->correct);
    cm_jw_i64(&w, "count", score->count);
    if (v->views) {
        cm_jw_begin(&w, "views", '{');
        cm_jw_f64(&w, "accuracy", views->accuracy);
        cm_jw_f64(&w, "loss", views->loss);
        cm_jw_i64(&w, "correct", views->correct);
        cm_jw_end(&w);
    }
    cm_jw_end(&w);
    char *text;
    size_t n;
    if (cm_jw_take(&w, &text, &n) == CM_OK)
        printf("%s\n", text);
    cm_free(&text);
}

/* Rank 0 says which version is meant: the newest may be another one a moment later. */
static cm_status open_version(struct tr_session *s, const struct values *v, struct ps_store *store,
                              struct ps_version **version)
{
    struct ar_group *g = s->group;
    bool root = ar_group_rank(g) == 0;
    cm_status st = root ? ps_version_open_ref(version, store, v->version) : CM_OK;
    CM_TRY(ar_group_agree(g, st, "opening the version"));
    int64_t number = root ? ps_version_number(*version) : 0;
    CM_TRY(ar_group_broadcast(g, &number, sizeof number, 0));
    if (!root)
        st = ps_version_open(version, store, number);
    CM_TRY(ar_group_agree(g, st, "opening the version"));
    char hash[32];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)ps_version_manifest(*version)->hash);
    return ar_group_same(g, "version", hash, "give all ranks the same --run, on shared storage");
}

static cm_status prepare(struct tr_session *s, const struct ps_version *version, float **weights,
                         struct tr_evaluator **evaluator)
{
    struct tr_evaluator_config cfg = tr_session_evaluator(s);
    CM_TRY(cm_alloc_aligned(weights, s->layout->ntotal, sizeof(float), "weights"));
    CM_TRY(tr_checkpoint_get_weights(version, s->layout, *weights));
    return tr_evaluator_open(evaluator, &cfg);
}

static cm_status score_version(struct tr_session *s, const struct values *v,
                               const struct ps_version *version, struct tr_score *score,
                               struct tr_score *views)
{
    const uint8_t *images = tr_session_test_images(s);
    const int32_t *labels = tr_session_test_labels(s);
    uint32_t n = (uint32_t)s->data.n_test;
    float *weights = NULL;
    struct tr_evaluator *evaluator = NULL;
    cm_status st = prepare(s, version, &weights, &evaluator);
    st = ar_group_agree(s->group, st, "preparing the evaluation");
    if (st == CM_OK)
        st = v->views ? tr_evaluate_views(evaluator, weights, images, labels, n, score, views)
                      : tr_evaluate(evaluator, weights, images, labels, NULL, n, NULL, score);
    tr_session_fail(s, st, "evaluating");
    tr_evaluator_close(&evaluator);
    cm_free(&weights);
    return st;
}

/* Each step is agreed on: a rank that failed alone would leave the others waiting. */
static cm_status evaluate_version(struct tr_session *s, const struct values *v)
{
    struct ps_store *store = NULL;
    struct ps_version *version = NULL;
    struct nn_spec *spec = NULL;
    struct tr_score score, views = {0};
    cm_status st;
    CM_GOTO(st,
            ar_group_agree(s->group, ps_store_open(&store, s->store_dir, 'v'), "opening the store"),
            out);
    CM_GOTO(st, open_version(s, v, store, &version), out);
    CM_GOTO(st,
            ar_group_agree(s->group, tr_checkpoint_get_spec(version, &spec), "reading the network"),
            out);
    struct nn_spec *taken = spec;
    spec = NULL;
    CM_GOTO(st, tr_session_load(s, taken), out);
    CM_GOTO(st, score_version(s, v, version, &score, &views), out);
    if (ar_group_rank(s->group) == 0)
        print_score(v, version, &score, &views);
out:
    nn_spec_close(&spec);
    ps_version_close(&version);
    ps_store_close(&store);
    return st;
}

cm_status tr_command_eval(int argc, char **argv)
{
    struct values v = {.version = "latest"};
    char **operands;
    int noperands;
    bool helped;
    cm_status st = cm_args_parse(&command, argc, argv, &v, &operands, &noperands, &helped);
    if (st != CM_OK)
        return ar_group_decline(st);
    if (helped)
        return CM_OK;
    struct tr_session_options options = tr_session_options_of(&v.common, operands[0]);
    if (v.common.check)
        return tr_session_check(&options);
    struct tr_session session = {0};
    CM_TRY(tr_session_open(&session, &options));
    st = evaluate_version(&session, &v);
    tr_session_fail(&session, st, "evaluating");
    tr_session_release(&session);
    return st;
}
