#include "trainer/device_sum.h"

#include "allreduce/tree.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "model/device_comm.h"
#include "trainer/sum_cost.h"

#define GRACE_MS 10000 /* the watchdog's word comes first, also on a busy host */

struct tr_device_sum {
    struct nn_device *device; /* these three are borrowed */
    struct ar_group *group;
    const struct ar_config *cfg;
    struct nn_device_comm *comm;
    struct ln_lane *lane;
    struct ln_event *summed; /* all so far */
    size_t most, bucket;     /* floats */
    int rank, size, levels;
    bool fast, compress;
    int64_t timeout_ms;
    struct nn_comm_part *parts; /* (size): of the exchange that is being enqueued */
    float **node;               /* (size): of the tree, likewise */
    /* On the device: the other ranks' numbers for this one's share (size, share); with compress
     * both ways in bf16, too: a buffer, and the larger of that and the former. */
    float *arrived;
    uint16_t *leaves, *arrives;
    double *totals; /* (size + 1, 3), on the device: of each rank; zeros to measure with */
};

/* ---- the tree ---- */

static cm_status narrow(struct tr_device_sum *self, uint16_t *dst, const float *src, size_t n)
{
    return nn_device_cast(self->device, self->lane, NN_BF16, dst, NN_F32, src, n);
}

static cm_status widen(struct tr_device_sum *self, float *dst, const uint16_t *src, size_t n)
{
    return nn_device_cast(self->device, self->lane, NN_F32, dst, NN_BF16, src, n);
}

static cm_status add(struct tr_device_sum *self, float *dst, const float *src, size_t n)
{
    return nn_device_merge(self->device, self->lane, dst, src, n, self->compress);
}

/* The elements whose sum a rank makes. */
static struct ar_range share(const struct tr_device_sum *self, size_t n, int rank)
{
    return ar_tree_range(n, rank, self->levels);
}

/* Everyone's share goes to its owner: of mine, rank r's lies at r * m in `arrived`. */
static cm_status scatter(struct tr_device_sum *self, const float *buf, size_t n, size_t m)
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
static cm_status join(struct tr_device_sum *self, float *own, size_t m)
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
static cm_status gather(struct tr_device_sum *self, float *buf, size_t n, struct ar_range mine)
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

cm_status tr_device_sum_add(struct tr_device_sum *self, float *buf, size_t n)
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

cm_status tr_device_sum_totals(struct tr_device_sum *self, double *totals)
{
    double *mine = self->totals + 3 * (size_t)self->rank;
    size_t nbytes = 3 * sizeof *totals;
    int nparts = 0;
    CM_TRY(nn_device_copy(self->device, self->lane, mine, totals, nbytes));
    for (int r = 0; r < self->size; r++)
        if (r != self->rank)
            self->parts[nparts++] = (struct nn_comm_part){.peer = r,
                                                          .out = mine,
                                                          .nout = nbytes,
                                                          .in = self->totals + 3 * (size_t)r,
                                                          .nin = nbytes};
    CM_TRY(nn_device_comm_swap(self->comm, self->lane, self->parts, nparts));
    return nn_device_join(self->device, self->lane, totals, self->totals, self->size);
}

static cm_status await(struct tr_device_sum *self, struct ln_event *behind)
{
    return nn_device_comm_wait(self->comm, behind, cm_deadline_in_ms(self->timeout_ms));
}

cm_status tr_device_sum_await(struct tr_device_sum *self, struct ln_event *behind)
{
    ar_group_wait_begin(self->group, "sum of the gradients over NCCL");
    cm_status st = cm_fault("train.nccl.wait");
    if (st == CM_OK)
        st = await(self, behind);
    ar_group_wait_end(self->group);
    return st;
}

cm_status tr_device_sum_wait(struct tr_device_sum *self)
{
    ln_lane_record(self->lane, self->summed);
    return tr_device_sum_await(self, self->summed);
}

struct ln_lane *tr_device_sum_lane(const struct tr_device_sum *self)
{
    return self->lane;
}

/* ---- what a sum costs ---- */

struct measured {
    struct tr_device_sum *sum;
    float *zeros;
};

static cm_status add_zeros(void *ctx, size_t n)
{
    const struct measured *m = ctx;
    CM_TRY(tr_device_sum_add(m->sum, m->zeros, n));
    ln_lane_record(m->sum->lane, m->sum->summed);
    return await(m->sum, m->sum->summed);
}

static cm_status measure(struct tr_device_sum *self, struct tr_sum_cost *cost)
{
    const struct nn_backend *backend = nn_device_backend(self->device);
    struct measured m = {.sum = self};
    CM_TRY(cm_fault("train.nccl.measure"));
    CM_TRY(
        backend->alloc(backend, &m.zeros, self->most * sizeof *m.zeros, "a sum that is measured"));
    cm_status st = tr_device_sum_totals(self, self->totals + 3 * (size_t)self->size); /* connects */
    if (st == CM_OK)
        st = tr_sum_cost_measure(cost, self->most, add_zeros, &m);
    if (st == CM_OK) /* else it may still be summed */
        backend->release(backend, &m.zeros);
    return st;
}

/* The others may be inside NCCL, where no agreement reaches them. */
static void leave_if(struct tr_device_sum *self, cm_status st, const char *doing)
{
    if (st != CM_OK)
        ar_group_abort(self->group, st, doing);
}

