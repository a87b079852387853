#include "online/dedup.h"

#include <string.h>

#include "common/mem.h"

cm_status ol_dedup_init(struct ol_dedup *d, size_t capacity)
{
    size_t slots = 4;
    while (slots < 2 * capacity)
        slots *= 2;
    *d = (struct ol_dedup){.capacity = capacity, .mask = slots - 1};
    CM_TRY(cm_alloc(&d->hash, capacity, sizeof *d->hash, "dedup window"));
    return cm_alloc(&d->slot, slots, sizeof *d->slot, "dedup window");
}

void ol_dedup_release(struct ol_dedup *d)
{
    cm_free(&d->hash);
    cm_free(&d->slot);
    *d = (struct ol_dedup){0};
}

void ol_dedup_clear(struct ol_dedup *d)
{
    d->n = d->first = 0;
    memset(d->slot, 0, (d->mask + 1) * sizeof *d->slot);
}

/* Where hash is, or the empty slot where it would be. Its own bits say where to look first. */
static size_t find(const struct ol_dedup *d, uint64_t hash)
{
    size_t i = hash & d->mask;
    while (d->slot[i] && d->hash[d->slot[i] - 1] != hash)
        i = (i + 1) & d->mask;
    return i;
}

bool ol_dedup_has(const struct ol_dedup *d, uint64_t hash)
{
    return d->slot[find(d, hash)] != 0;
}

/* Whoever stands behind the gap in one run of full slots, and would be found there, moves up. */
static void forget(struct ol_dedup *d, uint64_t hash)
{
    size_t gap = find(d, hash);
    for (size_t i = (gap + 1) & d->mask; d->slot[i]; i = (i + 1) & d->mask) {
        size_t home = d->hash[d->slot[i] - 1] & d->mask;
        if (((i - home) & d->mask) < ((i - gap) & d->mask))
            continue;
        d->slot[gap] = d->slot[i];
        gap = i;
    }
    d->slot[gap] = 0;
}

void ol_dedup_add(struct ol_dedup *d, uint64_t hash)
{
    if (ol_dedup_has(d, hash))
        return;
    size_t at = d->n; /* first is 0 until the ring is full */
    if (d->n < d->capacity) {
        d->n++;
    } else {
        at = d->first;
        forget(d, d->hash[at]);
        d->first = (d->first + 1) % d->capacity;
    }
    d->hash[at] = hash;
    d->slot[find(d, hash)] = (uint32_t)at + 1;
}

void ol_dedup_list(const struct ol_dedup *d, uint64_t *out)
{
    for (size_t i = 0; i < d->n; i++)
        out[i] = d->hash[(d->first + i) % d->n];
}

void ol_dedup_fill(struct ol_dedup *d, const uint64_t *hash, size_t n)
{
    ol_dedup_clear(d);
    for (size_t i = n > d->capacity ? n - d->capacity : 0; i < n; i++)
        ol_dedup_add(d, hash[i]);
}
