/* The step: what lanes do, in which order it is enqueued, wherever they are; then what is a CPU's,
 * and what all ranks know afterwards. */
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/vec.h"
#include "model/backend.h"
#include "trainer/augment.h"
#include "trainer/engine_private.h"

#define STEP_TIMEOUT_MS 600000 /* of the lanes' own work; the group has deadlines of its own */

/* ---- tasks, each on the lane of its shard ---- */

static int lane_of(const struct tr_engine *self, int shard)
{
    return shard / (self->nshards / self->nlanes);
}

cm_status tr_engine_note_time(struct tr_engine *self, struct ln_lane *lane, int row, bool backward,
                              int64_t since_ns)
{
    if (!self->timing)
        return CM_OK;
    if (self->cfg.device) /* what the task enqueued */
        CM_TRY(ln_lane_sync(lane, cm_deadline_in_ms(STEP_TIMEOUT_MS)));
    double s = (double)(cm_now_ns() - since_ns) * 1e-9;
    if (backward)
        self->times[row].backward_s += s;
    else
        self->times[row].forward_s += s;
    return CM_OK;
}

/* Functions of the step and the position, so every lane works out its own. */
static cm_status fill_on_host(struct tr_engine *self, int shard)
{
    const struct tr_samples *samples = &self->cfg.samples;
    const struct tr_slice *slice = &self->slice;
    struct tr_shard *s = &self->shards[shard];
    uint32_t count;
    tr_shard_range(slice->n, self->all_shards, (uint32_t)(self->first_shard + shard), &s->first,
                   &count);
    if (self->cfg.draw)
        self->cfg.draw(self->cfg.draw_ctx, self->step, slice->first + s->first, count, s->rows);
    for (uint32_t i = 0; i < count; i++) {
        if (!self->cfg.draw)
            s->rows[i] =
                samples
                    ->id[tr_order_sample(&self->order, slice->epoch, slice->first + s->first + i)];
        s->labels[i] = samples->labels[s->rows[i]];
        s->augment[i] =
            tr_augment(self->cfg.train, slice->epoch, s->rows[i], self->cfg.spec->input.h);
    }
    self->results[shard] = (struct nn_result){0};
    s->batch = (struct nn_batch){.n = (int)count,
                                 .images = samples->images,
                                 .index = s->rows,
                                 .augment = s->augment,
                                 .labels = s->labels};
    return CM_OK;
}

static cm_status task_input(void *ctx, int64_t shard, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    struct tr_shard *s = &self->shards[shard];
    int lane = lane_of(self, (int)shard);
    int64_t t = cm_now_ns();
    CM_TRY(cm_fault("train.input"));
    CM_TRY(self->place->fill(self, (int)shard));
    CM_TRY(nn_plan_input(self->plan, (int)shard, self->lanes[lane].run, lane, &s->batch,
                         (uint32_t)self->step, s->first));
    return tr_engine_note_time(self, self->lanes[lane].run, nn_plan_nops(self->plan), false, t);
}

static cm_status task_forward(void *ctx, int64_t op, int64_t shard)
{
    struct tr_engine *self = ctx;
    int lane = lane_of(self, (int)shard);
    int64_t t = cm_now_ns();
    CM_TRY(nn_plan_forward(self->plan, (int)op, (int)shard, self->lanes[lane].run, lane));
    return tr_engine_note_time(self, self->lanes[lane].run, (int)op, false, t);
}

static cm_status task_loss(void *ctx, int64_t shard, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    int lane = lane_of(self, (int)shard);
    int64_t t = cm_now_ns();
    CM_TRY(
        nn_plan_loss(self->plan, (int)shard, self->lanes[lane].run, lane, &self->results[shard]));
    return tr_engine_note_time(self, self->lanes[lane].run, nn_plan_nops(self->plan) + 1, false, t);
}

static cm_status add_on_host(struct tr_engine *self, struct ln_lane *lane, float *dst,
                             const float *src, size_t n)
{
    (void)lane;
    if (src)
        cm_vec_add(dst, src, n);
    if (self->cfg.allreduce->compress)
        cm_vec_round_bf16(dst, n);
    return CM_OK;
}

/* Backward of one shard, then the additions that a binary counter makes when it counts this shard:
 * level[d] holds the sum of the d-th open subtree, older ones below. */
