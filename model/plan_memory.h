/* Placement of buffers whose lifetimes are known: two that never live at the same time may share
 * bytes. Pure. */
#ifndef MODEL_PLAN_MEMORY_H
#define MODEL_PLAN_MEMORY_H

#include <stddef.h>

#include "common/status.h"

struct nn_slot {
    size_t nbytes;   /* 0: takes no place */
    int first, last; /* alive from time first to time last, both included */
    size_t offset;   /* result, a multiple of align */
};

/* Largest first, each at the lowest offset that is free for its whole life (Pisarchyk and Lee,
 * "Efficient memory management for deep neural net inference", 2020); O(n^2). The result depends on
 * the slots only. *nbytes is what one block must hold. CM_EINVAL when a life ends before it begins,
 * CM_ENOMEM also when the sum of sizes overflows. align is a power of two. */
CM_MUST_CHECK cm_status nn_memory_place(struct nn_slot *slots, size_t n, size_t align,
                                        size_t *nbytes);

#endif
