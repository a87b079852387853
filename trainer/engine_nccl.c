#include "trainer/engine_nccl.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "trainer/device_sum.h"

#define STEP_TIMEOUT_MS 600000 /* of this rank's own work */

/* Before and behind something, by the GPU's clock. */
struct span_of_time {
    struct ln_event *from, *to;
};

/* Times of a step. */
struct turn {
    struct span_of_time *sum; /* (nspans): of its first nsums sums */
    int nspans, nsums;
    struct span_of_time exposed; /* on lane 0: its own work is done, and so are the sums */
};

struct tr_nccl {
    struct tr_engine *engine; /* borrowed */
    struct tr_device_sum *sum;
    struct ln_event *summed;
    struct turn turn[TR_AHEAD], *now; /* now: that is being enqueued */
    double *totals;                   /* its own, on the device */
};

static cm_status open_span(struct tr_nccl *self, struct span_of_time *span)
{
    struct nn_device *device = self->engine->cfg.device;
    CM_TRY(nn_device_timer_open(device, &span->from));
    return nn_device_timer_open(device, &span->to);
}

static void close_span(struct span_of_time *span)
{
    ln_event_close(&span->from);
    ln_event_close(&span->to);
}

/* That of the step's next sum; opened in its turn's first step. */
static cm_status next_span(struct tr_nccl *self, struct span_of_time **out)
{
    struct turn *t = self->now;
    if (t->nsums == t->nspans) {
        CM_TRY(cm_realloc(&t->sum, (size_t)t->nspans + 1, sizeof *t->sum, "times of sums"));
        t->sum[t->nspans] = (struct span_of_time){NULL, NULL};
        CM_TRY(open_span(self, &t->sum[t->nspans++]));
    }
    *out = &t->sum[t->nsums++];
    return CM_OK;
}

/* ---- a step ---- */

void tr_nccl_begin(struct tr_nccl *self, int turn)
{
    self->now = &self->turn[turn];
    self->now->nsums = 0;
}

static cm_status task_sum(void *ctx, int64_t first, int64_t n)
{
    struct tr_nccl *self = ctx;
    struct ln_lane *lane = tr_device_sum_lane(self->sum);
    struct span_of_time *span;
    CM_TRY(cm_fault("train.nccl.bucket"));
    CM_TRY(next_span(self, &span));
    ln_lane_record(lane, span->from);
    CM_TRY(tr_device_sum_add(self->sum, self->engine->lane_gradients + first, (size_t)n));
    ln_lane_record(lane, span->to);
    return CM_OK;
}

void tr_nccl_bucket(struct tr_nccl *self, size_t first, size_t n, struct ln_event *ready)
{
    struct ln_lane *lane = tr_device_sum_lane(self->sum);
    ln_lane_wait(lane, ready);
    ln_lane_run(lane, task_sum, self, (int64_t)first, (int64_t)n);
}

static cm_status task_totals(void *ctx, int64_t unused, int64_t unused_too)
{
    (void)unused;
    (void)unused_too;
    struct tr_nccl *self = ctx;
    struct ln_lane *lane = tr_device_sum_lane(self->sum);
    struct span_of_time *span;
    CM_TRY(next_span(self, &span));
    ln_lane_record(lane, span->from);
    CM_TRY(tr_device_sum_totals(self->sum, self->totals));
    ln_lane_record(lane, span->to);
    return CM_OK;
}

void tr_nccl_totals(struct tr_nccl *self, double *totals)
{
    struct ln_lane *lane = tr_device_sum_lane(self->sum), *lane0 = self->engine->lanes[0].run;
    struct turn *t = self->now;
    self->totals = totals;
    ln_lane_record(lane0, t->exposed.from);
    ln_lane_wait(lane, t->exposed.from);
    ln_lane_run(lane, task_totals, self, 0, 0);
    ln_lane_record(lane, self->summed);
    ln_lane_wait(lane0, self->summed);
    ln_lane_record(lane0, t->exposed.to);
}

cm_status tr_nccl_fault(struct tr_nccl *self)
{
    return nn_device_lane_fault(tr_device_sum_lane(self->sum));
}

static cm_status seconds_of(const struct tr_nccl *self, const struct span_of_time *span, double *s)
{
    return nn_device_timer_between(self->engine->cfg.device, span->from, span->to, s);
}

static cm_status note_times(struct tr_nccl *self, const struct turn *t)
{
    struct tr_sum_times times = {0};
    CM_TRY(seconds_of(self, &t->exposed, &times.exposed_s));
    for (int i = 0; i < t->nsums; i++) {
        double seconds;
        CM_TRY(seconds_of(self, &t->sum[i], &seconds));
        times.busy_s += seconds;
    }
    self->engine->sums = times;
    return CM_OK;
}

cm_status tr_nccl_wait(struct tr_nccl *self, int turn, struct ln_event *ended)
{
    const struct turn *t = &self->turn[turn];
    CM_TRY(ln_event_sync(t->exposed.from, cm_deadline_in_ms(STEP_TIMEOUT_MS)));
    CM_TRY(tr_device_sum_await(self->sum, ended));
    return note_times(self, t);
}

/* ---- life ---- */

static cm_status open_events(struct tr_nccl *self)
{
    for (int i = 0; i < TR_AHEAD; i++)
        CM_TRY(open_span(self, &self->turn[i].exposed));
    return nn_device_event_open(self->engine->cfg.device, &self->summed);
}

cm_status tr_nccl_open(struct tr_nccl **out, struct tr_engine *e)
{
    struct tr_nccl *self;
    CM_TRY(cm_alloc(out, 1, sizeof **out, "sums over NCCL"));
    self = *out;
    self->engine = e;
    self->sum = e->cfg.sum;
    return open_events(self); /* after a fault the engine closes it */
}

void tr_nccl_close(struct tr_nccl **nccl)
{
    struct tr_nccl *self = *nccl;
    if (!self)
        return;
    for (int i = 0; i < TR_AHEAD; i++) {
        struct turn *t = &self->turn[i];
        for (int k = 0; k < t->nspans; k++)
            close_span(&t->sum[k]);
        close_span(&t->exposed);
        cm_free(&t->sum);
    }
    ln_event_close(&self->summed);
    cm_free(nccl);
}