static cm_status task_backward(void *ctx, int64_t op, int64_t shard)
{
    struct tr_engine *self = ctx;
    int lane = lane_of(self, (int)shard);
    struct ln_lane *run = self->lanes[lane].run;
    struct tr_sums *sums = &self->lanes[lane].sums[op & 1];
    uint32_t position = (uint32_t)((int)shard % (self->nshards / self->nlanes));
    int depth = __builtin_popcount(position);
    size_t n = nn_plan_dparam(self->plan, (int)op);

    int64_t t = cm_now_ns();
    CM_TRY(nn_plan_backward(self->plan, (int)op, (int)shard, run, lane,
                            n ? sums->level[depth] : NULL));
    CM_TRY(tr_engine_note_time(self, run, (int)op, true, t));
    if (n == 0)
        return CM_OK;
    t = cm_now_ns();
    CM_TRY(self->place->add(self, run, sums->level[depth], NULL, n));
    for (uint32_t rest = position; rest & 1; rest >>= 1, depth--)
        CM_TRY(self->place->add(self, run, sums->level[depth - 1], sums->level[depth], n));
    return tr_engine_note_time(self, run, nn_plan_nops(self->plan) + 2, true, t);
}

/* Adds the subtree of lane `from` to that of the lane it pairs with; runs on the latter. */
static cm_status task_merge(void *ctx, int64_t op, int64_t from)
{
    struct tr_engine *self = ctx;
    int64_t to = from & (from - 1); /* without its lowest bit: the pair's left side */
    size_t n = nn_plan_dparam(self->plan, (int)op);
    return self->place->add(self, self->lanes[to].run, self->lanes[to].sums[op & 1].level[0],
                            self->lanes[from].sums[op & 1].level[0], n);
}

static cm_status task_finish(void *ctx, int64_t op, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    int64_t t = cm_now_ns();
    CM_TRY(nn_plan_finish(self->plan, (int)op, self->lanes[0].run,
                          self->lanes[0].sums[op & 1].level[0], self->lane_gradients));
    return tr_engine_note_time(self, self->lanes[0].run, nn_plan_nops(self->plan) + 2, true, t);
}

/* Share `part` of the parameters, cut at blocks of 4,096 elements. */
static cm_status task_update(void *ctx, int64_t part, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    size_t blocks = (self->cfg.layout->nparam + CM_VEC_BLOCK - 1) / CM_VEC_BLOCK;
    size_t begin = blocks * (size_t)part / (size_t)self->nlanes * CM_VEC_BLOCK;
    size_t end = blocks * (size_t)(part + 1) / (size_t)self->nlanes * CM_VEC_BLOCK;
    int64_t t = cm_now_ns();
    tr_optimizer_apply(self->optimizer, &self->update, self->weights, self->gradients, begin, end);
    return tr_engine_note_time(self, self->lanes[part].run, nn_plan_nops(self->plan) + 3, true, t);
}

static cm_status task_prepare(void *ctx, int64_t op, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    int64_t t = cm_now_ns();
    CM_TRY(nn_plan_prepare(self->plan, (int)op, self->lanes[op % self->nlanes].run, self->weights));
    return tr_engine_note_time(self, self->lanes[op % self->nlanes].run,
                               nn_plan_nops(self->plan) + 3, true, t);
}

/* ---- the step ---- */

void tr_engine_enqueue_forward(struct tr_engine *self)
{
    int nops = nn_plan_nops(self->plan);
    for (int s = 0; s < self->nshards; s++)
        ln_lane_run(self->lanes[lane_of(self, s)].run, task_input, self, s, 0);
    for (int op = 0; op < nops; op++)
        for (int s = 0; s < self->nshards; s++)
            ln_lane_run(self->lanes[lane_of(self, s)].run, task_forward, self, op, s);
    for (int s = 0; s < self->nshards; s++)
        ln_lane_run(self->lanes[lane_of(self, s)].run, task_loss, self, s, 0);
}

/* The upper levels of the rank's tree: lanes pairwise, neighbours first, into lane 0. */
static void enqueue_merge(struct tr_engine *self, int op)
{
    for (int i = 0; i < self->nlanes; i++)
        ln_lane_record(self->lanes[i].run, self->lanes[i].sums[op & 1].full);
    for (int step = 1; step < self->nlanes; step *= 2)
        for (int to = 0; to < self->nlanes; to += 2 * step) {
            struct tr_sums *from = &self->lanes[to + step].sums[op & 1];
            ln_lane_wait(self->lanes[to].run, from->full);
            ln_lane_run(self->lanes[to].run, task_merge, self, op, to + step);
            ln_lane_record(self->lanes[to].run, from->empty);
            ln_lane_record(self->lanes[to].run, self->lanes[to].sums[op & 1].full);
        }
}

