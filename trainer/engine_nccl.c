#include "trainer/engine_nccl.h"

#include <string.h>

#include "allreduce/tree.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/vec.h"
#include "model/device_comm.h"

#define SHORT_FLOATS ((size_t)4096) /* of a sum that shows the latency */
#define ROUNDS       5              /* of measuring; the median counts */
#define GRACE_MS     2000           /* for the watchdog, whose deadline comes first, to speak */

/* Before and behind the sum of a bucket. */
struct span_of_time {
    struct ln_event *from, *to;
};

struct tr_nccl {
    struct tr_engine *engine; /* borrowed */
    struct nn_device_comm *comm;
    struct ln_lane *lane;
    int rank, size, levels;
    bool fast, compress;
    int64_t timeout_ms;
    struct span_of_time *span; /* (nspans): of the step's first nsums sums */
    int nspans, nsums;
    cm_status failed; /* the first fault of enqueueing in a step */
    struct cm_error why;
    struct nn_comm_part *parts; /* (size): of the exchange that is being enqueued */
    float **node;               /* (size): of the tree, likewise */
    /* On the device: the other ranks' numbers for this one's share (size, share); with compress
     * both ways in bf16, too: a bucket, and the larger of that and the former. */
    float *arrived;
    uint16_t *leaves, *arrives;
};

/* ---- the tree ---- */

static cm_status narrow(struct tr_nccl *self, uint16_t *dst, const float *src, size_t n)
{
    return nn_device_cast(self->engine->cfg.device, self->lane, NN_BF16, dst, NN_F32, src, n);
}

static cm_status widen(struct tr_nccl *self, float *dst, const uint16_t *src, size_t n)
{
    return nn_device_cast(self->engine->cfg.device, self->lane, NN_F32, dst, NN_BF16, src, n);
}

static cm_status add(struct tr_nccl *self, float *dst, const float *src, size_t n)
{
    return nn_device_merge(self->engine->cfg.device, self->lane, dst, src, n, self->compress);
}

/* The elements whose sum a rank makes. */
static struct ar_range share(const struct tr_nccl *self, size_t n, int rank)
{
    return ar_tree_range(n, rank, self->levels);
}

/* Everyone's share goes to its owner: of mine, rank r's lies at r * m in `arrived`. */
static cm_status scatter(struct tr_nccl *self, const float *buf, size_t n, size_t m)
{
    const char *from = (const char *)buf;
    char *to = (char *)self->arrived;
    size_t width = sizeof *buf;
    int nparts = 0;
    if (self->compress) {
        CM_TRY(narrow(self, self->leaves, buf, n));
        from = (const char *)self->leaves;
        to = (char *)self->arrives;
        width = sizeof *self->leaves;
    }
    for (int r = 0; r < self->size; r++) {
        struct ar_range theirs = share(self, n, r);
        if (r != self->rank)
            self->parts[nparts++] = (struct nn_comm_part){.peer = r,
                                                          .out = from + theirs.begin * width,
                                                          .nout = ar_range_count(theirs) * width,
                                                          .in = to + (size_t)r * m * width,
                                                          .nin = m * width};
    }
    CM_TRY(nn_device_comm_swap(self->comm, self->lane, self->parts, nparts));
    return self->compress ? widen(self, self->arrived, self->arrives, (size_t)self->size * m)
                          : CM_OK;
}

/* The tree over the ranks, for my share: neighbours first, as everywhere. Each sum takes the place
 * of its left side, but the one that holds my own numbers stays where they are. */
static cm_status join(struct tr_nccl *self, float *own, size_t m)
{
    float **node = self->node;
    for (int r = 0; r < self->size; r++)
        node[r] = r == self->rank ? own : self->arrived + (size_t)r * m;
    for (int step = 1; step < self->size; step *= 2)
        for (int left = 0; left < self->size; left += 2 * step) {
            int right = left + step;
            bool mine = self->rank >= right && self->rank < right + step;
            float *dst = mine ? node[right] : node[left], *src = mine ? node[left] : node[right];
            CM_TRY(add(self, dst, src, m));
            node[left] = dst;
        }
    return CM_OK;
}

