/* A step on a device. The host copies the step's numbers in, enqueues everything behind them, and
 * waits for the event at its end: whether the sums are finite, how far they carry and the update
 * are the device's (step.h).
 *
 *   one rank       in ─► [draw … backward ─► results ─► decide ─► update ─► prepare] ─► out, ended
 *                         captured at the second step of its size, then launched as one graph
 *   "nccl"         the same but for the graph; between results and decide, sums from GPU to GPU
 *                  (engine_nccl.h)
 *   "cuda+mpi"     in ─► draw … backward ─► results ──┐            ┌─► decide … prepare ─► out
 *   down                 buckets, pinned ─► reducer   │            │
 *   up                                      └► uploaded, one by one┘
 *
 * The host enqueues the next step before it waits for this one's end. What the two exchange with it
 * lies apart (turns); all else on the device they use one after the other, for each begins and ends
 * on lane 0. With "nccl" each rank first says at a step's end, over MPI, that it has enqueued its
 * part: the others would wait for it in vain.
 *
 * With "cuda+mpi" the host is in the middle: buckets go through pinned host memory to the same
 * reducer as a CPU's, hence the same tree, and each goes up again while the next is summed.
 *
 * Kernels compute merges, norms, draws and updates with the CPU's bits; those of products and norms
 * differ from a CPU's, never between ranks or runs. */
#include <math.h>
#include <string.h>

#include "common/log.h"
#include "trainer/augment.h"
#include "trainer/engine_device.h"

#define STEP_TIMEOUT_MS 600000

static bool alone(const struct tr_engine *self)
{
    return ar_group_size(self->cfg.group) == 1;
}

/* ---- rows of the table that lanes use ---- */

static cm_status open_lane(struct tr_engine *self, struct ln_lane **out, const char *name)
{
    return nn_device_lane_open(self->cfg.device, out, name, false);
}

static cm_status open_event(struct tr_engine *self, struct ln_event **out)
{
    return nn_device_event_open(self->cfg.device, out);
}

static cm_status open_timer(struct tr_engine *self, struct ln_event **out)
{
    return nn_device_timer_open(self->cfg.device, out);
}

static cm_status fill(struct tr_engine *self, int shard)
{
    const struct tr_device_part *part = self->part;
    const struct tr_train_config *train = self->cfg.train;
    struct tr_shard *s = &self->shards[shard];
    struct ln_lane *lane = self->lanes[shard / (self->nshards / self->nlanes)].run;
    uint32_t count;
    tr_shard_range(self->slice.n, self->all_shards, (uint32_t)(self->first_shard + shard),
                   &s->first, &count);
    s->batch = (struct nn_batch){.n = (int)count,
                                 .images = part->images,
                                 .index = s->rows,
                                 .augment = s->augment,
                                 .labels = s->labels};
    if (self->cfg.draw || count == 0)
        return CM_OK;
    struct nn_draw_args args = {.draw = {.seed = (uint64_t)train->seed,
                                         .n = self->order.n,
                                         .flip = (enum nn_flip)train->flip,
                                         .crop_pad = (int)train->crop_pad,
                                         .cutout = (int)train->cutout,
                                         .side = self->cfg.spec->input.h},
                                .n = count,
                                .first = s->first,
                                .values = part->values,
                                .id = part->id,
                                .all_labels = part->labels,
                                .rows = s->rows,
                                .labels = s->labels,
                                .augment = s->augment};
    return nn_device_draw(self->cfg.device, lane, &args);
}

static cm_status add(struct tr_engine *self, struct ln_lane *lane, float *dst, const float *src,
                     size_t n)
{
    bool compress = self->cfg.allreduce->compress;
    return src || compress ? nn_device_merge(self->cfg.device, lane, dst, src, n, compress) : CM_OK;
}

static cm_status task_to_host(void *ctx, int64_t first, int64_t n)
{
    struct tr_engine *self = ctx;
    return nn_device_copy(self->cfg.device, self->part->down, self->gradients + first,
                          self->lane_gradients + first, (size_t)n * sizeof(float));
}

static cm_status task_from_host(void *ctx, int64_t first, int64_t n)
{
    struct tr_engine *self = ctx;
    return nn_device_copy(self->cfg.device, self->part->up, self->lane_gradients + first,
                          self->gradients + first, (size_t)n * sizeof(float));
}