void tr_engine_enqueue_backward(struct tr_engine *self)
{
    int nops = nn_plan_nops(self->plan);
    int bucket = 0;
    bool used[2] = {false, false}; /* in this step: only then there is something to wait for */
    for (int op = nops - 1; op >= 0; op--) {
        bool has_gradient = nn_plan_dparam(self->plan, op) > 0;
        for (int i = 1; i < self->nlanes && has_gradient && used[op & 1]; i++)
            ln_lane_wait(self->lanes[i].run, self->lanes[i].sums[op & 1].empty);
        used[op & 1] |= has_gradient;
        for (int s = 0; s < self->nshards; s++)
            ln_lane_run(self->lanes[lane_of(self, s)].run, task_backward, self, op, s);
        if (has_gradient) {
            enqueue_merge(self, op);
            ln_lane_run(self->lanes[0].run, task_finish, self, op, 0);
        }
        if (bucket < self->nbuckets && self->buckets[bucket].after_op == op) {
            struct tr_bucket *b = &self->buckets[bucket++];
            ln_lane_record(self->lanes[0].run, b->ready);
            self->place->bucket(self, b->first, b->n, b->ready);
        }
    }
    const struct nn_layout *layout = self->cfg.layout;
    ln_lane_record(self->lanes[0].run, self->statistics_ready);
    self->place->bucket(self, layout->nparam, layout->ntotal - layout->nparam,
                        self->statistics_ready);
}

cm_status tr_engine_sync_lanes(struct tr_engine *self)
{
    struct cm_deadline deadline = cm_deadline_in_ms(STEP_TIMEOUT_MS);
    cm_status st = CM_OK;
    for (int i = 0; i < self->nlanes; i++) {
        cm_status lane = ln_lane_sync(self->lanes[i].run, deadline);
        if (st == CM_OK)
            st = lane;
    }
    return st;
}

/* ---- on a CPU ---- */

static cm_status open_thread(struct tr_engine *self, struct ln_lane **out, const char *name)
{
    (void)self;
    struct ln_config cfg = {.name = name, .core = -1, .on_start = nn_cpu_lane_start};
    return ln_lane_open(out, &cfg);
}

static cm_status open_event(struct tr_engine *self, struct ln_event **out)
{
    (void)self;
    return ln_event_open(out);
}

static cm_status open_arenas(struct tr_engine *self)
{
    CM_TRY(
        cm_alloc_aligned(&self->gradients, self->cfg.layout->ntotal, sizeof(float), "gradients"));
    self->lane_weights = self->weights;
    self->lane_gradients = self->gradients;
    return tr_optimizer_make_room(self->optimizer);
}

static void close_arenas(struct tr_engine *self)
{
    cm_free(&self->gradients);
}

static cm_status open_plan(struct tr_engine *self, struct nn_plan_config *cfg)
{
    return nn_plan_open(&self->plan, self->cfg.spec, self->cfg.layout, cfg);
}

static void sum_bucket(struct tr_engine *self, size_t first, size_t n, struct ln_event *ready)
{
    ar_step_bucket(self->cfg.group, self->gradients + first, n, ready);
}

static cm_status prepare_all(struct tr_engine *self)
{
    return nn_plan_prepare_all(self->plan, self->weights);
}

static cm_status look_ahead_on_host(struct tr_engine *self, double keep)
{
    size_t n = self->cfg.layout->ntotal;
    cm_vec_axpby(self->average, (float)(1 - keep), self->weights, (float)keep, n);
    memcpy(self->weights, self->average, n * sizeof(float));
    return prepare_all(self);
}

static cm_status fetch_nothing(struct tr_engine *self)
{
    (void)self;
    return CM_OK;
}

enum { SUM_LOSS, SUM_CORRECT, SUM_COUNT };

/* The rank's own part of the tail: its shards' results in the tree's order. nshards is a power of
 * two. */
static struct ar_tail local_tail(const struct tr_engine *self, uint32_t raise)
{
    double node[1024][3];
    int n = self->nshards;
    for (int s = 0; s < n; s++) {
        const struct nn_result *r = &self->results[s];
        node[s][SUM_LOSS] = r->loss;
        node[s][SUM_CORRECT] = (double)r->correct;
        node[s][SUM_COUNT] = (double)r->count;
    }
    for (; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++)
            for (int k = 0; k < 3; k++)
                node[i][k] = node[2 * i][k] + node[2 * i + 1][k];
    struct ar_tail tail = {.bits = raise};
    memcpy(tail.sum, node[0], sizeof node[0]);
    return tail;
}

