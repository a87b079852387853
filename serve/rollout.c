#include "serve/rollout.h"

#include <string.h>

static int find_ban(const struct sv_rollout *r, struct sv_version v)
{
    for (int i = 0; i < r->nquarantine; i++)
        if (sv_version_equal(r->quarantine[i], v))
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
    r->proven = false;
    r->ndead = 0;
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        r->worker[w].candidate = (struct sv_stand){0};
}

enum sv_aim sv_rollout_aim(struct sv_rollout *r, struct sv_version v, bool anew, int64_t now_ns)
{
    int ban = find_ban(r, v);
    if (ban >= 0 && !anew)
        return SV_AIM_QUARANTINED;
    if (ban >= 0)
        remove_ban(r, ban);
    if (sv_version_equal(v, r->candidate))
        return SV_AIM_KNOWN;
    drop_candidate(r);
    if (sv_version_equal(v, r->serving))
        return SV_AIM_KNOWN;
    r->candidate = v;
    r->impatient_ns = now_ns + r->load_timeout_ns;
    return SV_AIM_NEW;
}

void sv_rollout_ban(struct sv_rollout *r, struct sv_version v)
{
    if (sv_version_equal(v, r->candidate))
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

void sv_rollout_join(struct sv_rollout *r, int w, struct wi_id life)
{
    r->worker[w] = (struct sv_rollout_worker){.live = true, .life = life};
    for (int i = 0; i < r->ndead; i++)
        if (wi_id_equal(r->dead[i], life))
            r->dead[i] = r->dead[--r->ndead];
}

static bool is_loading(const struct sv_rollout_worker *worker, struct sv_version v)
{
    return v.number && sv_version_equal(worker->asked, v);
}

static bool is_stuck(const struct sv_rollout *r, const struct sv_rollout_worker *worker,
                     int64_t now_ns)
{
    return worker->asked.number && now_ns >= worker->asked_ns + r->load_timeout_ns;
}

void sv_rollout_part(struct sv_rollout *r, int w, bool died, int64_t now_ns)
{
    if (died && is_loading(&r->worker[w], r->candidate) && r->ndead < SV_WORKERS_MAX) {
        r->dead[r->ndead++] = r->worker[w].life;
        r->death_ns = now_ns;
    }
    r->worker[w] = (struct sv_rollout_worker){0};
}

bool sv_rollout_condemn(struct sv_rollout *r, int64_t now_ns, struct sv_version *v)
{
    *v = r->candidate;
    if (r->proven || r->ndead < SV_LOAD_DEATHS || now_ns < r->death_ns + r->mourn_ns)
        return false;
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        if (is_loading(&r->worker[w], *v) && !is_stuck(r, &r->worker[w], now_ns))
            return false;
    sv_rollout_ban(r, *v);
    return true;
}

/* w has ended a load. */
static void hear(struct sv_rollout_worker *worker, struct sv_version v)
{
    if (sv_version_equal(worker->asked, v))
        worker->asked = (struct sv_version){0};
}

void sv_rollout_loaded(struct sv_rollout *r, int w, struct sv_version v)
{
    struct sv_rollout_worker *worker = &r->worker[w];
    hear(worker, v);
    if (v.number && sv_version_equal(v, r->serving))
        worker->serving.word = SV_LOADED;
    if (v.number && sv_version_equal(v, r->candidate)) {
        worker->candidate.word = SV_LOADED;
        r->proven = true;
    }
}

enum sv_refusal sv_rollout_refused(struct sv_rollout *r, int w, struct sv_version v, bool passing,
                                   int64_t now_ns)
{
    struct sv_rollout_worker *worker = &r->worker[w];
    const struct sv_stand stand = {passing ? SV_UNREAD : SV_REFUSED, now_ns + r->load_timeout_ns};
    hear(worker, v);
    if (v.number && sv_version_equal(v, r->candidate)) {
        worker->candidate = stand;
        if (passing)
            return SV_REFUSED_FOR_NOW;
        sv_rollout_ban(r, v);
        return SV_REFUSED_CANDIDATE;
    }
    if (v.number && sv_version_equal(v, r->serving)) {
        worker->serving = stand;
        return passing ? SV_REFUSED_FOR_NOW : SV_REFUSED_SERVING;
    }
    return SV_REFUSED_OTHER;
}

/* What the live workers could do about a version that not all have. */
struct reach {
    int may;                    /* have it, or may yet say so */
    int stuck, unread, refused; /* the others; the last two are free to load something else */
};

static struct reach measure(const struct sv_rollout *r, bool serving, int64_t now_ns)
{
    struct reach n = {0};
    for (int w = 0; w < SV_WORKERS_MAX; w++) {
        const struct sv_rollout_worker *worker = &r->worker[w];
        enum sv_word word = serving ? worker->serving.word : worker->candidate.word;
        bool stuck = word != SV_LOADED && is_stuck(r, worker, now_ns);
        n.stuck += worker->live && stuck;
        n.unread += worker->live && !stuck && word == SV_UNREAD;
        n.refused += worker->live && !stuck && word == SV_REFUSED;
        n.may += worker->live && !stuck && (word == SV_SILENT || word == SV_LOADED);
    }
    return n;
}

bool sv_rollout_forsake(struct sv_rollout *r, int64_t now_ns, struct sv_version *was, bool *put_off)
{
    struct reach n = measure(r, true, now_ns);
    *was = r->serving;
    *put_off = n.unread + n.stuck > 0;
    if (!r->serving.number || n.may > 0 || n.unread + n.refused == 0)
        return false;
    if (!*put_off)
        sv_rollout_ban(r, r->serving);
    r->serving = (struct sv_version){0};
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        r->worker[w].serving = (struct sv_stand){0};
    return true;
}

bool sv_rollout_put_off(struct sv_rollout *r, int64_t now_ns, struct sv_version *v)
{
    struct reach n = measure(r, false, now_ns);
    *v = r->candidate;
    if (r->serving.number || !r->candidate.number || n.may > 0 || n.unread == 0)
        return false;
    drop_candidate(r);
    return true;
}

void sv_rollout_lacks(struct sv_rollout *r, int w)
{
    if (r->worker[w].serving.word == SV_LOADED)
        r->worker[w].serving.word = SV_SILENT;
}

static bool is_due(const struct sv_stand *stand, int64_t now_ns)
{
    return stand->word != SV_LOADED && now_ns >= stand->from_ns;
}

/* Workers have just died of loading the candidate: nobody follows them for a while. */
static bool is_feared(const struct sv_rollout *r, int64_t now_ns)
{
    return r->ndead >= SV_LOAD_DEATHS && now_ns < r->death_ns + r->load_timeout_ns;
}

struct sv_version sv_rollout_wants(const struct sv_rollout *r, int w, int64_t now_ns)
{
    const struct sv_rollout_worker *worker = &r->worker[w];
    if (!worker->live || worker->asked.number)
        return (struct sv_version){0};
    if (r->serving.number && is_due(&worker->serving, now_ns))
        return r->serving;
    if (r->candidate.number && is_due(&worker->candidate, now_ns) && !is_feared(r, now_ns))
        return r->candidate;
    return (struct sv_version){0};
}

/* A fault of a moment is forgotten while it is tried again. */
static void try_again(struct sv_stand *stand)
{
    if (stand->word == SV_UNREAD)
        stand->word = SV_SILENT;
}

void sv_rollout_asked(struct sv_rollout *r, int w, struct sv_version v, int64_t now_ns)
{
    r->worker[w].asked = v;
    r->worker[w].asked_ns = now_ns;
    if (sv_version_equal(v, r->serving))
        try_again(&r->worker[w].serving);
    if (sv_version_equal(v, r->candidate))
        try_again(&r->worker[w].candidate);
}

bool sv_rollout_can_serve(const struct sv_rollout *r, int w)
{
    return r->serving.number && r->worker[w].live && r->worker[w].serving.word == SV_LOADED;
}

bool sv_rollout_is_ahead(const struct sv_rollout *r, int w)
{
    return r->worker[w].live && r->worker[w].candidate.word == SV_LOADED;
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
        n += sv_rollout_is_ahead(r, w);
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
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        r->worker[w].serving = r->worker[w].candidate;
    drop_candidate(r);
    return before;
}

int sv_rollout_live(const struct sv_rollout *r)
{
    int n = 0;
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        n += r->worker[w].live;
    return n;
}