/* On the reducer's thread, whose lane `up` is until the step's last bucket is summed. */
static void send_sum_up(void *ctx, void *sum, size_t n)
{
    struct tr_engine *self = ctx;
    ln_lane_run(self->part->up, task_from_host, self, (float *)sum - self->gradients, (int64_t)n);
}

static void bucket(struct tr_engine *self, size_t first, size_t n, struct ln_event *ready)
{
    if (alone(self))
        return;
    if (self->part->nccl) {
        tr_nccl_bucket(self->part->nccl, first, n, ready);
        return;
    }
    struct ln_lane *down = self->part->down;
    ln_lane_wait(down, ready);
    if (n > 0)
        ln_lane_run(down, task_to_host, self, (int64_t)first, (int64_t)n);
    ln_lane_record(down, ready); /* from now on: it is on the host */
    ar_step_bucket_then(self->cfg.group, self->gradients + first, n, ready,
                        n > 0 ? send_sum_up : NULL, self);
}

/* ---- what comes in ---- */

static cm_status send(struct tr_engine *self, void *dst, const void *src, size_t nbytes)
{
    return nn_device_copy(self->cfg.device, self->lanes[0].run, dst, src, nbytes);
}

/* Where the caller draws: rows by the caller, looks and labels by the host. */
static cm_status send_drawn(struct tr_engine *self, int shard)
{
    const struct tr_device_turn *t = self->part->now;
    const struct tr_shard *s = &self->shards[shard];
    uint32_t first, count;
    size_t at = (size_t)shard * self->part->largest;
    tr_shard_range(self->slice.n, self->all_shards, (uint32_t)(self->first_shard + shard), &first,
                   &count);
    self->cfg.draw(self->cfg.draw_ctx, self->step, self->slice.first + first, count, t->rows + at);
    for (size_t i = at; i < at + count; i++) {
        if (t->rows[i] >= self->cfg.samples.nrows)
            return CM_FAIL(CM_EINVAL, "drawn: image %u of %u", t->rows[i], self->cfg.samples.nrows);
        t->row_labels[i] = self->cfg.samples.labels[t->rows[i]];
        t->augment[i] =
            tr_augment(self->cfg.train, self->slice.epoch, t->rows[i], self->cfg.spec->input.h);
    }
    CM_TRY(send(self, s->rows, t->rows + at, count * sizeof *s->rows));
    CM_TRY(send(self, s->labels, t->row_labels + at, count * sizeof *s->labels));
    return send(self, s->augment, t->augment + at, count * sizeof *s->augment);
}

static cm_status task_send(void *ctx, int64_t unused, int64_t unused_too)
{
    (void)unused;
    (void)unused_too;
    struct tr_engine *self = ctx;
    struct tr_device_part *part = self->part;
    const struct tr_device_turn *t = part->now;
    struct nn_step_in *in = &t->exchange->values.in;
    *in = (struct nn_step_in){
        .step = self->step, .epoch = self->slice.epoch, .first = self->slice.first};
    for (int i = 0; i < part->nspans; i++)
        t->coefficients[i] = tr_optimizer_coefficients(self->optimizer, (size_t)i, &self->update);
    CM_TRY(send(self, &part->values->in, in, sizeof *in));
    CM_TRY(send(self, part->coefficients, t->coefficients,
                (size_t)part->nspans * sizeof *part->coefficients));
    for (int s = 0; s < self->nshards && self->cfg.draw; s++)
        CM_TRY(send_drawn(self, s));
    return CM_OK;
}

/* ---- what is enqueued ---- */

static cm_status task_results(void *ctx, int64_t unused, int64_t unused_too)
{
    (void)unused;
    (void)unused_too;
    struct tr_engine *self = ctx;
    return nn_device_results(self->cfg.device, self->lanes[0].run, self->part->sum, self->results,
                             self->nshards);
}

/* From the step's numbers to the gradients' and results' sums of this rank. */
static void enqueue_sums(struct tr_engine *self)
{
    struct ln_lane *lane0 = self->lanes[0].run;
    ln_lane_record(lane0, self->part->begun);
    for (int i = 1; i < self->nlanes; i++)
        ln_lane_wait(self->lanes[i].run, self->part->begun);
    tr_engine_enqueue_forward(self);
    tr_engine_enqueue_backward(self);
    for (int i = 1; i < self->nlanes; i++) {
        ln_lane_record(self->lanes[i].run, self->lanes[i].updated);
        ln_lane_wait(lane0, self->lanes[i].updated);
    }
    ln_lane_run(lane0, task_results, self, 0, 0);
}

