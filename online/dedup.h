/* The last hashes that were added, as a set: delivery is at least once, so what comes again is
 * recognised here. A ring says which is the oldest, a table of positions in it (open addressing,
 * linear probing, at most half full) finds one in O(1). One thread at a time. */
#ifndef ONLINE_DEDUP_H
#define ONLINE_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct ol_dedup {
    uint64_t *hash; /* owned: a ring of capacity, first is the oldest */
    size_t capacity, first, n;
    uint32_t *slot; /* owned: (mask + 1) positions in the ring, from 1; 0: empty */
    size_t mask;
};

/* 0 < capacity < 2^31. */
CM_MUST_CHECK
cm_status ol_dedup_init(struct ol_dedup *d, size_t capacity);
void ol_dedup_release(struct ol_dedup *d); /* zeroed is fine */
void ol_dedup_clear(struct ol_dedup *d);
bool ol_dedup_has(const struct ol_dedup *d, uint64_t hash);
/* The oldest makes room. One that is there already stays where it is. */
void ol_dedup_add(struct ol_dedup *d, uint64_t hash);
/* Oldest first, into out (n elements); and back: of more than capacity the newest stay. */
void ol_dedup_list(const struct ol_dedup *d, uint64_t *out);
void ol_dedup_fill(struct ol_dedup *d, const uint64_t *hash, size_t n);

#endif
