/* Every slot is in one list, by its place; QUEUED is in order of arrival, DONE in order of ending.
 * Ids are found through chains from a table of buckets, the earliest deadline through a heap. All
 * steps are O(log n) at most but give_back, which looks for its place from the head on. */
#include "serve/batcher.h"

#include "common/hash.h"
#include "common/mem.h"
#include "common/slot_heap.h"
#include "common/slot_lists.h"

struct slot {
    int chain; /* next of its bucket */
    struct wi_id id;
    size_t nbytes;
    int64_t arrived_ns, deadline_ns;
    int strikes; /* workers that it may have killed */
};

struct sv_batcher {
    struct sv_batcher_config cfg;
    struct slot *slots;
    struct cm_slot_lists lists;    /* by enum sv_place */
    struct cm_slot_heap deadlines; /* of QUEUED and SENT */
    int *buckets;                  /* nbuckets, a power of two */
    uint32_t nbuckets;
    size_t nbytes;
};

_Static_assert((int)SV_PLACES <= CM_SLOT_LISTS, "a list for each place");

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
    int nslots = cfg->max_requests + cfg->remembered;
    for (b->nbuckets = 1; b->nbuckets < (uint32_t)nslots;)
        b->nbuckets *= 2;
    CM_GOTO(st, cm_alloc(&b->slots, (size_t)nslots, sizeof *b->slots, "requests"), out);
    CM_GOTO(st, cm_slot_lists_init(&b->lists, nslots), out);
    CM_GOTO(st, cm_slot_heap_init(&b->deadlines, nslots), out);
    CM_GOTO(st, cm_alloc(&b->buckets, b->nbuckets, sizeof *b->buckets, "requests"), out);
    for (uint32_t i = 0; i < b->nbuckets; i++)
        b->buckets[i] = SV_NONE;
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
    cm_slot_lists_release(&(*b)->lists);
    cm_slot_heap_release(&(*b)->deadlines);
    cm_free(&(*b)->buckets);
    cm_free(b);
}

int sv_batcher_nslots(const struct sv_batcher *b)
{
    return b->lists.nslots;
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
    return b->lists.of[SV_QUEUED].n + b->lists.of[SV_SENT].n;
}

int sv_batcher_admit(struct sv_batcher *b, struct wi_id id, size_t nbytes, int64_t now_ns,
                     int64_t deadline_ns)
{
    /* An empty queue takes any size, or a large image could never be asked about. */
    bool fits = nbytes <= b->cfg.max_nbytes && b->nbytes <= b->cfg.max_nbytes - nbytes;
    if (active(b) >= b->cfg.max_requests || (!fits && active(b) > 0))
        return SV_NONE;
    int i = b->lists.of[SV_FREE].head;
    if (i == SV_NONE) {
        i = b->lists.of[SV_DONE].head;
        unhash(b, i);
    }
    struct slot *s = &b->slots[i];
    s->id = id;
    s->nbytes = nbytes;
    s->arrived_ns = now_ns;
    s->deadline_ns = deadline_ns;
    s->strikes = 0;
    int *bucket = bucket_of(b, id);
    s->chain = *bucket;
    *bucket = i;
    b->nbytes += nbytes;
    cm_slot_heap_set(&b->deadlines, i, deadline_ns);
    cm_slot_lists_move(&b->lists, i, SV_QUEUED);
    return i;
}

bool sv_batcher_is_due(const struct sv_batcher *b, int64_t now_ns)
{
    int n = b->lists.of[SV_QUEUED].n;
    if (n == 0)
        return false;
    const struct slot *oldest = &b->slots[b->lists.of[SV_QUEUED].head];
    return n >= b->cfg.max_batch || oldest->strikes > 0 ||
           now_ns - oldest->arrived_ns >= b->cfg.max_wait_ns;
}

int sv_batcher_take(struct sv_batcher *b, int *slots, int max)
{
    int n = 0;
    size_t nbytes = 0;
    if (max > b->cfg.max_batch)
        max = b->cfg.max_batch;
    while (n < max && b->lists.of[SV_QUEUED].n > 0) {
        int i = b->lists.of[SV_QUEUED].head;
        const struct slot *s = &b->slots[i];
        if (n > 0 && (s->strikes > 0 || nbytes + s->nbytes > b->cfg.max_batch_nbytes))
            break;
        nbytes += s->nbytes;
        slots[n++] = i;
        cm_slot_lists_move(&b->lists, i, SV_SENT);
        if (s->strikes > 0)
            break;
    }
    return n;
}

int sv_batcher_give_back(struct sv_batcher *b, int slot, bool suspect)
{
    struct slot *s = &b->slots[slot];
    int after = SV_NONE;
    for (int i = b->lists.of[SV_QUEUED].head;
         i != SV_NONE && b->slots[i].arrived_ns <= s->arrived_ns; i = b->lists.link[i].next)
        after = i;
    cm_slot_lists_move_behind(&b->lists, slot, SV_QUEUED, after);
    s->strikes += suspect;
    return s->strikes;
}

void sv_batcher_end(struct sv_batcher *b, int slot, bool remember)
{
    b->nbytes -= b->slots[slot].nbytes;
    cm_slot_heap_clear(&b->deadlines, slot);
    if (!remember)
        unhash(b, slot);
    cm_slot_lists_move(&b->lists, slot, remember ? SV_DONE : SV_FREE);
}

void sv_batcher_forget(struct sv_batcher *b, int slot)
{
    unhash(b, slot);
    cm_slot_lists_move(&b->lists, slot, SV_FREE);
}

int sv_batcher_oldest_done(const struct sv_batcher *b)
{
    return b->lists.of[SV_DONE].head;
}

int sv_batcher_expired(const struct sv_batcher *b, int64_t now_ns)
{
    return cm_slot_heap_first_ns(&b->deadlines) <= now_ns ? cm_slot_heap_first(&b->deadlines)
                                                          : SV_NONE;
}

int64_t sv_batcher_wake_ns(const struct sv_batcher *b, bool worker_is_free)
{
    int head = b->lists.of[SV_QUEUED].head;
    int64_t expiry_ns = cm_slot_heap_first_ns(&b->deadlines);
    if (head == SV_NONE || !worker_is_free)
        return expiry_ns;
    int64_t due_ns = b->slots[head].arrived_ns + b->cfg.max_wait_ns;
    return due_ns < expiry_ns ? due_ns : expiry_ns;
}

enum sv_place sv_batcher_place(const struct sv_batcher *b, int slot)
{
    return (enum sv_place)b->lists.link[slot].list;
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
    return b->lists.of[place].n;
}

size_t sv_batcher_nbytes(const struct sv_batcher *b)
{
    return b->nbytes;
}
