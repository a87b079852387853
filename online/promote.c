#include "online/promote.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/alias.h"
#include "trainer/checkpoint.h"

#define METRIC_BATCH    "online_batch"
#define METRIC_LOG      "online_log" /* what a double holds of the log's hash, */
#define METRIC_HOW      "online_how" /* and of that of config and fingerprint */
#define METRIC_HOLDOUT  "holdout_accuracy"
#define METRIC_FEEDBACK "feedback_accuracy"

static double mark_of(uint64_t hash)
{
    return (double)(hash >> 11);
}

static bool is_made_of(const struct ps_manifest *m, const struct ol_batch *b)
{
    return strcmp(m->producer, "online") == 0 && m->parent == b->champion &&
           ps_manifest_metric(m, METRIC_BATCH) == (double)b->number &&
           ps_manifest_metric(m, METRIC_LOG) == mark_of(b->hash);
}

/* The newest version above b's champion that b made and that fits; 0: none. A damaged one is none;
 * one that cannot be read now may be it. */
static cm_status find_made(int64_t *version, const struct ps_store *store, const struct ol_batch *b,
                           bool (*fits)(const void *ctx, const struct ps_version *v),
                           const void *ctx)
{
    int64_t *list;
    size_t n;
    *version = 0;
    CM_TRY(ps_store_list(store, &list, &n));
    cm_status st = CM_OK;
    while (st == CM_OK && n > 0 && list[n - 1] > b->champion && *version == 0) {
        struct ps_version *v;
        st = ps_version_open(&v, store, list[--n]);
        if (st == CM_OK && is_made_of(ps_version_manifest(v), b) && fits(ctx, v))
            *version = ps_version_number(v);
        if (st == CM_ENOTFOUND || ps_is_damage(st)) /* removed meanwhile, or damaged */
            st = CM_OK;
        ps_version_close(&v);
    }
    cm_free(&list);
    return st;
}

struct history {
    struct ps_alias *change;
    size_t n;
};

static bool was_named(const void *ctx, const struct ps_version *v)
{
    const struct history *h = ctx;
    for (size_t i = 0; i < h->n; i++)
        if (h->change[i].version == ps_version_number(v))
            return true;
    return false;
}

cm_status ol_promote_decided(int64_t *version, const struct ps_store *store,
                             const struct ol_batch *b, const char *alias)
{
    struct history h;
    CM_TRY(ps_alias_history(&h.change, &h.n, ps_store_dir(store), alias));
    cm_status st = find_made(version, store, b, was_named, &h);
    cm_free(&h.change);
    return st;
}

cm_status ol_promote_verdict(struct ol_gate_verdict *v, const struct ps_store *store,
                             int64_t version)
{
    struct ps_version *made;
    CM_TRY(ps_version_open(&made, store, version));
    const struct ps_manifest *m = ps_version_manifest(made);
    *v = (struct ol_gate_verdict){
        .reason = OL_GATE_PASSED,
        .worst_class = -1,
        .champion_accuracy = (double)NAN,
        .candidate_accuracy = ps_manifest_metric(m, METRIC_HOLDOUT),
        .statistic = (double)NAN,
        .worst_drop = (double)NAN,
        .update = (double)NAN,
        .feedback_champion = (double)NAN,
        .feedback_candidate = ps_manifest_metric(m, METRIC_FEEDBACK),
    };
    snprintf(v->text, sizeof v->text,
             "version %" PRId64 " became champion before the loop was cut off", version);
    ps_version_close(&made);
    return CM_OK;
}

/* With which training is a function of the log and its champion. */
static double how_mark(const struct tr_session *s)
{
    const uint64_t parts[] = {cm_xxh64(s->config_text, strlen(s->config_text)),
                              cm_xxh64(s->fingerprint, strlen(s->fingerprint))};
    return mark_of(cm_xxh64(parts, sizeof parts));
}

/* As this process would write it: another config or build is another training. */
static bool is_ours(const void *ctx, const struct ps_version *v)
{
    return ps_manifest_metric(ps_version_manifest(v), METRIC_HOW) == how_mark(ctx) &&
           ps_version_verify(v) == CM_OK;
}

static cm_status publish(int64_t *version, struct tr_publisher *publisher, const struct ol_trial *t,
                         const struct ol_batch *b, const struct ps_manifest *champion)
{
    const struct tr_session *s = t->session;
    const struct ol_gate_verdict *v = &t->verdict;
    struct tr_progress progress = {.step = champion->step + t->tuner.steps, .best_accuracy = -1};
    tr_plateau_init(&progress.plateau);
    progress.next_evaluation = 1;
    struct tr_state state = {.spec = s->spec,
                             .layout = s->layout,
                             .weights = tr_engine_weights(t->tuner.engine),
                             .optimizer = tr_engine_optimizer(t->tuner.engine),
                             .progress = &progress};
    const struct ps_metric metrics[] = {
        {METRIC_HOLDOUT, v->candidate_accuracy},
        {METRIC_FEEDBACK, v->feedback_candidate},
        {METRIC_BATCH, (double)b->number},
        {METRIC_LOG, mark_of(b->hash)},
        {METRIC_HOW, how_mark(s)},
    };
    struct tr_publish what = {.state = &state,
                              .metrics = metrics,
                              .nmetrics = sizeof metrics / sizeof *metrics,
                              .epoch = champion->epoch,
                              .sample = champion->sample,
                              .parent = b->champion,
                              .producer = "online"};
    struct tr_publication made;
    CM_TRY(tr_publisher_commit(publisher, &what, &made));
    *version = made.version;
    cm_log_info("version %lld written from batch %lld: sha256 %.16s…, %.2f s",
                (long long)made.version, (long long)b->number, made.sha256, made.seconds);
    return CM_OK;
}

cm_status ol_promote(struct ol_promotion *out, struct tr_publisher *publisher,
                     const struct ol_trial *trial, const struct ol_batch *b,
                     const struct ps_manifest *champion, const char *alias)
{
    struct ps_store *store = tr_publisher_store(publisher);
    const char *dir = ps_store_dir(store);
    char why[256];
    *out = (struct ol_promotion){0};
    CM_TRY(find_made(&out->version, store, b, is_ours, trial->session));
    if (out->version == 0)
        CM_TRY(publish(&out->version, publisher, trial, b, champion));
    CM_TRY(cm_fault("online.published"));

    CM_TRY(ps_lease_check(tr_publisher_lease(publisher)));
    snprintf(why, sizeof why, "batch %" PRId64 ": %s", b->number, trial->verdict.text);
    cm_status st = ps_alias_set(NULL, dir, alias, b->champion, out->version, "online", why);
    out->moved = st == CM_EMISMATCH;
    if (out->moved) {
        cm_log_warn("%s; the batch is trained again from there", cm_error_text());
        return CM_OK;
    }
    CM_TRY(st);
    return cm_fault("online.aliased");
}