static cm_status judge(struct tr_engine *self, struct ln_lane *lane)
{
    struct tr_device_part *part = self->part;
    struct nn_device *device = self->cfg.device;
    const struct nn_layout *layout = self->cfg.layout;
    struct nn_step_rule rule = {.mean = self->cfg.train->reduction == 0,
                                .clip_norm = self->cfg.train->clip_norm};
    if (alone(self)) /* else the reducer has rounded them */
        CM_TRY(add(self, lane, self->lane_gradients, NULL, layout->ntotal));
    CM_TRY(nn_device_sum_squares(device, lane, &part->squares[0], self->lane_gradients,
                                 layout->nparam, part->space));
    CM_TRY(nn_device_sum_squares(device, lane, &part->squares[1],
                                 self->lane_gradients + layout->nparam,
                                 layout->ntotal - layout->nparam, part->space));
    return nn_device_decide(device, lane, part->values, &rule, part->sum, part->squares);
}

/* From the sums over all ranks to new weights. */
static cm_status task_end(void *ctx, int64_t unused, int64_t unused_too)
{
    (void)unused;
    (void)unused_too;
    struct tr_engine *self = ctx;
    struct tr_device_part *part = self->part;
    struct nn_device *device = self->cfg.device;
    struct ln_lane *lane = self->lanes[0].run;
    const struct nn_layout *layout = self->cfg.layout;
    struct nn_update_args update = {.optimizer = (enum nn_optimizer)self->cfg.train->optimizer,
                                    .momentum = self->cfg.train->momentum > 0,
                                    .n = layout->nparam,
                                    .weights = self->lane_weights,
                                    .gradients = self->lane_gradients,
                                    .first = part->slot[0],
                                    .second = part->slot[1],
                                    .nspans = part->nspans,
                                    .spans = part->spans,
                                    .coefficients = part->coefficients,
                                    .values = part->values};
    struct nn_statistics_args statistics = {.weights = self->lane_weights,
                                            .gradients = self->lane_gradients,
                                            .first = layout->nparam,
                                            .n = layout->ntotal - layout->nparam,
                                            .nspans = part->nstatistics,
                                            .spans = part->statistics,
                                            .momentum = part->momentum,
                                            .values = part->values};
    int64_t began = cm_now_ns();
    CM_TRY(judge(self, lane));
    CM_TRY(nn_device_update(device, lane, &update));
    if (part->muon)
        CM_TRY(nn_device_muon(part->muon, lane, &update));
    if (statistics.n > 0)
        CM_TRY(nn_device_statistics(device, lane, &statistics));
    for (int op = 0; op < nn_plan_nops(self->plan); op++)
        CM_TRY(nn_plan_prepare(self->plan, op, lane, self->lane_weights));
    return tr_engine_note_time(self, lane, nn_plan_nops(self->plan) + 3, true, began);
}

static cm_status task_out(void *ctx, int64_t unused, int64_t unused_too)
{
    (void)unused;
    (void)unused_too;
    struct tr_engine *self = ctx;
    const struct tr_device_part *part = self->part;
    return send(self, &part->now->exchange->values, part->values, sizeof *part->values);
}

/* What could not be enqueued, on any lane. */
static cm_status take_fault(struct tr_engine *self)
{
    cm_status st = CM_OK;
    for (int i = 0; i < self->nlanes; i++) {
        cm_status lane = nn_device_lane_fault(self->lanes[i].run);
        st = st == CM_OK ? lane : st;
    }
    return st == CM_OK && self->part->nccl ? tr_nccl_fault(self->part->nccl) : st;
}

/* ---- through the host ---- */

static cm_status task_sums_to_host(void *ctx, int64_t unused, int64_t unused_too)
{
    (void)unused;
    (void)unused_too;
    struct tr_engine *self = ctx;
    struct tr_exchange *exchange = self->part->now->exchange;
    return send(self, exchange->sum, self->part->sum, sizeof exchange->sum);
}

