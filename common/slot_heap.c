#include "common/slot_heap.h"

#include "common/mem.h"

cm_status cm_slot_heap_init(struct cm_slot_heap *h, int nslots)
{
    cm_status st;
    *h = (struct cm_slot_heap){0};
    CM_GOTO(st, cm_alloc(&h->at_ns, (size_t)nslots, sizeof *h->at_ns, "deadlines"), out);
    CM_GOTO(st, cm_alloc(&h->where, (size_t)nslots, sizeof *h->where, "deadlines"), out);
    CM_GOTO(st, cm_alloc(&h->order, (size_t)nslots, sizeof *h->order, "deadlines"), out);
    for (int i = 0; i < nslots; i++)
        h->where[i] = CM_NO_SLOT;
    return CM_OK;
out:
    cm_slot_heap_release(h);
    return st;
}

void cm_slot_heap_release(struct cm_slot_heap *h)
{
    cm_free(&h->at_ns);
    cm_free(&h->where);
    cm_free(&h->order);
    h->n = 0;
}

static void put(struct cm_slot_heap *h, int at, int slot)
{
    h->order[at] = slot;
    h->where[slot] = at;
}

/* Moves the slot from a place that is free to where it belongs, up or down. */
static void settle(struct cm_slot_heap *h, int at, int slot)
{
    const int64_t at_ns = h->at_ns[slot];
    for (int up; at > 0 && h->at_ns[h->order[up = (at - 1) / 2]] > at_ns; at = up)
        put(h, at, h->order[up]);
    for (int down; (down = 2 * at + 1) < h->n; at = down) {
        if (down + 1 < h->n && h->at_ns[h->order[down + 1]] < h->at_ns[h->order[down]])
            down++;
        if (h->at_ns[h->order[down]] >= at_ns)
            break;
        put(h, at, h->order[down]);
    }
    put(h, at, slot);
}

void cm_slot_heap_set(struct cm_slot_heap *h, int slot, int64_t at_ns)
{
    int at = h->where[slot] == CM_NO_SLOT ? h->n++ : h->where[slot];
    h->at_ns[slot] = at_ns;
    settle(h, at, slot);
}

void cm_slot_heap_clear(struct cm_slot_heap *h, int slot)
{
    int at = h->where[slot];
    if (at == CM_NO_SLOT)
        return;
    h->where[slot] = CM_NO_SLOT;
    int last = h->order[--h->n];
    if (last != slot)
        settle(h, at, last);
}

int cm_slot_heap_first(const struct cm_slot_heap *h)
{
    return h->n ? h->order[0] : CM_NO_SLOT;
}

int64_t cm_slot_heap_first_ns(const struct cm_slot_heap *h)
{
    return h->n ? h->at_ns[h->order[0]] : INT64_MAX;
}
