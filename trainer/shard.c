#include "trainer/shard.h"

#include <math.h>

#include "model/draw.h"

int64_t tr_order_steps_per_epoch(const struct tr_order *o)
{
    int64_t n = o->n, b = o->batch;
    return o->drop_last ? n / b : (n + b - 1) / b;
}

int64_t tr_order_total_steps(const struct tr_order *o, double epochs)
{
    return (int64_t)ceil(epochs * (double)tr_order_steps_per_epoch(o) - 1e-9);
}

struct tr_slice tr_order_slice(const struct tr_order *o, int64_t step)
{
    int64_t per_epoch = tr_order_steps_per_epoch(o);
    int64_t within = step % per_epoch;
    struct tr_slice s = {.epoch = (uint32_t)(step / per_epoch),
                         .first = (uint32_t)(within * o->batch)};
    s.n = o->n - s.first < o->batch ? o->n - s.first : o->batch;
    return s;
}

uint32_t tr_order_sample(const struct tr_order *o, uint32_t epoch, uint32_t position)
{
    return nn_draw_sample(o->seed, o->n, epoch, position);
}

void tr_shard_range(uint32_t b, uint32_t shards, uint32_t k, uint32_t *first, uint32_t *count)
{
    uint32_t begin = (uint32_t)((uint64_t)k * b / shards);
    uint32_t end = (uint32_t)((uint64_t)(k + 1) * b / shards);
    *first = begin;
    *count = end - begin;
}

static int insert_size(int *sizes, int n, int size)
{
    int at = 0;
    while (at < n && sizes[at] < size)
        at++;
    if (size == 0 || (at < n && sizes[at] == size))
        return n;
    for (int i = n; i > at; i--)
        sizes[i] = sizes[i - 1];
    sizes[at] = size;
    return n + 1;
}

/* floor((k + 1) b / V) - floor(k b / V) is floor(b / V) or one more. */
static int insert_sizes_of(int *sizes, int n, uint32_t b, uint32_t shards)
{
    n = insert_size(sizes, n, (int)(b / shards));
    return b % shards ? insert_size(sizes, n, (int)(b / shards) + 1) : n;
}

int tr_shard_sizes(const struct tr_order *o, uint32_t shards, int sizes[TR_SHARD_SIZES])
{
    int n = 0;
    if (o->n >= o->batch)
        n = insert_sizes_of(sizes, n, o->batch, shards);
    uint32_t last = o->n % o->batch;
    if (last && !o->drop_last)
        n = insert_sizes_of(sizes, n, last, shards);
    return n;
}

static bool is_power_of_two(int64_t x)
{
    return x > 0 && (x & (x - 1)) == 0;
}

cm_status tr_shard_count(uint32_t *out, bool fast, int ranks, int64_t configured)
{
    *out = (uint32_t)(fast ? ranks : configured);
    if (fast)
        return CM_OK;
    if (!is_power_of_two(configured))
        return CM_FAIL(CM_ECONFIG, "train.shards: %lld is not a power of two",
                       (long long)configured);
    if (!is_power_of_two(ranks))
        return CM_FAIL(CM_ECONFIG,
                       "%d ranks: with allreduce.order \"fixed\" the number of ranks must be a "
                       "power of two (1, 2, 4, …)",
                       ranks);
    if (ranks > configured)
        return CM_FAIL(CM_ECONFIG,
                       "%d ranks but train.shards is %lld: a rank needs at least one shard; start "
                       "fewer ranks or raise train.shards (which changes the run)",
                       ranks, (long long)configured);
    return CM_OK;
}
