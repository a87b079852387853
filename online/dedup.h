/* The last entries that counted, by hash: delivery is at least once, so what comes again is
 * recognised here. One thread at a time. */
#ifndef ONLINE_DEDUP_H
#define ONLINE_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct ol_dedup {
    uint64_t *hash; /* owned: a ring of capacity, first is the oldest */
    size_t capacity, first, n;
};

CM_MUST_CHECK
cm_status ol_dedup_init(struct ol_dedup *d, size_t capacity);
void ol_dedup_release(struct ol_dedup *d); /* zeroed is fine */
/* A scan of the ring: 20 us for 65,536 entries. */
bool ol_dedup_has(const struct ol_dedup *d, uint64_t hash);
/* The oldest makes room. One that is there already stays where it is. */
void ol_dedup_add(struct ol_dedup *d, uint64_t hash);
/* Oldest first, into out (n elements); and back: of more than capacity the newest stay. */
void ol_dedup_list(const struct ol_dedup *d, uint64_t *out);
void ol_dedup_fill(struct ol_dedup *d, const uint64_t *hash, size_t n);

#endif