static cm_status task_sums_back(void *ctx, int64_t unused, int64_t unused_too)
{
    (void)unused;
    (void)unused_too;
    struct tr_engine *self = ctx;
    const struct tr_exchange *exchange = self->part->now->exchange;
    return send(self, self->part->sum, exchange->sum, sizeof exchange->sum);
}

/* own: what this rank's lanes say. */
static cm_status sum_over_ranks(struct tr_engine *self, cm_status own, uint32_t *bits)
{
    struct tr_exchange *exchange = self->part->now->exchange;
    struct ar_tail tail = {.bits = own == CM_OK ? *bits : *bits | TR_BIT_FAILED};
    memcpy(tail.sum, exchange->sum, sizeof exchange->sum);
    CM_TRY(ar_step_end(self->cfg.group, &tail));
    if (tail.bits & TR_BIT_FAILED)
        return ar_group_agree(self->cfg.group, own, "computing a step");
    CM_TRY(ln_lane_sync(self->part->up, cm_deadline_in_ms(STEP_TIMEOUT_MS)));
    *bits = tail.bits;
    memcpy(exchange->sum, tail.sum, sizeof exchange->sum);
    ln_lane_run(self->lanes[0].run, task_sums_back, self, 0, 0);
    return CM_OK;
}

static void begin_with_host(struct tr_engine *self)
{
    ar_step_begin(self->cfg.group, self->step);
    enqueue_sums(self);
    ln_lane_run(self->lanes[0].run, task_sums_to_host, self, 0, 0);
}

/* Nothing is updated before every lane of every rank has said that it did its part. */
static cm_status end_with_host(struct tr_engine *self, uint32_t *bits)
{
    struct ln_lane *lane0 = self->lanes[0].run;
    cm_status own = tr_engine_sync_lanes(self);
    cm_status down = ln_lane_sync(self->part->down, cm_deadline_in_ms(STEP_TIMEOUT_MS));
    own = own == CM_OK ? down : own;
    if (own == CM_ETIMEDOUT)
        return own;
    CM_TRY(sum_over_ranks(self, own, bits));
    ln_lane_run(lane0, task_end, self, 0, 0);
    ln_lane_run(lane0, task_out, self, 0, 0);
    return tr_engine_sync_lanes(self);
}

/* ---- without the host ---- */

/* Nothing is updated unless all before it could be enqueued. */
static cm_status enqueue_plain(struct tr_engine *self)
{
    enqueue_sums(self);
    if (self->part->nccl)
        tr_nccl_totals(self->part->nccl, self->part->sum);
    CM_TRY(take_fault(self));
    ln_lane_run(self->lanes[0].run, task_end, self, 0, 0);
    return CM_OK;
}

/* What is enqueued in between is not run. A fault in it drops the capture. */
static cm_status capture(struct tr_engine *self, struct nn_graph **out)
{
    struct nn_device *device = self->cfg.device;
    struct ln_lane *lane0 = self->lanes[0].run;
    CM_TRY(nn_device_capture_begin(device, lane0));
    enqueue_sums(self);
    ln_lane_run(lane0, task_end, self, 0, 0);
    cm_status end = nn_device_capture_end(device, lane0, out);
    cm_status lanes = take_fault(self);
    if (lanes != CM_OK || end != CM_OK)
        nn_device_graph_close(device, out);
    return lanes != CM_OK ? lanes : end;
}

static cm_status task_launch(void *ctx, int64_t number, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    return nn_device_graph_launch(self->cfg.device, self->part->captured[number].graph,
                                  self->lanes[0].run);
}

/* A step can always be enqueued, so a capture that fails is given up for good, with a warning; a
 * fault that is not the capture's, the step itself will meet. */
static bool have_graph(struct tr_engine *self, struct tr_captured *c)
{
    if (c->graph)
        return true;
    cm_status st = capture(self, &c->graph);
    if (st != CM_OK) {
        self->part->graphs = TR_GRAPHS_FAILED;
        cm_error_report(CM_LOG_WARN, st, "capturing a step (from now on they are enqueued)");
    }
    return st == CM_OK;
}

