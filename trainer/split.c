/* Sort by a keyed hash of the content, take from the front. */
#include "trainer/split.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/rng.h"

struct entry {
    uint64_t key, hash;
    uint32_t row;
};

static int by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static void order_entries(struct entry *e, const uint64_t *hash, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        struct cm_rng4 r =
            cm_rng_block(seed, CM_RNG_HOLDOUT, (uint32_t)(hash[i] >> 32), (uint32_t)hash[i], 0);
        e[i] = (struct entry){(uint64_t)r.v[0] << 32 | r.v[1], hash[i], (uint32_t)i};
    }
    qsort(e, (size_t)n, sizeof *e, by_key);
}

/* Marks whole groups of equal content until nholdout images are marked; returns how many are. */
static int64_t mark_groups(bool *held, const struct entry *e, int64_t n, int64_t nholdout)
{
    int64_t marked = 0, end;

    for (int64_t i = 0; i < n && marked < nholdout; i = end) {
        for (end = i + 1; end < n && e[end].hash == e[i].hash; end++)
            ;
        if (end - i > nholdout - marked)
            continue;
        for (int64_t j = i; j < end; j++)
            held[e[j].row] = true;
        marked += end - i;
    }
    return marked;
}

static cm_status fill_split(struct tr_split *s, const bool *held, int64_t n, int64_t nholdout,
                            int64_t limit)
{
    int64_t rest = n - nholdout;
    int64_t n_train = limit > 0 && limit < rest ? limit : rest;

    CM_TRY(cm_alloc(&s->train, (size_t)n_train, sizeof *s->train, "training rows"));
    CM_TRY(cm_alloc(&s->holdout, (size_t)nholdout, sizeof *s->holdout, "holdout rows"));
    for (int64_t i = 0; i < n; i++) {
        if (held[i])
            s->holdout[s->n_holdout++] = (uint32_t)i;
        else if (s->n_train < n_train)
            s->train[s->n_train++] = (uint32_t)i;
    }
    return CM_OK;
}

cm_status tr_split_make(struct tr_split *s, const uint64_t *hash, int64_t n, int64_t nholdout,
                        int64_t limit, uint64_t seed)
{
    struct entry *e = NULL;
    bool *held = NULL;
    cm_status st = CM_OK;

    memset(s, 0, sizeof *s);
    if (nholdout < 0 || nholdout >= n)
        return CM_FAIL(CM_ECONFIG,
                       "data.holdout is %lld of %lld training images: none is left to train on",
                       (long long)nholdout, (long long)n);
    CM_GOTO(st, cm_alloc(&e, (size_t)n, sizeof *e, "the order of the holdout"), out);
    CM_GOTO(st, cm_alloc(&held, (size_t)n, sizeof *held, "the holdout's marks"), out);
    order_entries(e, hash, n, seed);
    int64_t marked = mark_groups(held, e, n, nholdout);
    if (marked != nholdout) {
        st = CM_FAIL(CM_ECONFIG,
                     "data.holdout: %lld images cannot be held out without parting equal images; "
                     "%lld can",
                     (long long)nholdout, (long long)marked);
        goto out;
    }
    st = fill_split(s, held, n, nholdout, limit);
out:
    cm_free(&e);
    cm_free(&held);
    if (st != CM_OK)
        tr_split_release(s);
    return st;
}

void tr_split_release(struct tr_split *s)
{
    cm_free(&s->train);
    cm_free(&s->holdout);
    memset(s, 0, sizeof *s);
}
