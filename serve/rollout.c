#include "serve/rollout.h"

#include <string.h>

static bool same(struct sv_version a, struct sv_version b)
{
    return a.number == b.number && a.hash == b.hash;
}

static int find_ban(const struct sv_rollout *r, struct sv_version v)
{
    for (int i = 0; i < r->nquarantine; i++)
        if (same(r->quarantine[i], v))
            return i;
    return -1;
}

static void remove_ban(struct sv_rollout *r, int i)
{
    r->nquarantine--;
    memmove(&r->quarantine[i], &r->quarantine[i + 1],
            (size_t)(r->nquarantine - i) * sizeof r->quarantine[0]);
}

static void drop_candidate(struct sv_rollout *r)
{
    r->candidate = (struct sv_version){0};
    r->deaths = 0;
    for (int w = 0; w < SV_WORKERS_MAX; w++) {
        r->worker[w].has_candidate = r->worker[w].unread_candidate = false;
        r->worker[w].candidate_from_ns = 0;
    }
}

enum sv_aim sv_rollout_aim(struct sv_rollout *r, struct sv_version v, bool anew, int64_t now_ns)
{
    int ban = find_ban(r, v);
    if (ban >= 0 && !anew)
        return SV_AIM_QUARANTINED;
    if (ban >= 0)
        remove_ban(r, ban);
    if (same(v, r->candidate))
        return SV_AIM_KNOWN;
    drop_candidate(r);
    if (same(v, r->serving))
        return SV_AIM_KNOWN;
    r->candidate = v;
    r->deaths = 0;
    r->impatient_ns = now_ns + r->load_timeout_ns;
    return SV_AIM_NEW;
}

void sv_rollout_ban(struct sv_rollout *r, struct sv_version v)
{
    if (same(v, r->candidate))
        drop_candidate(r);
    if (find_ban(r, v) >= 0)
        return;
    if (r->nquarantine == SV_QUARANTINE_MAX)
        remove_ban(r, 0);
    r->quarantine[r->nquarantine++] = v;
}

bool sv_rollout_is_banned(const struct sv_rollout *r, struct sv_version v)
{
    return find_ban(r, v) >= 0;
}

void sv_rollout_join(struct sv_rollout *r, int w)
{
    r->worker[w] = (struct sv_rollout_worker){.live = true};
}

bool sv_rollout_part(struct sv_rollout *r, int w, bool died)
{
    struct sv_version loading = r->worker[w].asked;
    r->worker[w] = (struct sv_rollout_worker){0};
    if (!died || !loading.number || !same(loading, r->candidate) || ++r->deaths < SV_LOAD_DEATHS)
        return false;
    sv_rollout_ban(r, loading);
    return true;
}

/* w has ended a load. */
static void hear(struct sv_rollout_worker *worker, struct sv_version v)
{
    if (same(worker->asked, v))
        worker->asked = (struct sv_version){0};
}

void sv_rollout_loaded(struct sv_rollout *r, int w, struct sv_version v)
{
    struct sv_rollout_worker *worker = &r->worker[w];
    hear(worker, v);
    if (v.number && same(v, r->serving)) {
        worker->has_serving = true;
        worker->refused_serving = worker->unread_serving = false;
    }
    if (v.number && same(v, r->candidate)) {
        worker->has_candidate = true;
        worker->unread_candidate = false;
    }
}

enum sv_refusal sv_rollout_refused(struct sv_rollout *r, int w, struct sv_version v, bool passing,
                                   int64_t now_ns)
{
    struct sv_rollout_worker *worker = &r->worker[w];
    hear(worker, v);
    if (v.number && same(v, r->candidate)) {
        worker->candidate_from_ns = now_ns + r->load_timeout_ns;
        worker->unread_candidate = passing;
        if (passing)
            return SV_REFUSED_FOR_NOW;
        sv_rollout_ban(r, v);
        return SV_REFUSED_CANDIDATE;
    }
    if (v.number && same(v, r->serving)) {
        worker->serving_from_ns = now_ns + r->load_timeout_ns;
        worker->refused_serving = !passing;
        worker->unread_serving = passing;
        return passing ? SV_REFUSED_FOR_NOW : SV_REFUSED_SERVING;
    }
    return SV_REFUSED_OTHER;
}

