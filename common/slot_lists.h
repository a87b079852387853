/* Numbered slots, each in exactly one of a few lists: the places that a request goes through. A
 * slot is a number, so what it carries lies in the owner's own arrays. Every step is O(1), and none
 * allocates after init. One thread at a time. */
#ifndef COMMON_SLOT_LISTS_H
#define COMMON_SLOT_LISTS_H

#include "common/status.h"

#define CM_NO_SLOT    (-1)
#define CM_SLOT_LISTS 4

struct cm_slot_lists { /* read by anyone, changed by the functions below */
    struct cm_slot_link {
        int list, next, previous; /* CM_NO_SLOT: an end */
    } * link;                     /* (nslots) */
    int nslots;
    struct {
        int head, tail, n;
    } of[CM_SLOT_LISTS];
};

/* Slots 0 .. nslots - 1, all in list 0, ascending. */
CM_MUST_CHECK cm_status cm_slot_lists_init(struct cm_slot_lists *s, int nslots);
void cm_slot_lists_release(struct cm_slot_lists *s); /* zeroed is fine */
/* To the end of a list, which may be the one that it is in. */
void cm_slot_lists_move(struct cm_slot_lists *s, int slot, int list);
/* Right behind `after`, another slot, of that list; CM_NO_SLOT: to its head. */
void cm_slot_lists_move_behind(struct cm_slot_lists *s, int slot, int list, int after);

#endif
