#include "trainer/engine_nccl.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "trainer/device_sum.h"

/* Before and behind the sum of a bucket. */
struct span_of_time {
    struct ln_event *from, *to;
};

struct tr_nccl {
    struct tr_engine *engine; /* borrowed */
    struct tr_device_sum *sum;
    struct span_of_time *span; /* (nspans): of the step's first nsums sums */
    int nspans, nsums;
    cm_status failed; /* the first fault of enqueueing in a step */
    struct cm_error why;
};

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
        st = tr_device_sum_add(self->sum, self->engine->lane_gradients + first, (size_t)n);
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
    struct ln_lane *lane = tr_device_sum_lane(self->sum);
    ln_lane_wait(lane, ready);
    ln_lane_record(lane, span->from);
    ln_lane_run(lane, task_sum, self, (int64_t)first, (int64_t)n);
    ln_lane_record(lane, span->to);
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
    int64_t began_ns = cm_now_ns();
    CM_TRY(tr_device_sum_wait(self->sum));
    return note_times(self, began_ns);
}

cm_status tr_nccl_open(struct tr_nccl **out, struct tr_engine *e)
{
    CM_TRY(cm_alloc(out, 1, sizeof **out, "sums over NCCL"));
    (*out)->engine = e;
    (*out)->sum = e->cfg.sum;
    e->bucket_limit = tr_device_sum_bucket(e->cfg.sum);
    return CM_OK;
}

void tr_nccl_close(struct tr_nccl **nccl)
{
    struct tr_nccl *self = *nccl;
    if (!self)
        return;
    for (int i = 0; i < self->nspans; i++) {
        ln_event_close(&self->span[i].from);
        ln_event_close(&self->span[i].to);
    }
    cm_free(&self->span);
    cm_free(nccl);
}