/* My share goes to everyone. */
static cm_status gather(struct tr_nccl *self, float *buf, size_t n, struct ar_range mine)
{
    char *base = (char *)buf;
    size_t width = sizeof *buf, m = ar_range_count(mine);
    int nparts = 0;
    if (self->compress) {
        CM_TRY(narrow(self, self->arrives + mine.begin, buf + mine.begin, m));
        base = (char *)self->arrives;
        width = sizeof *self->arrives;
    }
    for (int r = 0; r < self->size; r++) {
        struct ar_range theirs = share(self, n, r);
        if (r != self->rank)
            self->parts[nparts++] = (struct nn_comm_part){.peer = r,
                                                          .out = base + mine.begin * width,
                                                          .nout = m * width,
                                                          .in = base + theirs.begin * width,
                                                          .nin = ar_range_count(theirs) * width};
    }
    CM_TRY(nn_device_comm_swap(self->comm, self->lane, self->parts, nparts));
    return self->compress ? widen(self, buf, self->arrives, n) : CM_OK;
}

/* In place, on the lane. */
static cm_status sum(struct tr_nccl *self, float *buf, size_t n)
{
    if (self->fast)
        return nn_device_comm_sum(self->comm, self->lane, buf, n);
    struct ar_range mine = share(self, n, self->rank);
    if (self->compress)
        CM_TRY(add(self, buf, NULL, n));
    CM_TRY(scatter(self, buf, n, ar_range_count(mine)));
    CM_TRY(join(self, buf + mine.begin, ar_range_count(mine)));
    return gather(self, buf, n, mine);
}

/* ---- a step ---- */

static void keep_fault(struct tr_nccl *self, cm_status st)
{
    if (st == CM_OK || self->failed != CM_OK)
        return;
    self->failed = st;
    cm_error_save(&self->why);
}

static cm_status task_sum(void *ctx, int64_t first, int64_t n)
{
    struct tr_nccl *self = ctx;
    cm_status st = cm_fault("train.nccl.bucket");
    if (st == CM_OK)
        st = sum(self, self->engine->lane_gradients + first, (size_t)n);
    keep_fault(self, st);
    return st;
}

/* For one sum more than any step before had: in the first step. */
static cm_status add_span(struct tr_nccl *self)
{
    struct nn_device *device = self->engine->cfg.device;
    size_t n = (size_t)self->nspans;
    CM_TRY(cm_realloc(&self->span, n + 1, sizeof *self->span, "times of sums"));
    self->span[n] = (struct span_of_time){NULL, NULL};
    self->nspans++;
    CM_TRY(nn_device_timer_open(device, &self->span[n].from));
    return nn_device_timer_open(device, &self->span[n].to);
}

void tr_nccl_bucket(struct tr_nccl *self, size_t first, size_t n, struct ln_event *ready)
{
    cm_status st = self->nsums == self->nspans ? add_span(self) : CM_OK;
    if (st != CM_OK) {
        keep_fault(self, st);
        return;
    }
    const struct span_of_time *span = &self->span[self->nsums++];
    ln_lane_wait(self->lane, ready);
    ln_lane_record(self->lane, span->from);
    ln_lane_run(self->lane, task_sum, self, (int64_t)first, (int64_t)n);
    ln_lane_record(self->lane, span->to);
}

cm_status tr_nccl_enqueued(const struct tr_nccl *self)
{
    if (self->failed != CM_OK)
        cm_error_restore(&self->why);
    return self->failed;
}

/* All sums are done; the host has waited for them since began_ns. */
static cm_status note_times(struct tr_nccl *self, int64_t began_ns)
{
    struct tr_engine *e = self->engine;
    e->sums = (struct tr_sum_times){.exposed_s = (double)(cm_now_ns() - began_ns) / 1e9};
    for (int i = 0; i < self->nsums; i++) {
        double seconds;
        CM_TRY(
            nn_device_timer_between(e->cfg.device, self->span[i].from, self->span[i].to, &seconds));
        e->sums.busy_s += seconds;
    }
    self->nsums = 0;
    return CM_OK;
}

