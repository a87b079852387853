/* The rollout (rollout.h) acted out: what the follower and the workers tell goes in, LOADs and the
 * switch come out. At a switch no batch of the new version leaves before those of the old one are
 * back, so no client sees the new version and then the old one. After switch_ms a worker that is
 * idle with the new version computes again what the others are busy with; while all are busy, they
 * are waited for. */
#include "serve/gateway_private.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/hash.h"
#include "common/log.h"

#define RETRY_NS INT64_C(1000000000) /* the first pause; each is twice the one before */

static void record(struct sv_gateway *g, const char *event, struct sv_version v, const char *why)
{
    struct cm_jw w;
    char hash[CM_XXH_TEXT];
    cm_xxh_format(hash, v.hash);
    cm_events_begin(g->events, &w, event);
    cm_jw_i64(&w, "version", v.number);
    cm_jw_string(&w, "manifest_hash", hash);
    if (why)
        cm_jw_string(&w, "why", why);
    cm_events_put(g->events, &w);
}

/* An older version is better than none. */
static void fall_back(struct sv_gateway *g, struct sv_version v, const char *why, bool put_off)
{
    if (g->rollout.serving.number) {
        cm_log_info("version %" PRId64 " goes on serving", g->rollout.serving.number);
        return;
    }
    snprintf(g->fault, sizeof g->fault, "version %" PRId64 ": %s", v.number, why);
    sv_follower_fall_back(g->follower, v.number, put_off);
}

static void refuse(struct sv_gateway *g, struct sv_version v, const char *why)
{
    bool banned = sv_rollout_is_banned(&g->rollout, v); /* not what was never read */
    cm_log_warn("version %" PRId64 " %s: %s", v.number,
                banned ? "is in quarantine" : "cannot be read", why);
    cm_metric_add(g->metrics.refusals, 1);
    cm_metric_set(g->metrics.quarantined, g->rollout.nquarantine);
    record(g, "version_refused", v, why);
    fall_back(g, v, why, false);
}

/* v is out of reach and may be no worse than before: it is tried again, later and later. */
static void put_off(struct sv_gateway *g, struct sv_version v, const char *why)
{
    int64_t longest_ns = g->rollout.load_timeout_ns, pause_ns = 2 * g->retry_pause_ns;
    pause_ns = pause_ns > RETRY_NS ? pause_ns : RETRY_NS;
    g->retry_pause_ns = pause_ns < longest_ns ? pause_ns : longest_ns;
    g->retry_ns = cm_now_ns() + g->retry_pause_ns;
    cm_log_warn("version %" PRId64 " cannot be read just now, and is tried again in %" PRId64
                " ms: %s",
                v.number, g->retry_pause_ns / 1000000, why);
    cm_metric_add(g->metrics.put_off, 1);
    record(g, "version_put_off", v, why);
    fall_back(g, v, why, true);
}

void sv_versions_news(struct sv_gateway *g, struct sv_news *news)
{
    struct sv_version v = news->version;
    if (news->fell_back && (g->rollout.serving.number || g->rollout.candidate.number)) {
        sv_news_close(&news); /* better is there, or on its way */
        return;
    }
    if (!news->card) {
        bool hopeful = news->passing && !g->rollout.serving.number;
        (hopeful ? put_off : refuse)(g, v, news->reason);
        sv_news_close(&news);
        return;
    }
    switch (sv_rollout_aim(&g->rollout, v, news->anew, cm_now_ns())) {
    case SV_AIM_NEW:
        if (news->fell_back) {
            cm_log_warn("version %" PRId64 " shall stand in, as nothing else serves (%s)", v.number,
                        g->fault);
            record(g, "version_fell_back", v, g->fault);
        } else {
            cm_log_info("version %" PRId64 " is next", v.number);
        }
        sv_card_close(&g->candidate);
        g->candidate = news->card;
        news->card = NULL;
        g->aimed_ns = cm_now_ns();
        g->told_stalled = false;
        break;
    case SV_AIM_QUARANTINED:
        refuse(g, v, "it was refused before");
        break;
    case SV_AIM_KNOWN:
        break;
    }
    if (!g->rollout.candidate.number)
        sv_card_close(&g->candidate);
    cm_metric_set(g->metrics.quarantined, g->rollout.nquarantine);
    sv_news_close(&news);
}

static struct sv_unread *find_unread(struct sv_gateway *g, struct sv_version v)
{
    for (int i = 0; i < 2; i++)
        if (sv_version_equal(g->unread[i].version, v))
            return &g->unread[i];
    return NULL;
}

/* In the place of what is neither served nor next any more. */
static void note_unread(struct sv_gateway *g, struct sv_version v, const char *why)
{
    struct sv_unread *unread = find_unread(g, v);
    if (!unread) {
        struct sv_version first = g->unread[0].version;
        bool wanted = sv_version_equal(first, g->rollout.serving) ||
                      sv_version_equal(first, g->rollout.candidate);
        unread = &g->unread[wanted];
    }
    unread->version = v;
    snprintf(unread->why, sizeof unread->why, "%s", why);
}

static const char *why_unread(struct sv_gateway *g, struct sv_version v)
{
    const struct sv_unread *unread = find_unread(g, v);
    return unread ? unread->why : "a worker hangs in loading it";
}

