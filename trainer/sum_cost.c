#include "trainer/sum_cost.h"

#include "allreduce/tree.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/vec.h"

#define FEW    ((size_t)4096) /* floats of a sum that shows the latency */
#define ROUNDS 5              /* of measuring; the median counts */

/* The first time connects, or touches memory. */
static cm_status time_sum(double *median_s, size_t n, cm_status (*add)(void *ctx, size_t n),
                          void *ctx)
{
    double seconds[ROUNDS];
    for (int i = -1; i < ROUNDS; i++) {
        int64_t begin_ns = cm_now_ns();
        CM_TRY(add(ctx, n));
        if (i >= 0)
            seconds[i] = (double)(cm_now_ns() - begin_ns) / 1e9;
    }
    *median_s = cm_vec_median(seconds, ROUNDS);
    return CM_OK;
}

cm_status tr_sum_cost_measure(struct tr_sum_cost *out, size_t n,
                              cm_status (*add)(void *ctx, size_t n), void *ctx)
{
    CM_TRY(time_sum(&out->least_s, n < FEW ? n : FEW, add, ctx));
    CM_TRY(time_sum(&out->all_s, n, add, ctx));
    out->rate = (double)n / (out->all_s - out->least_s);
    return CM_OK;
}

cm_status tr_sum_cost_bucket(size_t *bucket, const struct tr_sum_cost *cost, size_t n,
                             struct ar_group *group, const struct ar_config *cfg, const char *how)
{
    bool fast = cfg->order == AR_ORDER_FAST, measured = !fast && cfg->bucket_kib == 0;
    uint64_t limit = ar_bucket_limit(n, cost->least_s, cost->rate);
    CM_TRY(ar_group_broadcast(group, &limit, sizeof limit, 0));
    *bucket = measured ? (size_t)limit : 0;
    if (ar_group_rank(group) == 0)
        cm_log_info("gradients are summed by %s, %s: %.0f us and %.2f GB/s%s", how,
                    fast ? "in its own order" : "in the fixed tree", 1e6 * cost->least_s,
                    cost->all_s > cost->least_s ? cost->rate * sizeof(float) / 1e9 : 0.0,
                    measured ? ", which sets the size of a bucket" : "");
    return CM_OK;
}

/* ---- through the host ---- */

struct staged {
    struct nn_device *device;
    struct ar_group *group;
    float *on_device, *pinned; /* zeros */
};

static cm_status add_staged(void *ctx, size_t n)
{
    const struct staged *s = ctx;
    CM_TRY(nn_device_copy(s->device, NULL, s->pinned, s->on_device, n * sizeof(float)));
    CM_TRY(ar_group_sum_f32(s->group, s->pinned, n));
    return nn_device_copy(s->device, NULL, s->on_device, s->pinned, n * sizeof(float));
}

static cm_status open_staged(struct staged *s, size_t n)
{
    const struct nn_backend *backend = nn_device_backend(s->device);
    CM_TRY(nn_device_pin(s->device, &s->pinned, n * sizeof(float), "a sum that is measured"));
    CM_TRY(backend->alloc(backend, &s->on_device, n * sizeof(float), "a sum that is measured"));
    return nn_device_copy(s->device, NULL, s->on_device, s->pinned, n * sizeof(float));
}

cm_status tr_sum_cost_staged(size_t *bucket, size_t n, struct nn_device *device,
                             struct ar_group *group, const struct ar_config *cfg)
{
    struct staged s = {.device = device, .group = group};
    struct tr_sum_cost cost;
    *bucket = 0;
    if (cfg->order == AR_ORDER_FAST || cfg->bucket_kib > 0)
        return CM_OK;
    cm_status st = ar_group_agree(group, open_staged(&s, n), "making room for a sum");
    if (st == CM_OK) {
        st = cm_fault("train.staged.measure");
        if (st == CM_OK)
            st = tr_sum_cost_measure(&cost, n, add_staged, &s);
        if (st != CM_OK) /* the others may wait for this rank's part */
            ar_group_abort(group, st, "measuring a sum");
        st = tr_sum_cost_bucket(bucket, &cost, n, group, cfg, "MPI");
    }
    nn_device_backend(device)->release(nn_device_backend(device), &s.on_device);
    nn_device_unpin(device, &s.pinned);
    return st;
}
