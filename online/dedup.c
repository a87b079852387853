#include "online/dedup.h"

#include "common/mem.h"

cm_status ol_dedup_init(struct ol_dedup *d, size_t capacity)
{
    *d = (struct ol_dedup){.capacity = capacity};
    return cm_alloc(&d->hash, capacity, sizeof *d->hash, "dedup window");
}

void ol_dedup_release(struct ol_dedup *d)
{
    cm_free(&d->hash);
    *d = (struct ol_dedup){0};
}

bool ol_dedup_has(const struct ol_dedup *d, uint64_t hash)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->hash[i] == hash)
            return true;
    return false;
}

void ol_dedup_add(struct ol_dedup *d, uint64_t hash)
{
    if (ol_dedup_has(d, hash))
        return;
    if (d->n < d->capacity) {
        d->hash[d->n++] = hash; /* first is 0 until the ring is full */
        return;
    }
    d->hash[d->first] = hash;
    d->first = (d->first + 1) % d->capacity;
}

void ol_dedup_list(const struct ol_dedup *d, uint64_t *out)
{
    for (size_t i = 0; i < d->n; i++)
        out[i] = d->hash[(d->first + i) % d->n];
}

void ol_dedup_fill(struct ol_dedup *d, const uint64_t *hash, size_t n)
{
    size_t skip = n > d->capacity ? n - d->capacity : 0;
    d->first = 0;
    d->n = n - skip;
    for (size_t i = 0; i < d->n; i++)
        d->hash[i] = hash[skip + i];
}