void sv_versions_refused(struct sv_gateway *g, int w, struct sv_version v, bool passing,
                         const char *why)
{
    const char *name = g->backends[w].self.name;
    switch (sv_rollout_refused(&g->rollout, w, v, passing, cm_now_ns())) {
    case SV_REFUSED_CANDIDATE:
        cm_log_warn("worker %s refuses version %" PRId64, name, v.number);
        sv_card_close(&g->candidate);
        refuse(g, v, why);
        break;
    case SV_REFUSED_SERVING:
        cm_log_error("worker %s cannot load version %" PRId64 ", which serves: %s", name, v.number,
                     why);
        break;
    case SV_REFUSED_FOR_NOW:
        cm_log_warn("worker %s cannot read version %" PRId64 " just now: %s", name, v.number, why);
        note_unread(g, v, why);
        break;
    case SV_REFUSED_OTHER:
        break;
    }
}

static void condemn(struct sv_gateway *g, int64_t now_ns)
{
    struct sv_version v;
    if (!sv_rollout_condemn(&g->rollout, now_ns, &v))
        return;
    sv_card_close(&g->candidate);
    refuse(g, v, "workers die of loading it");
}

/* What serves may have become unreadable, as those find out that join later. */
static void give_up_serving(struct sv_gateway *g, int64_t now_ns)
{
    struct sv_version was;
    bool unread;
    if (!sv_rollout_forsake(&g->rollout, now_ns, &was, &unread))
        return;
    sv_card_close(&g->serving);
    cm_metric_set(g->metrics.version, 0);
    if (unread)
        put_off(g, was, why_unread(g, was));
    else
        refuse(g, was, "it served, and no worker can load it any more");
}

static void give_up_candidate(struct sv_gateway *g, int64_t now_ns)
{
    struct sv_version v;
    if (!sv_rollout_put_off(&g->rollout, now_ns, &v))
        return;
    sv_card_close(&g->candidate);
    put_off(g, v, why_unread(g, v));
}

/* Once another stands in, a candidate that cannot be read yet stays one, and workers are asked for
 * it every load_timeout_ms. */
static void retry(struct sv_gateway *g, int64_t now_ns)
{
    if (!g->retry_ns || now_ns < g->retry_ns || g->rollout.candidate.number)
        return;
    g->retry_ns = 0;
    sv_follower_retry(g->follower);
}

/* A LOAD that cannot be sent now is sent at the next look. */
static void ask_workers(struct sv_gateway *g, int64_t now_ns)
{
    for (int w = 0; w < SV_WORKERS_MAX; w++) {
        struct sv_version v = sv_rollout_wants(&g->rollout, w, now_ns);
        if (!v.number)
            continue;
        struct wi_header h = {
            .type = WI_LOAD, .id = g->backends[w].id, .version = v.number, .manifest_hash = v.hash};
        if (sv_workers_send(g, w, &h, NULL))
            sv_rollout_asked(&g->rollout, w, v, now_ns);
    }
}

/* The old version goes on, for as long as it takes; but not in silence. */
static void tell_stalled(struct sv_gateway *g, int64_t now_ns)
{
    char why[96];
    if (g->told_stalled || !sv_rollout_is_stalled(&g->rollout, now_ns))
        return;
    g->told_stalled = true;
    snprintf(why, sizeof why, "after %" PRId64 " ms, %d of %d workers have loaded it",
             g->serve->load_timeout_ms, sv_rollout_ahead(&g->rollout),
             sv_rollout_live(&g->rollout));
    cm_log_warn("version %" PRId64 " waits: %s", g->rollout.candidate.number, why);
    cm_metric_add(g->metrics.stalls, 1);
    record(g, "rollout_stalled", g->rollout.candidate, why);
}

static void make_switch(struct sv_gateway *g, int64_t now_ns)
{
    struct sv_version before = sv_rollout_switch(&g->rollout);
    sv_card_close(&g->serving);
    g->serving = g->candidate;
    g->candidate = NULL;
    cm_metric_observe(g->metrics.switch_pause_s, (double)(now_ns - g->switching_ns) * 1e-9);
    cm_metric_observe(g->metrics.load_s, (double)(now_ns - g->aimed_ns) * 1e-9);
    cm_metric_add(g->metrics.switches, 1);
    cm_metric_set(g->metrics.version, (double)g->rollout.serving.number);
    cm_metric_set(g->metrics.version_created, g->serving->created_utc_s);
    g->switching_ns = 0;
    if (!g->retry_ns)
        g->retry_pause_ns = 0;
    cm_log_info("version %" PRId64 " serves, after %" PRId64, g->rollout.serving.number,
                before.number);
    record(g, "version_served", g->rollout.serving, NULL);
    sv_workers_beat_all(g); /* tells them what to keep */
}

bool sv_versions_is_switching(const struct sv_gateway *g)
{
    return g->switching_ns != 0;
}

void sv_versions_advance(struct sv_gateway *g, int64_t now_ns)
{
    condemn(g, now_ns);
    give_up_serving(g, now_ns);
    give_up_candidate(g, now_ns);
    retry(g, now_ns);
    ask_workers(g, now_ns);
    tell_stalled(g, now_ns);
    if (!sv_rollout_may_switch(&g->rollout, now_ns)) {
        g->switching_ns = 0;
        return;
    }
    if (!g->switching_ns)
        g->switching_ns = now_ns;
    if (now_ns - g->switching_ns >= g->serve->switch_ms * INT64_C(1000000))
        sv_workers_abandon(g);
    if (!sv_workers_any_busy(g))
        make_switch(g, now_ns);
}