bool sv_rollout_forsake(struct sv_rollout *r, struct sv_version *was, bool *put_off)
{
    *was = r->serving;
    *put_off = false;
    if (!r->serving.number || sv_rollout_live(r) == 0)
        return false;
    for (int w = 0; w < SV_WORKERS_MAX; w++) {
        const struct sv_rollout_worker *worker = &r->worker[w];
        if (worker->live &&
            (worker->has_serving || !(worker->refused_serving || worker->unread_serving)))
            return false;
        *put_off = *put_off || worker->unread_serving;
    }
    if (!*put_off)
        sv_rollout_ban(r, r->serving);
    r->serving = (struct sv_version){0};
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        r->worker[w].refused_serving = r->worker[w].unread_serving = false;
    return true;
}

bool sv_rollout_put_off(struct sv_rollout *r, struct sv_version *v)
{
    *v = r->candidate;
    if (r->serving.number || !r->candidate.number || sv_rollout_live(r) == 0)
        return false;
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        if (r->worker[w].live && !r->worker[w].unread_candidate)
            return false;
    drop_candidate(r);
    return true;
}

void sv_rollout_lacks(struct sv_rollout *r, int w)
{
    r->worker[w].has_serving = false;
}

struct sv_version sv_rollout_wants(const struct sv_rollout *r, int w, int64_t now_ns)
{
    const struct sv_rollout_worker *worker = &r->worker[w];
    if (!worker->live || worker->asked.number)
        return (struct sv_version){0};
    if (r->serving.number && !worker->has_serving && now_ns >= worker->serving_from_ns)
        return r->serving;
    if (r->candidate.number && !worker->has_candidate && now_ns >= worker->candidate_from_ns)
        return r->candidate;
    return (struct sv_version){0};
}

void sv_rollout_asked(struct sv_rollout *r, int w, struct sv_version v)
{
    r->worker[w].asked = v;
    if (same(v, r->serving))
        r->worker[w].unread_serving = false;
    if (same(v, r->candidate))
        r->worker[w].unread_candidate = false;
}

bool sv_rollout_can_serve(const struct sv_rollout *r, int w)
{
    return r->serving.number && r->worker[w].live && r->worker[w].has_serving;
}

bool sv_rollout_is_ready(const struct sv_rollout *r)
{
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        if (sv_rollout_can_serve(r, w))
            return true;
    return false;
}

int sv_rollout_ahead(const struct sv_rollout *r)
{
    int n = 0;
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        n += r->worker[w].live && r->worker[w].has_candidate;
    return n;
}

bool sv_rollout_may_switch(const struct sv_rollout *r, int64_t now_ns)
{
    int have = r->candidate.number ? sv_rollout_ahead(r) : 0, live = sv_rollout_live(r);
    if (have == 0)
        return false;
    if (have == live || !sv_rollout_is_ready(r))
        return true;
    return now_ns >= r->impatient_ns && 2 * have >= live;
}

bool sv_rollout_is_stalled(const struct sv_rollout *r, int64_t now_ns)
{
    return r->candidate.number && now_ns >= r->impatient_ns && !sv_rollout_may_switch(r, now_ns);
}

struct sv_version sv_rollout_switch(struct sv_rollout *r)
{
    struct sv_version before = r->serving;
    r->serving = r->candidate;
    r->candidate = (struct sv_version){0};
    for (int w = 0; w < SV_WORKERS_MAX; w++) {
        struct sv_rollout_worker *worker = &r->worker[w];
        worker->has_serving = worker->has_candidate;
        worker->serving_from_ns = worker->candidate_from_ns;
        worker->has_candidate = worker->refused_serving = false;
        worker->unread_candidate = worker->unread_serving = false;
        worker->candidate_from_ns = 0;
    }
    r->deaths = 0;
    return before;
}

int sv_rollout_live(const struct sv_rollout *r)
{
    int n = 0;
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        n += r->worker[w].live;
    return n;
}