/* The first step of a size runs as it is enqueued: libraries may load what a capture forbids. */
static cm_status enqueue_step(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    struct tr_captured *c = part->captured;
    while (c < part->captured + TR_CAPTURED - 1 && c->n != 0 && c->n != self->slice.n)
        c++;
    if (part->graphs == TR_GRAPHS_ON && !self->timing && c->n == self->slice.n &&
        have_graph(self, c)) {
        ln_lane_run(self->lanes[0].run, task_launch, self, c - part->captured, 0);
        return CM_OK;
    }
    CM_TRY(enqueue_plain(self));
    if (c->n == 0)
        c->n = self->slice.n;
    return CM_OK;
}

static cm_status enqueue_without_host(struct tr_engine *self)
{
    struct ln_lane *lane0 = self->lanes[0].run;
    CM_TRY(take_fault(self)); /* of sending the step's numbers in */
    CM_TRY(enqueue_step(self));
    ln_lane_run(lane0, task_out, self, 0, 0);
    ln_lane_record(lane0, self->part->now->ended);
    return take_fault(self);
}

/* One that could not be enqueued has updated nothing. */
static cm_status await_alone(struct tr_engine *self, const struct tr_device_turn *t)
{
    if (t->failed == CM_OK)
        return ln_event_sync(t->ended, cm_deadline_in_ms(STEP_TIMEOUT_MS));
    CM_TRY(tr_engine_sync_lanes(self)); /* what there is of it, and the step before it */
    cm_error_restore(&t->why);
    return t->failed;
}

/* Until the step is through. */
static cm_status await_end(struct tr_engine *self, int turn, uint32_t *bits)
{
    const struct tr_device_turn *t = &self->part->turn[turn];
    struct ar_group *group = self->cfg.group;
    if (alone(self))
        return await_alone(self, t);
    struct ar_tail word = {.bits = t->failed == CM_OK ? *bits : *bits | TR_BIT_FAILED};
    ar_step_begin(group, self->begun[turn].step); /* what the others see this rank at */
    CM_TRY(ar_step_end(group, &word));
    if (t->failed != CM_OK)
        cm_error_restore(&t->why);
    if (word.bits & TR_BIT_FAILED) /* sums are under way that never end, so nothing can be closed */
        ar_group_abort(group, ar_group_agree(group, t->failed, "computing a step"), "training");
    *bits = word.bits;
    return tr_nccl_wait(self->part->nccl, turn, t->ended);
}

/* ---- a step ---- */

static void begin(struct tr_engine *self, int turn)
{
    struct tr_device_part *part = self->part;
    struct tr_device_turn *t = &part->turn[turn];
    const struct tr_device_turn *before = &part->turn[(turn + TR_AHEAD - 1) % TR_AHEAD];
    if (self->nbegun > 1 && before->failed != CM_OK)
        return; /* it is forgotten with the step before it */
    self->update = (struct tr_update){
        .lr = self->begun[turn].lr,
        .epoch = (double)self->step / (double)tr_order_steps_per_epoch(&self->order),
        .step = self->step,
    };
    part->now = t;
    part->fetched = false;
    t->failed = CM_OK;
    if (part->nccl)
        tr_nccl_begin(part->nccl, turn);
    ln_lane_run(self->lanes[0].run, task_send, self, 0, 0);
    if (part->down)
        begin_with_host(self);
    else
        t->failed = enqueue_without_host(self);
    if (t->failed != CM_OK)
        cm_error_save(&t->why);
}

static cm_status fetch(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    struct nn_device *device = self->cfg.device;
    const struct nn_layout *layout = self->cfg.layout;
    if (part->fetched)
        return CM_OK;
    size_t total = layout->ntotal * sizeof(float);
    CM_TRY(nn_device_copy(device, NULL, self->weights, self->lane_weights, total));
    CM_TRY(nn_device_copy(device, NULL, self->gradients, self->lane_gradients, total));
    if (self->average)
        CM_TRY(nn_device_copy(device, NULL, self->average, part->average, total));
    for (int s = 0; s < tr_optimizer_nslots(self->optimizer); s++)
        CM_TRY(nn_device_copy(device, NULL, tr_optimizer_slot(self->optimizer, s), part->slot[s],
                              layout->nparam * sizeof(float)));
    part->fetched = true;
    return CM_OK;
}

/* The step behind the one that stopped has its own gradients where those were: once it is through,
 * the stopped one is computed again, from the same weights, and again updates nothing. */
