#include "trainer/saver.h"

#include <stdatomic.h>

#include "common/lane.h"
#include "common/mem.h"
#include "model/backend.h"
#include "trainer/snapshot.h"

struct tr_saver {
    struct tr_publisher *publisher;
    struct ln_lane *lane;
    struct ln_event *done; /* of the version being written */
    bool busy;
    atomic_bool through; /* the lane has left the version: a look that costs nothing */
    /* The version: written by the caller while idle, by the lane until done. */
    struct tr_snapshot snapshot;
    struct tr_publish what;
    struct ps_metric metrics[TR_SAVER_METRICS];
    struct tr_saved saved;
};

cm_status tr_saver_open(struct tr_saver **out, struct tr_publisher *publisher,
                        const struct tr_train_config *train, const struct tr_state *state)
{
    struct tr_saver *self;
    const struct ln_config lane = {.name = "saver", .core = -1, .on_start = nn_cpu_lane_start};
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "saver"));
    self->publisher = publisher;
    cm_status st;
    CM_GOTO(st, tr_snapshot_init(&self->snapshot, train, state), out);
    tr_snapshot_take(&self->snapshot, state);
    CM_GOTO(st, ln_event_open(&self->done), out);
    CM_GOTO(st, ln_lane_open(&self->lane, &lane), out);
    *out = self;
    self = NULL;
out:
    tr_saver_close(&self);
    return st;
}

void tr_saver_close(struct tr_saver **s)
{
    if (!*s)
        return;
    ln_lane_close(&(*s)->lane);
    ln_event_close(&(*s)->done);
    tr_snapshot_release(&(*s)->snapshot);
    cm_free(s);
}

/* Its fault is a result: the lane goes on to the next version. */
static cm_status task_publish(void *ctx, int64_t unused_a, int64_t unused_b)
{
    struct tr_saver *self = ctx;
    (void)unused_a;
    (void)unused_b;
    self->saved.st = tr_publisher_commit(self->publisher, &self->what, &self->saved.publication);
    if (self->saved.st != CM_OK)
        cm_error_save(&self->saved.error);
    atomic_store(&self->through, true);
    return CM_OK;
}

void tr_saver_begin(struct tr_saver *s, const struct tr_publish *what)
{
    int64_t began_ns = cm_now_ns();
    tr_snapshot_take(&s->snapshot, what->state);
    s->what = *what;
    s->what.state = &s->snapshot.state;
    s->what.metrics = s->metrics;
    if (s->what.nmetrics > TR_SAVER_METRICS)
        s->what.nmetrics = TR_SAVER_METRICS;
    for (size_t i = 0; i < s->what.nmetrics; i++)
        s->metrics[i] = what->metrics[i];
    s->busy = true;
    atomic_store(&s->through, false);
    s->saved = (struct tr_saved){.step = s->snapshot.progress.step};
    s->saved.stall_s = (double)(cm_now_ns() - began_ns) * 1e-9;
    ln_lane_run(s->lane, task_publish, s, 0, 0);
    ln_lane_record(s->lane, s->done);
}

bool tr_saver_busy(const struct tr_saver *s)
{
    return s->busy;
}

int64_t tr_saver_step(const struct tr_saver *s)
{
    return s->snapshot.progress.step;
}

bool tr_saver_poll(struct tr_saver *s, struct tr_saved *out)
{
    return atomic_load(&s->through) && tr_saver_wait(s, cm_deadline_in_ms(-1), out);
}

bool tr_saver_wait(struct tr_saver *s, struct cm_deadline deadline, struct tr_saved *out)
{
    if (!s->busy || ln_event_sync(s->done, deadline) != CM_OK)
        return false;
    *out = s->saved;
    s->busy = false;
    return true;
}
