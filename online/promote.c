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

#define METRIC_HOLDOUT  "holdout_accuracy"
#define METRIC_FEEDBACK "feedback_accuracy"
#define ORIGIN          160 /* "batch 45, log 0123456789abcdef, config and build 0123456789abcdef" */

/* What a version is made of: the batch as it was logged, and behind it how it was trained. Returns
 * the length of the first part. */
static size_t write_origin(char text[ORIGIN], const struct ol_batch *b, uint64_t how)
{
    char log[CM_XXH_TEXT], trained[CM_XXH_TEXT];
    cm_xxh_format(log, b->hash);
    cm_xxh_format(trained, how);
    int n = snprintf(text, ORIGIN, "batch %" PRId64 ", log %s, ", b->number, log);
    snprintf(text + n, ORIGIN - (size_t)n, "config and build %s", trained);
    return (size_t)n;
}

static bool is_made_of(const struct ps_manifest *m, const struct ol_batch *b)
{
    char text[ORIGIN];
    size_t n = write_origin(text, b, 0);
    return strcmp(m->producer, "online") == 0 && m->parent == b->champion && m->origin &&
           strncmp(m->origin, text, n) == 0;
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
static uint64_t hash_how(const struct tr_session *s)
{
    const uint64_t parts[] = {cm_xxh64(s->config_text, strlen(s->config_text)),
                              cm_xxh64(s->fingerprint, strlen(s->fingerprint))};
    return cm_xxh64(parts, sizeof parts);
}

/* ctx: the origin that this process would write: another config or build is another training. */
static bool is_ours(const void *ctx, const struct ps_version *v)
{
    return strcmp(ps_version_manifest(v)->origin, ctx) == 0 && ps_version_verify(v) == CM_OK;
}

static cm_status publish(int64_t *version, struct tr_publisher *publisher, const struct ol_trial *t,
                         const struct ol_batch *b, const struct ps_manifest *champion,
                         const char *origin)
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
    };
    struct tr_publish what = {.state = &state,
                              .metrics = metrics,
                              .nmetrics = sizeof metrics / sizeof *metrics,
                              .epoch = champion->epoch,
                              .sample = champion->sample,
                              .parent = b->champion,
                              .producer = "online",
                              .origin = origin};
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
    char why[256], origin[ORIGIN];
    *out = (struct ol_promotion){0};
    write_origin(origin, b, hash_how(trial->session));
    CM_TRY(find_made(&out->version, store, b, is_ours, origin));
    if (out->version == 0)
        CM_TRY(publish(&out->version, publisher, trial, b, champion, origin));
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