static void enqueue_update(struct tr_engine *self)
{
    for (int i = 0; i < self->nlanes; i++) {
        ln_lane_run(self->lanes[i].run, task_update, self, i, 0);
        ln_lane_record(self->lanes[i].run, self->lanes[i].updated);
    }
    for (int i = 0; i < self->nlanes; i++)
        for (int j = 0; j < self->nlanes; j++)
            if (j != i)
                ln_lane_wait(self->lanes[i].run, self->lanes[j].updated);
    for (int op = 0; op < nn_plan_nops(self->plan); op++)
        ln_lane_run(self->lanes[op % self->nlanes].run, task_prepare, self, op, 0);
}

static void begin_on_host(struct tr_engine *e, int turn)
{
    ar_step_begin(e->cfg.group, e->begun[turn].step);
    tr_engine_enqueue_forward(e);
    tr_engine_enqueue_backward(e);
}

static cm_status end_on_host(struct tr_engine *e, int turn, struct tr_outcome *outcome)
{
    const struct tr_begun *b = &e->begun[turn];
    cm_status own = tr_engine_sync_lanes(e);
    if (own == CM_ETIMEDOUT)
        return own; /* lanes still write what would be summed: only leaving is left */
    struct ar_tail tail = local_tail(e, own == CM_OK ? b->raise : b->raise | TR_BIT_FAILED);
    CM_TRY(ar_step_end(e->cfg.group, &tail));
    if (tail.bits & TR_BIT_FAILED)
        return ar_group_agree(e->cfg.group, own, "computing a step");

    double count = tail.sum[SUM_COUNT];
    *outcome = (struct tr_outcome){.loss = tail.sum[SUM_LOSS],
                                   .correct = (int64_t)tail.sum[SUM_CORRECT],
                                   .count = (int64_t)count,
                                   .bits = tail.bits,
                                   .lr = b->lr};
    CM_TRY(tr_gradient_check(e, b->step, outcome->loss));
    e->update = (struct tr_update){
        .lr = b->lr,
        .scale = tr_gradient_scale(e, count, &outcome->grad_norm),
        .epoch = (double)b->step / (double)tr_order_steps_per_epoch(&e->order),
        .step = b->step,
    };
    tr_gradient_statistics(e, count);
    enqueue_update(e);
    return tr_engine_sync_lanes(e);
}

const struct tr_engine_place tr_engine_host = {.lane_open = open_thread,
                                               .event_open = open_event,
                                               .timer_open = open_event,
                                               .open = open_arenas,
                                               .close = close_arenas,
                                               .plan = open_plan,
                                               .fill = fill_on_host,
                                               .add = add_on_host,
                                               .bucket = sum_bucket,
                                               .begin = begin_on_host,
                                               .end = end_on_host,
                                               .look_ahead = look_ahead_on_host,
                                               .prepare = prepare_all,
                                               .fetch = fetch_nothing};

/* ---- anywhere ---- */

int tr_engine_ahead(const struct tr_engine *e)
{
    return e->timing ? 1 : e->ahead;
}

int tr_engine_begun(const struct tr_engine *e)
{
    return e->nbegun;
}

void tr_engine_enqueue(struct tr_engine *e, int turn)
{
    e->step = e->begun[turn].step;
    e->slice = tr_order_slice(&e->order, e->step);
    e->place->begin(e, turn);
}

void tr_engine_begin(struct tr_engine *e, int64_t step, double lr, uint32_t raise)
{
    int turn = (e->oldest + e->nbegun++) % TR_AHEAD;
    e->begun[turn] =
        (struct tr_begun){.step = step, .lr = lr, .raise = raise, .began_ns = cm_now_ns()};
    if (e->timing)
        memset(e->times, 0, ((size_t)nn_plan_nops(e->plan) + TR_TIMES_EXTRA) * sizeof *e->times);
    tr_engine_enqueue(e, turn);
}

cm_status tr_engine_end(struct tr_engine *e, struct tr_outcome *outcome)
{
    const struct tr_begun *b = &e->begun[e->oldest];
    cm_status st = e->place->end(e, e->oldest, outcome);
    int64_t now_ns = cm_now_ns(), from_ns = b->began_ns > e->ended_ns ? b->began_ns : e->ended_ns;
    if (st != CM_OK) {
        e->nbegun = 0;
        return st;
    }
    outcome->seconds = (double)(now_ns - from_ns) * 1e-9;
    e->ended_ns = now_ns;
    e->oldest = (e->oldest + 1) % TR_AHEAD;
    e->nbegun--;
    return CM_OK;
}

cm_status tr_engine_step(struct tr_engine *e, int64_t step, double lr, uint32_t raise,
                         struct tr_outcome *outcome)
{
    tr_engine_begin(e, step, lr, raise);
    return tr_engine_end(e, outcome);
}
