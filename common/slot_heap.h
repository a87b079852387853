/* The earliest of many deadlines: a binary heap of numbered slots. Setting and clearing one are
 * O(log n), the first is there at once, and nothing is allocated after init. One thread at a time.
 */
#ifndef COMMON_SLOT_HEAP_H
#define COMMON_SLOT_HEAP_H

#include <stdint.h>

#include "common/slot_lists.h"
#include "common/status.h"

struct cm_slot_heap {
    int64_t *at_ns; /* (nslots) */
    int *where;     /* (nslots): of a slot in order, or CM_NO_SLOT */
    int *order;     /* (nslots): the heap, n of it in use */
    int n;
};

/* Slots 0 .. nslots - 1, none with a deadline. */
CM_MUST_CHECK cm_status cm_slot_heap_init(struct cm_slot_heap *h, int nslots);
void cm_slot_heap_release(struct cm_slot_heap *h); /* zeroed is fine */
void cm_slot_heap_set(struct cm_slot_heap *h, int slot, int64_t at_ns);
void cm_slot_heap_clear(struct cm_slot_heap *h, int slot); /* without one is fine */
/* The slot with the earliest deadline, CM_NO_SLOT when none has one; that deadline, INT64_MAX. */
int cm_slot_heap_first(const struct cm_slot_heap *h);
int64_t cm_slot_heap_first_ns(const struct cm_slot_heap *h);

#endif
