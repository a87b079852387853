/* Every slot is in one list, by its place; QUEUED is in order of arrival, DONE in order of ending.
 * Ids are found through chains from a table of buckets. All steps are O(1) but give_back and the
 * look for expired deadlines, which is made when the earliest known one has passed. */
#include "serve/batcher.h"

#include "common/hash.h"
#include "common/mem.h"

struct slot {
    enum sv_place place;
    int next, previous; /* in the list of its place */
    int chain;          /* next of its bucket */
    struct wi_id id;
    size_t nbytes;
    int64_t arrived_ns, deadline_ns;
    int times_sent;
};

struct list {
    int head, tail, n;
};

struct sv_batcher {
    struct sv_batcher_config cfg;
    struct slot *slots;
    int nslots;
    int *buckets; /* nbuckets, a power of two */
    uint32_t nbuckets;
    struct list lists[SV_PLACES];
    size_t nbytes;
    int64_t expiry_ns; /* no deadline is earlier */
};

static void leave(struct sv_batcher *b, int i)
{
    struct slot *s = &b->slots[i];
    struct list *l = &b->lists[s->place];
    *(s->previous == SV_NONE ? &l->head : &b->slots[s->previous].next) = s->next;
    *(s->next == SV_NONE ? &l->tail : &b->slots[s->next].previous) = s->previous;
    l->n--;
}

/* Puts i into a list behind `after` (SV_NONE: at the head). */
static void join_behind(struct sv_batcher *b, int i, enum sv_place place, int after)
{
    struct slot *s = &b->slots[i];
    struct list *l = &b->lists[place];
    s->place = place;
    s->previous = after;
    s->next = after == SV_NONE ? l->head : b->slots[after].next;
    *(s->previous == SV_NONE ? &l->head : &b->slots[s->previous].next) = i;
    *(s->next == SV_NONE ? &l->tail : &b->slots[s->next].previous) = i;
    l->n++;
}

static void move(struct sv_batcher *b, int i, enum sv_place place)
{
    leave(b, i);
    join_behind(b, i, place, b->lists[place].tail);
}

static int *bucket_of(const struct sv_batcher *b, struct wi_id id)
{
    return &b->buckets[cm_xxh64(id.byte, sizeof id.byte) & (b->nbuckets - 1)];
}

static void unhash(struct sv_batcher *b, int i)
{
    int *at = bucket_of(b, b->slots[i].id);
    while (*at != i)
        at = &b->slots[*at].chain;
    *at = b->slots[i].chain;
}

cm_status sv_batcher_open(struct sv_batcher **out, const struct sv_batcher_config *cfg)
{
    struct sv_batcher *b = NULL;
    cm_status st;
    *out = NULL;
    if (cfg->max_requests < 1 || cfg->remembered < 0 || cfg->max_batch < 1)
        return CM_FAIL(CM_EINVAL, "a batcher for %d requests, %d remembered, batches of %d",
                       cfg->max_requests, cfg->remembered, cfg->max_batch);
    CM_TRY(cm_alloc(&b, 1, sizeof *b, "batcher"));
    b->cfg = *cfg;
    b->expiry_ns = INT64_MAX;
    b->nslots = cfg->max_requests + cfg->remembered;
    for (b->nbuckets = 1; b->nbuckets < (uint32_t)b->nslots;)
        b->nbuckets *= 2;
    CM_GOTO(st, cm_alloc(&b->slots, (size_t)b->nslots, sizeof *b->slots, "requests"), out);
    CM_GOTO(st, cm_alloc(&b->buckets, b->nbuckets, sizeof *b->buckets, "requests"), out);
    for (uint32_t i = 0; i < b->nbuckets; i++)
        b->buckets[i] = SV_NONE;
    for (int place = 0; place < SV_PLACES; place++)
        b->lists[place] = (struct list){SV_NONE, SV_NONE, 0};
    for (int i = 0; i < b->nslots; i++)
        join_behind(b, i, SV_FREE, b->lists[SV_FREE].tail);
    *out = b;
    b = NULL;
out:
    sv_batcher_close(&b);
    return st;
}

void sv_batcher_close(struct sv_batcher **b)
{
    if (!*b)
        return;
    cm_free(&(*b)->slots);
    cm_free(&(*b)->buckets);
    cm_free(b);
}

int sv_batcher_nslots(const struct sv_batcher *b)
{
    return b->nslots;
}

int sv_batcher_find(const struct sv_batcher *b, struct wi_id id)
{
    int i = *bucket_of(b, id);
    while (i != SV_NONE && !wi_id_equal(b->slots[i].id, id))
        i = b->slots[i].chain;
    return i;
}

static int active(const struct sv_batcher *b)
{
    return b->lists[SV_QUEUED].n + b->lists[SV_SENT].n;
}