static cm_status compute_again(struct tr_engine *self, int turn)
{
    uint32_t bits = 0; /* raised again with the next step that counts */
    for (int i = 1; i < self->nbegun; i++)
        CM_TRY(await_end(self, (turn + i) % TR_AHEAD, &bits));
    tr_engine_enqueue(self, turn);
    return await_end(self, turn, &bits);
}

/* A step was left out: fp16 does so while its scale is too large, else the run went wrong. */
static cm_status heed_skip(struct tr_engine *self, int turn, double loss)
{
    int64_t step = self->begun[turn].step;
    if (!self->scaling.stopped)
        return CM_OK;
    if (self->nbegun > 1)
        CM_TRY(compute_again(self, turn));
    CM_TRY(fetch(self));
    CM_TRY(tr_gradient_check(self, step, loss));
    return CM_FAIL(CM_ENUMERIC, "step %lld: a sum is not finite, though each tensor is",
                   (long long)step);
}

static cm_status end(struct tr_engine *self, int turn, struct tr_outcome *outcome)
{
    const struct tr_begun *b = &self->begun[turn];
    const struct tr_device_turn *t = &self->part->turn[turn];
    const struct nn_step_values *values = &t->exchange->values;
    uint32_t bits = b->raise;
    CM_TRY(self->part->down ? end_with_host(self, &bits) : await_end(self, turn, &bits));
    self->scaling = values->state;
    *outcome = (struct tr_outcome){.loss = values->out.loss,
                                   .correct = values->out.correct,
                                   .count = values->out.count,
                                   .grad_norm = self->cfg.train->clip_norm > 0 ? values->out.norm
                                                                               : (double)NAN,
                                   .bits = bits,
                                   .lr = b->lr,
                                   .scaling = values->state};
    return values->out.skip ? heed_skip(self, turn, values->out.loss) : CM_OK;
}

static cm_status prepare(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    struct nn_device *device = self->cfg.device;
    const struct nn_layout *layout = self->cfg.layout;
    bool scaled = nn_plan_dtype(self->plan) == NN_F16;
    struct nn_step_values *values = &part->turn[0].exchange->values;
    self->scaling.stopped = 0;
    if (!scaled)
        self->scaling = (struct nn_step_state){0};
    else if (self->scaling.loss_scale <= 0)
        self->scaling.loss_scale = NN_SCALE_FIRST;
    *values = (struct nn_step_values){.state = self->scaling};
    CM_TRY(nn_device_copy(device, NULL, part->values, values, sizeof *values));
    CM_TRY(nn_device_copy(device, NULL, self->lane_weights, self->weights,
                          layout->ntotal * sizeof(float)));
    if (self->average)
        CM_TRY(nn_device_copy(device, NULL, part->average, self->average,
                              layout->ntotal * sizeof(float)));
    for (int s = 0; s < tr_optimizer_nslots(self->optimizer); s++)
        CM_TRY(nn_device_copy(device, NULL, part->slot[s], tr_optimizer_slot(self->optimizer, s),
                              layout->nparam * sizeof(float)));
    part->fetched = true;
    return nn_plan_prepare_all(self->plan, self->lane_weights);
}

static cm_status look_ahead(struct tr_engine *self, double keep)
{
    struct ln_lane *lane = self->lanes[0].run;
    self->part->fetched = false;
    CM_TRY(nn_device_average(self->cfg.device, lane, self->part->average, self->lane_weights,
                             self->cfg.layout->ntotal, keep));
    for (int op = 0; op < nn_plan_nops(self->plan); op++)
        CM_TRY(nn_plan_prepare(self->plan, op, lane, self->lane_weights));
    return tr_engine_sync_lanes(self);
}

const struct tr_engine_place tr_engine_device = {.lane_open = open_lane,
                                                 .event_open = open_event,
                                                 .timer_open = open_timer,
                                                 .open = tr_device_open,
                                                 .close = tr_device_close,
                                                 .plan = tr_device_plan,
                                                 .fill = fill,
                                                 .add = add,
                                                 .bucket = bucket,
                                                 .begin = begin,
                                                 .end = end,
                                                 .look_ahead = look_ahead,
                                                 .prepare = prepare,
                                                 .fetch = fetch};