cm_status tr_nccl_wait(struct tr_nccl *self)
{
    if (!self)
        return CM_OK;
    struct ar_group *group = self->engine->cfg.group;
    int64_t began_ns = cm_now_ns();
    ar_group_wait_begin(group, "sum of the gradients over NCCL");
    cm_status st = cm_fault("train.nccl.wait");
    if (st == CM_OK)
        st = nn_device_comm_sync(self->comm, self->lane, cm_deadline_in_ms(self->timeout_ms));
    ar_group_wait_end(group);
    return st == CM_OK ? note_times(self, began_ns) : st;
}

/* ---- what a sum costs ---- */

/* The others may be inside NCCL, where no agreement reaches them. */
static void leave_if(struct tr_nccl *self, cm_status st, const char *doing)
{
    if (st != CM_OK)
        ar_group_abort(self->engine->cfg.group, st, doing);
}

/* Median seconds of the sum of n gradients, which are zeros now. The first time connects. */
static cm_status time_sum(struct tr_nccl *self, size_t n, double *median_s)
{
    double seconds[ROUNDS];
    for (int i = -1; i < ROUNDS; i++) {
        int64_t begin_ns = cm_now_ns();
        CM_TRY(sum(self, self->engine->lane_gradients, n));
        CM_TRY(nn_device_comm_sync(self->comm, self->lane, cm_deadline_in_ms(self->timeout_ms)));
        if (i >= 0)
            seconds[i] = (double)(cm_now_ns() - begin_ns) / 1e9;
    }
    *median_s = cm_vec_median(seconds, ROUNDS);
    return CM_OK;
}

/* Rank 0's numbers are everybody's. Under `fast` a bucket's size changes bits, so there no clock
 * may set it. */
static cm_status choose_bucket(struct tr_nccl *self)
{
    struct tr_engine *e = self->engine;
    size_t n = e->cfg.layout->nparam;
    double least_s = 0, all_s = 0;
    cm_status st = cm_fault("train.nccl.measure");
    if (st == CM_OK)
        st = time_sum(self, n < SHORT_FLOATS ? n : SHORT_FLOATS, &least_s);
    if (st == CM_OK)
        st = time_sum(self, n, &all_s);
    leave_if(self, st, "measuring NCCL");
    double rate = (double)n / (all_s - least_s);
    uint64_t limit = ar_bucket_limit(n, least_s, rate);
    CM_TRY(ar_group_broadcast(e->cfg.group, &limit, sizeof limit, 0));
    bool measured = !self->fast && e->cfg.allreduce->bucket_kib == 0;
    if (measured)
        e->bucket_limit = (size_t)limit;
    if (self->rank == 0)
        cm_log_info("gradients are summed by %s, %s: %.0f us and %.2f GB/s%s",
                    nn_device_comm_library(e->cfg.device),
                    self->fast ? "in its own order" : "in the fixed tree", 1e6 * least_s,
                    all_s > least_s ? rate * sizeof(float) / 1e9 : 0.0,
                    measured ? ", which sets the size of a bucket" : "");
    return CM_OK;
}

/* ---- life ---- */

static void leave(void *arg)
{
    nn_device_comm_abort(arg);
}

/* A share is less than 32 floats larger than its part of a bucket: tree.h cuts at multiples of 16.
 */