int sv_batcher_admit(struct sv_batcher *b, struct wi_id id, size_t nbytes, int64_t now_ns,
                     int64_t deadline_ns)
{
    /* An empty queue takes any size, or a large image could never be asked about. */
    bool fits = nbytes <= b->cfg.max_nbytes && b->nbytes <= b->cfg.max_nbytes - nbytes;
    if (active(b) >= b->cfg.max_requests || (!fits && active(b) > 0))
        return SV_NONE;
    int i = b->lists[SV_FREE].head;
    if (i == SV_NONE) {
        i = b->lists[SV_DONE].head;
        unhash(b, i);
    }
    struct slot *s = &b->slots[i];
    s->id = id;
    s->nbytes = nbytes;
    s->arrived_ns = now_ns;
    s->deadline_ns = deadline_ns;
    s->times_sent = 0;
    int *bucket = bucket_of(b, id);
    s->chain = *bucket;
    *bucket = i;
    b->nbytes += nbytes;
    if (deadline_ns < b->expiry_ns)
        b->expiry_ns = deadline_ns;
    move(b, i, SV_QUEUED);
    return i;
}

bool sv_batcher_is_due(const struct sv_batcher *b, int64_t now_ns)
{
    const struct list *queued = &b->lists[SV_QUEUED];
    if (queued->n == 0)
        return false;
    const struct slot *oldest = &b->slots[queued->head];
    return queued->n >= b->cfg.max_batch || oldest->times_sent > 0 ||
           now_ns - oldest->arrived_ns >= b->cfg.max_wait_ns;
}

int sv_batcher_take(struct sv_batcher *b, int *slots, int max)
{
    int n = 0;
    size_t nbytes = 0;
    if (max > b->cfg.max_batch)
        max = b->cfg.max_batch;
    while (n < max && b->lists[SV_QUEUED].n > 0) {
        int i = b->lists[SV_QUEUED].head;
        struct slot *s = &b->slots[i];
        if (n > 0 && (s->times_sent > 0 || nbytes + s->nbytes > b->cfg.max_batch_nbytes))
            break;
        nbytes += s->nbytes;
        slots[n++] = i;
        move(b, i, SV_SENT);
        if (s->times_sent++ > 0)
            break;
    }
    return n;
}

int sv_batcher_give_back(struct sv_batcher *b, int slot)
{
    const struct slot *s = &b->slots[slot];
    int after = SV_NONE;
    for (int i = b->lists[SV_QUEUED].head; i != SV_NONE && b->slots[i].arrived_ns <= s->arrived_ns;
         i = b->slots[i].next)
        after = i;
    leave(b, slot);
    join_behind(b, slot, SV_QUEUED, after);
    return s->times_sent;
}

void sv_batcher_end(struct sv_batcher *b, int slot, bool remember)
{
    b->nbytes -= b->slots[slot].nbytes;
    if (!remember)
        unhash(b, slot);
    move(b, slot, remember ? SV_DONE : SV_FREE);
}

int sv_batcher_expired(struct sv_batcher *b, int64_t now_ns)
{
    int64_t earliest_ns = INT64_MAX;
    if (now_ns < b->expiry_ns)
        return SV_NONE;
    for (enum sv_place place = SV_QUEUED; place <= SV_SENT; place++) {
        for (int i = b->lists[place].head; i != SV_NONE; i = b->slots[i].next) {
            if (b->slots[i].deadline_ns <= now_ns)
                return i;
            if (b->slots[i].deadline_ns < earliest_ns)
                earliest_ns = b->slots[i].deadline_ns;
        }
    }
    b->expiry_ns = earliest_ns;
    return SV_NONE;
}

int64_t sv_batcher_wake_ns(const struct sv_batcher *b, bool worker_is_free)
{
    int head = b->lists[SV_QUEUED].head;
    if (active(b) == 0)
        return INT64_MAX;
    if (head == SV_NONE || !worker_is_free)
        return b->expiry_ns;
    int64_t due_ns = b->slots[head].arrived_ns + b->cfg.max_wait_ns;
    return due_ns < b->expiry_ns ? due_ns : b->expiry_ns;
}

enum sv_place sv_batcher_place(const struct sv_batcher *b, int slot)
{
    return b->slots[slot].place;
}

struct wi_id sv_batcher_id(const struct sv_batcher *b, int slot)
{
    return b->slots[slot].id;
}

int64_t sv_batcher_arrived_ns(const struct sv_batcher *b, int slot)
{
    return b->slots[slot].arrived_ns;
}

int64_t sv_batcher_deadline_ns(const struct sv_batcher *b, int slot)
{
    return b->slots[slot].deadline_ns;
}

int sv_batcher_count(const struct sv_batcher *b, enum sv_place place)
{
    return b->lists[place].n;
}

size_t sv_batcher_nbytes(const struct sv_batcher *b)
{
    return b->nbytes;
}