static cm_status choose_bucket(struct tr_device_sum *self)
{
    struct tr_sum_cost cost = {0};
    leave_if(self, measure(self, &cost), "measuring NCCL");
    return tr_sum_cost_bucket(&self->bucket, &cost, self->most, self->group, self->cfg,
                              nn_device_comm_library(self->device));
}

size_t tr_device_sum_bucket(const struct tr_device_sum *self)
{
    return self->bucket;
}

/* ---- life ---- */

static void leave(void *arg)
{
    nn_device_comm_abort(arg);
}

/* A share is less than 32 floats larger than its part of a buffer: tree.h cuts at multiples of 16.
 */
static cm_status open_buffers(struct tr_device_sum *self)
{
    const struct nn_backend *backend = nn_device_backend(self->device);
    size_t size = (size_t)self->size, shares = self->most + 32 * size;
    CM_TRY(nn_device_lane_open(self->device, &self->lane, "nccl", true));
    CM_TRY(nn_device_event_open(self->device, &self->summed));
    CM_TRY(cm_alloc(&self->parts, size, sizeof *self->parts, "ranks' parts"));
    CM_TRY(backend->alloc(backend, &self->totals, 3 * (size + 1) * sizeof *self->totals,
                          "ranks' losses and counts"));
    if (self->fast)
        return CM_OK;
    CM_TRY(cm_alloc(&self->node, size, sizeof *self->node, "ranks' sums"));
    CM_TRY(backend->alloc(backend, &self->arrived, shares * sizeof *self->arrived,
                          "gradients of other ranks"));
    if (!self->compress)
        return CM_OK;
    CM_TRY(backend->alloc(backend, &self->leaves, self->most * sizeof *self->leaves,
                          "gradients to other ranks"));
    return backend->alloc(backend, &self->arrives, shares * sizeof *self->arrives,
                          "gradients of other ranks");
}

/* All ranks do each step of it or none does, until they are inside NCCL: who fails there takes the
 * job along. */
static cm_status open_comm(struct tr_device_sum *self)
{
    unsigned char id[NN_COMM_ID] = {0};
    cm_status st = open_buffers(self);
    if (st == CM_OK && self->rank == 0)
        st = nn_device_comm_id(self->device, id);
    CM_TRY(ar_group_agree(self->group, st, "preparing NCCL"));
    CM_TRY(ar_group_broadcast(self->group, id, sizeof id, 0));
    st = nn_device_comm_open(&self->comm, self->device, id, self->rank, self->size,
                             self->cfg->start_timeout_ms);
    CM_TRY(ar_group_agree(self->group, st, "opening NCCL"));
    ar_group_on_leave(self->group, leave, self->comm);
    leave_if(self, nn_device_comm_meet(self->comm), "meeting the other ranks over NCCL");
    CM_TRY(choose_bucket(self));
    nn_device_comm_set_timeout(self->comm, self->timeout_ms);
    return CM_OK;
}

static void release(struct tr_device_sum **s)
{
    struct tr_device_sum *self = *s;
    const struct nn_backend *backend = nn_device_backend(self->device);
    ar_group_on_leave(self->group, NULL, NULL);
    nn_device_comm_close(&self->comm);
    ln_lane_close(&self->lane);
    ln_event_close(&self->summed);
    backend->release(backend, &self->totals);
    backend->release(backend, &self->arrived);
    backend->release(backend, &self->leaves);
    backend->release(backend, &self->arrives);
    cm_free(&self->parts);
    cm_free(&self->node);
    cm_free(s);
}

cm_status tr_device_sum_open(struct tr_device_sum **out, struct nn_device *device,
                             struct ar_group *group, const struct ar_config *cfg, size_t most)
{
    struct tr_device_sum *self;
    *out = NULL;
    CM_TRY(ar_group_agree(group, cm_alloc(&self, 1, sizeof *self, "NCCL"), "preparing NCCL"));
    self->device = device;
    self->group = group;
    self->cfg = cfg;
    self->most = most;
    self->rank = ar_group_rank(group);
    self->size = ar_group_size(group);
    self->levels = ar_tree_levels(self->size);
    self->fast = cfg->order == AR_ORDER_FAST;
    self->compress = cfg->compress;
    int64_t watched_ms =
        cfg->collective_timeout_ms > cfg->late_ms ? cfg->collective_timeout_ms : cfg->late_ms;
    self->timeout_ms = watched_ms + 2 * cfg->heartbeat_ms + GRACE_MS;
    cm_status st = open_comm(self);
    if (st == CM_OK) {
        *out = self;
        return CM_OK;
    }
    ar_group_wait_begin(group, "giving NCCL up"); /* which may not come back */
    nn_device_comm_abort(self->comm);
    ar_group_wait_end(group);
    release(&self);
    return st;
}

void tr_device_sum_close(struct tr_device_sum **s)
{
    struct tr_device_sum *self = *s;
    if (!self)
        return;
    cm_status st = cm_fault("train.nccl.finish");
    nn_device_comm_set_timeout(self->comm, self->cfg->collective_timeout_ms / 2);
    ar_group_wait_begin(self->group, "finishing NCCL");
    if (st == CM_OK)
        st = nn_device_comm_finish(self->comm);
    if (st != CM_OK) {
        cm_error_report(CM_LOG_WARN, st, "finishing NCCL (all sums are done; going on without)");
        nn_device_comm_abort(self->comm);
    }
    ar_group_wait_end(self->group);
    release(s);
}