static cm_status open_buffers(struct tr_nccl *self)
{
    struct tr_engine *e = self->engine;
    const struct nn_backend *backend = e->backend;
    size_t size = (size_t)self->size, total = e->cfg.layout->ntotal, shares = total + 32 * size;
    CM_TRY(nn_device_lane_open(e->cfg.device, &self->lane, "nccl", true));
    if (self->fast)
        return CM_OK;
    CM_TRY(cm_alloc(&self->parts, size, sizeof *self->parts, "ranks' parts"));
    CM_TRY(cm_alloc(&self->node, size, sizeof *self->node, "ranks' sums"));
    CM_TRY(backend->alloc(backend, &self->arrived, shares * sizeof *self->arrived,
                          "gradients of other ranks"));
    if (!self->compress)
        return CM_OK;
    CM_TRY(backend->alloc(backend, &self->leaves, total * sizeof *self->leaves,
                          "gradients to other ranks"));
    return backend->alloc(backend, &self->arrives, shares * sizeof *self->arrives,
                          "gradients of other ranks");
}

/* All ranks do each step of it or none does, until they are inside NCCL: who fails there takes the
 * job along. */
static cm_status open_comm(struct tr_nccl *self)
{
    const struct tr_engine_config *cfg = &self->engine->cfg;
    struct ar_group *group = cfg->group;
    unsigned char id[NN_COMM_ID] = {0};
    cm_status st = open_buffers(self);
    if (st == CM_OK && self->rank == 0)
        st = nn_device_comm_id(cfg->device, id);
    CM_TRY(ar_group_agree(group, st, "preparing NCCL"));
    CM_TRY(ar_group_broadcast(group, id, sizeof id, 0));
    st = nn_device_comm_open(&self->comm, cfg->device, id, self->rank, self->size,
                             cfg->allreduce->start_timeout_ms);
    CM_TRY(ar_group_agree(group, st, "opening NCCL"));
    ar_group_on_leave(group, leave, self->comm);
    leave_if(self, nn_device_comm_meet(self->comm), "meeting the other ranks over NCCL");
    CM_TRY(choose_bucket(self));
    nn_device_comm_set_timeout(self->comm, self->timeout_ms);
    return CM_OK;
}

cm_status tr_nccl_open(struct tr_nccl **out, struct tr_engine *e)
{
    struct tr_nccl *self;
    const struct ar_config *allreduce = e->cfg.allreduce;
    *out = NULL;
    CM_TRY(
        ar_group_agree(e->cfg.group, cm_alloc(&self, 1, sizeof *self, "NCCL"), "preparing NCCL"));
    self->engine = e;
    self->rank = ar_group_rank(e->cfg.group);
    self->size = ar_group_size(e->cfg.group);
    self->levels = ar_tree_levels(self->size);
    self->fast = allreduce->order == AR_ORDER_FAST;
    self->compress = allreduce->compress;
    int64_t watched_ms = allreduce->collective_timeout_ms > allreduce->late_ms
                             ? allreduce->collective_timeout_ms
                             : allreduce->late_ms;
    self->timeout_ms = watched_ms + 2 * allreduce->heartbeat_ms + GRACE_MS;
    cm_status st = open_comm(self);
    if (st == CM_OK) {
        *out = self;
        return CM_OK;
    }
    ar_group_wait_begin(e->cfg.group, "giving NCCL up"); /* which may not come back */
    nn_device_comm_abort(self->comm);
    ar_group_wait_end(e->cfg.group);
    tr_nccl_close(&self);
    return st;
}

void tr_nccl_close(struct tr_nccl **nccl)
{
    struct tr_nccl *self = *nccl;
    if (!self)
        return;
    const struct nn_backend *backend = self->engine->backend;
    if (self->comm)
        ar_group_on_leave(self->engine->cfg.group, NULL, NULL);
    nn_device_comm_close(&self->comm);
    ln_lane_close(&self->lane);
    backend->release(backend, &self->arrived);
    backend->release(backend, &self->leaves);
    backend->release(backend, &self->arrives);
    for (int i = 0; i < self->nspans; i++) {
        ln_event_close(&self->span[i].from);
        ln_event_close(&self->span[i].to);
    }
    cm_free(&self->span);
    cm_free(&self->parts);
    cm_free(&self->node);
    cm_free(nccl);
}
