#include "online/promote.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "parameter/alias.h"
#include "trainer/checkpoint.h"

#define METRIC_BATCH "online_batch"
#define METRIC_LOG   "online_log" /* what a double holds of the log's hash */

static double log_mark(const struct ol_batch *b)
{
    return (double)(b->hash >> 11);
}

static bool is_made_of(const struct ps_manifest *m, const struct ol_batch *b)
{
    return strcmp(m->producer, "online") == 0 && m->parent == b->champion &&
           ps_manifest_metric(m, METRIC_BATCH) == (double)b->number &&
           ps_manifest_metric(m, METRIC_LOG) == log_mark(b);
}

cm_status ol_promote_find(int64_t *version, const struct ps_store *store, const struct ol_batch *b)
{
    int64_t *list;
    size_t n;
    *version = 0;
    CM_TRY(ps_store_list(store, &list, &n));
    while (n > 0 && list[n - 1] > b->champion && *version == 0) {
        struct ps_version *v;
        if (ps_version_open(&v, store, list[--n]) != CM_OK)
            continue; /* a broken version is none */
        if (is_made_of(ps_version_manifest(v), b) && ps_version_verify(v) == CM_OK)
            *version = ps_version_number(v);
        ps_version_close(&v);
    }
    cm_free(&list);
    return CM_OK;
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
        {"holdout_accuracy", v->candidate_accuracy},
        {"feedback_accuracy", v->feedback_candidate},
        {METRIC_BATCH, (double)b->number},
        {METRIC_LOG, log_mark(b)},
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
    struct ps_alias now;
    char why[256];
    *out = (struct ol_promotion){0};
    CM_TRY(ol_promote_find(&out->version, store, b));
    if (out->version == 0)
        CM_TRY(publish(&out->version, publisher, trial, b, champion));
    CM_TRY(cm_fault("online.published"));

    CM_TRY(ps_alias_get(&now, dir, alias));
    if (now.version != out->version) {
        snprintf(why, sizeof why, "batch %lld: %s", (long long)b->number, trial->verdict.text);
        cm_status st = ps_alias_set(NULL, dir, alias, b->champion, out->version, "online", why);
        out->moved = st == CM_EMISMATCH;
        if (out->moved) {
            cm_log_warn("%s; the batch is trained again from there", cm_error_text());
            return CM_OK;
        }
        CM_TRY(st);
    }
    return cm_fault("online.aliased");
}
