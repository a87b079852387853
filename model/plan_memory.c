#include "model/plan_memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"

static int compare_size(const void *a, const void *b)
{
    const struct nn_slot *x = *(struct nn_slot *const *)a, *y = *(struct nn_slot *const *)b;
    if (x->nbytes != y->nbytes)
        return x->nbytes < y->nbytes ? 1 : -1;
    return x < y ? -1 : x > y; /* of the same array: the order of the caller */
}

static bool alive_together(const struct nn_slot *a, const struct nn_slot *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* placed[0, n) is sorted by offset. Returns where slot fits in the lowest gap. */
static size_t lowest_gap(struct nn_slot *const *placed, size_t n, const struct nn_slot *slot,
                         size_t align)
{
    size_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        const struct nn_slot *other = placed[i];
        if (!alive_together(other, slot))
            continue;
        if (other->offset >= offset + slot->nbytes)
            break;
        size_t end = (other->offset + other->nbytes + align - 1) & ~(align - 1);
        offset = end > offset ? end : offset;
    }
    return offset;
}

static void insert_by_offset(struct nn_slot **placed, size_t n, struct nn_slot *slot)
{
    size_t i = n;
    for (; i > 0 && placed[i - 1]->offset > slot->offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = slot;
}

static cm_status check_slots(const struct nn_slot *slots, size_t n, size_t align)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (slots[i].nbytes > 0 && slots[i].first > slots[i].last)
            return CM_FAIL(CM_EINVAL, "buffer %zu lives from %d to %d", i, slots[i].first,
                           slots[i].last);
        if (slots[i].nbytes > SIZE_MAX / 2 - align || sum > SIZE_MAX / 2 - slots[i].nbytes - align)
            return CM_FAIL(CM_ENOMEM, "buffers of a plan: more bytes than an address has");
        sum += slots[i].nbytes + align;
    }
    return CM_OK;
}

cm_status nn_memory_place(struct nn_slot *slots, size_t n, size_t align, size_t *nbytes)
{
    struct nn_slot **order = NULL, **placed = NULL;
    size_t norder = 0, nplaced = 0;
    cm_status st;
    *nbytes = 0;
    CM_TRY(check_slots(slots, n, align));
    CM_GOTO(st, cm_alloc(&order, n, sizeof *order, "placement order"), out);
    CM_GOTO(st, cm_alloc(&placed, n, sizeof *placed, "placed buffers"), out);
    for (size_t i = 0; i < n; i++) {
        slots[i].offset = 0;
        if (slots[i].nbytes > 0)
            order[norder++] = &slots[i];
    }
    qsort(order, norder, sizeof(struct nn_slot *), compare_size);
    for (; nplaced < norder; nplaced++) {
        struct nn_slot *slot = order[nplaced];
        slot->offset = lowest_gap(placed, nplaced, slot, align);
        insert_by_offset(placed, nplaced, slot);
        size_t end = slot->offset + slot->nbytes;
        *nbytes = end > *nbytes ? end : *nbytes;
    }
out:
    cm_free(&placed);
    cm_free(&order);
    return st;
}
