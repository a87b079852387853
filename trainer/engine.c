#include "trainer/engine.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/lane.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/vec.h"
#include "model/backend.h"
#include "trainer/augment.h"

#define STEP_TIMEOUT_MS 600000 /* of the lanes' own work; the group has deadlines of its own */
#define MAX_LEVELS      12     /* of the tree inside a lane: up to 2^11 shards */

/* One virtual shard held by this rank; written and read by its lane. */
struct shard {
    struct nn_batch batch;
    struct nn_result result;
    uint32_t *rows;
    int32_t *labels;
    struct nn_augment *augment;
    uint32_t first; /* of its samples in the global batch */
};

/* Where a lane sums the gradients of its shards for one op. Two sets, used by turns, so that a lane
 * can start the next op while its sum of the last one is still being read. */
struct sums {
    float *level[MAX_LEVELS];
    struct ln_event *full;  /* level[0] holds the lane's subtree */
    struct ln_event *empty; /* the lane above has read it */
};

struct lane {
    struct ln_lane *run;
    struct sums sums[2];
    struct ln_event *updated; /* its part of the weights is new */
};

struct bucket {
    int after_op; /* complete once this op is finished */
    size_t first, n;
    struct ln_event *ready;
};

struct tr_engine {
    struct tr_engine_config cfg;
    const struct nn_backend *backend;
    struct tr_order order;
    struct nn_plan *plan;
    struct tr_optimizer *optimizer;
    float *weights, *gradients;       /* layout->ntotal floats */
    uint32_t all_shards;              /* V */
    int nshards, nlanes, first_shard; /* of this rank */
    struct shard *shards;
    struct lane *lanes;
    int nbuckets;
    struct bucket *buckets;
    struct ln_event *statistics_ready;
    /* The step that runs; written while the lanes are idle. */
    int64_t step;
    struct tr_slice slice;
    struct tr_update update;
    bool timing;
    struct tr_op_time *times; /* written by lanes; with one lane only */
};

/* ---- life ---- */

static int power_of_two_up_to(int limit)
{
    int p = 1;
    while (2 * p <= limit)
        p *= 2;
    return p;
}

static cm_status open_shards(struct tr_engine *self)
{
    size_t largest = (self->order.batch + self->all_shards - 1) / self->all_shards;
    CM_TRY(cm_alloc(&self->shards, (size_t)self->nshards, sizeof *self->shards, "shards"));
    for (int i = 0; i < self->nshards; i++) {
        struct shard *s = &self->shards[i];
        CM_TRY(cm_alloc(&s->rows, largest, sizeof *s->rows, "a shard's samples"));
        CM_TRY(cm_alloc(&s->labels, largest, sizeof *s->labels, "a shard's labels"));
        CM_TRY(cm_alloc(&s->augment, largest, sizeof *s->augment, "a shard's augmentation"));
    }
    return CM_OK;
}

static cm_status open_lanes(struct tr_engine *self)
{
    size_t largest = 0;
    for (int op = 0; op < nn_plan_nops(self->plan); op++)
        if (nn_plan_dparam(self->plan, op) > largest)
            largest = nn_plan_dparam(self->plan, op);
    int levels = 1;
    while ((1 << (levels - 1)) < self->nshards / self->nlanes)
        levels++;

    CM_TRY(cm_alloc(&self->lanes, (size_t)self->nlanes, sizeof *self->lanes, "lanes"));
    for (int i = 0; i < self->nlanes; i++) {
        struct lane *lane = &self->lanes[i];
        char name[16];
        snprintf(name, sizeof name, "lane%d", i);
        struct ln_config cfg = {.name = name, .core = -1, .on_start = nn_cpu_lane_start};
        CM_TRY(ln_lane_open(&lane->run, &cfg));
        CM_TRY(ln_event_open(&lane->updated));
        for (int k = 0; k < 2; k++) {
            CM_TRY(ln_event_open(&lane->sums[k].full));
            CM_TRY(ln_event_open(&lane->sums[k].empty));
            for (int l = 0; l < levels; l++)
                CM_TRY(cm_alloc_aligned(&lane->sums[k].level[l], largest, sizeof(float),
                                        "gradients of a shard"));
        }
    }
    return CM_OK;
}

/* Buckets close from the front of the arena as backward finishes ops; the statistics are the last
 * one. */
static cm_status open_buckets(struct tr_engine *self)
{
    int nops = nn_plan_nops(self->plan);
    size_t limit = (size_t)self->cfg.allreduce->bucket_kib * 1024 / sizeof(float);
    CM_TRY(cm_alloc(&self->buckets, (size_t)nops, sizeof *self->buckets, "buckets"));
    size_t begin = 0, end = 0;
    for (int op = nops - 1; op >= 0; op--) {
        size_t first, count;
        nn_plan_range(self->plan, op, &first, &count);
        if (count)
            end = first + count;
        if (end - begin < limit && op > 0)
            continue;
        if (op == 0)
            end = self->cfg.layout->nparam;
        struct bucket *b = &self->buckets[self->nbuckets];
        CM_TRY(ln_event_open(&b->ready));
        *b = (struct bucket){.after_op = op, .first = begin, .n = end - begin, .ready = b->ready};
        self->nbuckets++;
        begin = end;
    }
    return ln_event_open(&self->statistics_ready);
}

static cm_status open_plan(struct tr_engine *self)
{
    const struct tr_train_config *train = self->cfg.train;
    int sizes[TR_SHARD_SIZES];
    int nsizes = tr_shard_sizes(&self->order, self->all_shards, sizes);
    if (nsizes == 0)
        return CM_FAIL(CM_ECONFIG, "train.batch %u: no step has a sample (%u training samples%s)",
                       self->order.batch, self->order.n,
                       train->drop_last ? ", and drop_last leaves out the only batch" : "");
    struct nn_plan_config plan = {
        .backend = self->backend,
        .precision = (enum nn_precision)self->cfg.model->precision,
        .training = true,
        .nshards = self->nshards,
        .batches = sizes,
        .nbatches = nsizes,
        .nlanes = self->nlanes,
        .threads = 1,
        .pad_mode = (enum nn_pad_mode)train->pad_mode,
        .loss = (enum nn_loss_kind)train->loss,
        .label_smoothing = train->label_smoothing,
        .seed = (uint64_t)train->seed,
    };
    return nn_plan_open(&self->plan, self->cfg.spec, self->cfg.layout, &plan);
}

cm_status tr_engine_open(struct tr_engine **out, const struct tr_engine_config *cfg)
{
    *out = NULL;
    int ranks = ar_group_size(cfg->group);
    uint32_t shards;
    CM_TRY(
        tr_shard_count(&shards, cfg->allreduce->order == AR_ORDER_FAST, ranks, cfg->train->shards));
    if (cfg->samples.n == 0)
        return CM_FAIL(CM_ECONFIG, "no training sample is left (holdout or limit too large?)");

    struct tr_engine *self;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "engine"));
    self->cfg = *cfg;
    self->backend = cfg->model->device == TR_DEVICE_REF ? nn_backend_ref() : nn_backend_cpu();
    self->order = (struct tr_order){.seed = (uint64_t)cfg->train->seed,
                                    .n = cfg->samples.n,
                                    .batch = (uint32_t)cfg->train->batch,
                                    .drop_last = cfg->train->drop_last};
    self->all_shards = shards;
    self->nshards = (int)shards / ranks;
    self->first_shard = ar_group_rank(cfg->group) * self->nshards;
    self->nlanes = power_of_two_up_to(cfg->nlanes < self->nshards ? cfg->nlanes : self->nshards);
    if (self->nlanes < power_of_two_up_to(cfg->nlanes))
        cm_log_info("this rank has %d of %u shards: it uses %d of its %d threads", self->nshards,
                    shards, self->nlanes, cfg->nlanes);

    cm_status st;
    CM_GOTO(st, open_plan(self), out);
    CM_GOTO(st, tr_optimizer_open(&self->optimizer, cfg->train, cfg->layout), out);
    CM_GOTO(st, cm_alloc_aligned(&self->weights, cfg->layout->ntotal, sizeof(float), "weights"),
            out);
    CM_GOTO(st, cm_alloc_aligned(&self->gradients, cfg->layout->ntotal, sizeof(float), "gradients"),
            out);
    CM_GOTO(st, open_shards(self), out);
    CM_GOTO(st, open_lanes(self), out);
    CM_GOTO(st, open_buckets(self), out);
    size_t ntimes = (size_t)nn_plan_nops(self->plan) + TR_TIMES_EXTRA;
    CM_GOTO(st, cm_alloc(&self->times, ntimes, sizeof *self->times, "timings"), out);
    *out = self;
    self = NULL;
out:
    tr_engine_close(&self);
    return st;
}

static void close_lane(struct lane *lane)
{
    ln_lane_close(&lane->run);
    ln_event_close(&lane->updated);
    for (int k = 0; k < 2; k++) {
        ln_event_close(&lane->sums[k].full);
        ln_event_close(&lane->sums[k].empty);
        for (int l = 0; l < MAX_LEVELS; l++)
            cm_free(&lane->sums[k].level[l]);
    }
}

void tr_engine_close(struct tr_engine **e)
{
    struct tr_engine *self = *e;
    if (!self)
        return;
    /* All lanes before any event: a lane that still runs may wait for another one's. */
    for (int i = 0; self->lanes && i < self->nlanes; i++)
        ln_lane_close(&self->lanes[i].run);
    for (int i = 0; self->lanes && i < self->nlanes; i++)
        close_lane(&self->lanes[i]);
    cm_free(&self->lanes);
    for (int i = 0; self->shards && i < self->nshards; i++) {
        cm_free(&self->shards[i].rows);
        cm_free(&self->shards[i].labels);
        cm_free(&self->shards[i].augment);
    }
    cm_free(&self->shards);
    for (int i = 0; i < self->nbuckets; i++)
        ln_event_close(&self->buckets[i].ready);
    ln_event_close(&self->statistics_ready);
    cm_free(&self->buckets);
    cm_free(&self->weights);
    cm_free(&self->gradients);
    cm_free(&self->times);
    tr_optimizer_close(&self->optimizer);
    nn_plan_close(&self->plan);
    cm_free(e);
}

float *tr_engine_weights(struct tr_engine *e)
{
    return e->weights;
}

struct tr_optimizer *tr_engine_optimizer(struct tr_engine *e)
{
    return e->optimizer;
}

const struct tr_order *tr_engine_order(const struct tr_engine *e)
{
    return &e->order;
}

const struct nn_plan *tr_engine_plan(const struct tr_engine *e)
{
    return e->plan;
}

int tr_engine_nlanes(const struct tr_engine *e)
{
    return e->nlanes;
}

cm_status tr_engine_prepare(struct tr_engine *e)
{
    return nn_plan_prepare_all(e->plan, e->weights);
}

void tr_engine_set_timing(struct tr_engine *e, bool on)
{
    e->timing = on && e->nlanes == 1;
}

const struct tr_op_time *tr_engine_times(const struct tr_engine *e)
{
    return e->times;
}

/* ---- tasks, each on the lane of its shard ---- */

static int lane_of(const struct tr_engine *self, int shard)
{
    return shard / (self->nshards / self->nlanes);
}

static void note_time(struct tr_engine *self, int row, bool backward, int64_t since_ns)
{
    if (!self->timing)
        return;
    double s = (double)(cm_now_ns() - since_ns) * 1e-9;
    if (backward)
        self->times[row].backward_s += s;
    else
        self->times[row].forward_s += s;
}

/* Which samples a shard takes, and how they look: functions of the step and the position, so every
 * lane works out its own. */
static void fill_shard(struct tr_engine *self, int shard)
{
    const struct tr_samples *samples = &self->cfg.samples;
    const struct tr_slice *slice = &self->slice;
    struct shard *s = &self->shards[shard];
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
    s->result = (struct nn_result){0};
    s->batch = (struct nn_batch){.n = (int)count,
                                 .images = samples->images,
                                 .index = s->rows,
                                 .augment = s->augment,
                                 .labels = s->labels};
}

static cm_status task_input(void *ctx, int64_t shard, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    struct shard *s = &self->shards[shard];
    int lane = lane_of(self, (int)shard);
    int64_t t = cm_now_ns();
    CM_TRY(cm_fault("train.input"));
    fill_shard(self, (int)shard);
    CM_TRY(nn_plan_input(self->plan, (int)shard, self->lanes[lane].run, lane, &s->batch,
                         (uint32_t)self->step, s->first));
    note_time(self, nn_plan_nops(self->plan), false, t);
    return CM_OK;
}

static cm_status task_forward(void *ctx, int64_t op, int64_t shard)
{
    struct tr_engine *self = ctx;
    int lane = lane_of(self, (int)shard);
    int64_t t = cm_now_ns();
    CM_TRY(nn_plan_forward(self->plan, (int)op, (int)shard, self->lanes[lane].run, lane));
    note_time(self, (int)op, false, t);
    return CM_OK;
}

static cm_status task_loss(void *ctx, int64_t shard, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    int lane = lane_of(self, (int)shard);
    int64_t t = cm_now_ns();
    CM_TRY(nn_plan_loss(self->plan, (int)shard, self->lanes[lane].run, lane,
                        &self->shards[shard].result));
    note_time(self, nn_plan_nops(self->plan) + 1, false, t);
    return CM_OK;
}

static void round_node(const struct tr_engine *self, float *node, size_t n)
{
    if (self->cfg.allreduce->compress)
        cm_vec_round_bf16(node, n);
}

/* Backward of one shard, then the additions that a binary counter makes when it counts this shard:
 * level[d] holds the sum of the d-th open subtree, older ones below. */
static cm_status task_backward(void *ctx, int64_t op, int64_t shard)
{
    struct tr_engine *self = ctx;
    int lane = lane_of(self, (int)shard);
    struct sums *sums = &self->lanes[lane].sums[op & 1];
    uint32_t position = (uint32_t)((int)shard % (self->nshards / self->nlanes));
    int depth = __builtin_popcount(position);
    size_t n = nn_plan_dparam(self->plan, (int)op);

    int64_t t = cm_now_ns();
    CM_TRY(nn_plan_backward(self->plan, (int)op, (int)shard, self->lanes[lane].run, lane,
                            n ? sums->level[depth] : NULL));
    note_time(self, (int)op, true, t);
    if (n == 0)
        return CM_OK;
    t = cm_now_ns();
    round_node(self, sums->level[depth], n);
    for (uint32_t rest = position; rest & 1; rest >>= 1, depth--) {
        cm_vec_add(sums->level[depth - 1], sums->level[depth], n);
        round_node(self, sums->level[depth - 1], n);
    }
    note_time(self, nn_plan_nops(self->plan) + 2, true, t);
    return CM_OK;
}

/* Adds the subtree of lane `from` to that of the lane it pairs with; runs on the latter. */
static cm_status task_merge(void *ctx, int64_t op, int64_t from)
{
    struct tr_engine *self = ctx;
    int64_t to = from & (from - 1); /* without its lowest bit: the pair's left side */
    size_t n = nn_plan_dparam(self->plan, (int)op);
    float *sum = self->lanes[to].sums[op & 1].level[0];
    cm_vec_add(sum, self->lanes[from].sums[op & 1].level[0], n);
    round_node(self, sum, n);
    return CM_OK;
}

static cm_status task_finish(void *ctx, int64_t op, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    int64_t t = cm_now_ns();
    CM_TRY(
        nn_plan_finish(self->plan, (int)op, self->lanes[0].sums[op & 1].level[0], self->gradients));
    note_time(self, nn_plan_nops(self->plan) + 2, true, t);
    return CM_OK;
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
    note_time(self, nn_plan_nops(self->plan) + 3, true, t);
    return CM_OK;
}

static cm_status task_prepare(void *ctx, int64_t op, int64_t unused)
{
    (void)unused;
    struct tr_engine *self = ctx;
    int64_t t = cm_now_ns();
    CM_TRY(nn_plan_prepare(self->plan, (int)op, self->weights));
    note_time(self, nn_plan_nops(self->plan) + 3, true, t);
    return CM_OK;
}

/* ---- the step ---- */

static void enqueue_forward(struct tr_engine *self)
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
            struct sums *from = &self->lanes[to + step].sums[op & 1];
            ln_lane_wait(self->lanes[to].run, from->full);
            ln_lane_run(self->lanes[to].run, task_merge, self, op, to + step);
            ln_lane_record(self->lanes[to].run, from->empty);
            ln_lane_record(self->lanes[to].run, self->lanes[to].sums[op & 1].full);
        }
}

static void enqueue_backward(struct tr_engine *self)
{
    int nops = nn_plan_nops(self->plan);
    int bucket = 0;
    for (int op = nops - 1; op >= 0; op--) {
        bool has_gradient = nn_plan_dparam(self->plan, op) > 0;
        for (int i = 0; i < self->nlanes && has_gradient; i++)
            ln_lane_wait(self->lanes[i].run, self->lanes[i].sums[op & 1].empty);
        for (int s = 0; s < self->nshards; s++)
            ln_lane_run(self->lanes[lane_of(self, s)].run, task_backward, self, op, s);
        if (has_gradient) {
            enqueue_merge(self, op);
            ln_lane_run(self->lanes[0].run, task_finish, self, op, 0);
        }
        if (bucket < self->nbuckets && self->buckets[bucket].after_op == op) {
            struct bucket *b = &self->buckets[bucket++];
            ln_lane_record(self->lanes[0].run, b->ready);
            ar_step_bucket(self->cfg.group, self->gradients + b->first, b->n, b->ready);
        }
    }
    const struct nn_layout *layout = self->cfg.layout;
    ln_lane_record(self->lanes[0].run, self->statistics_ready);
    ar_step_bucket(self->cfg.group, self->gradients + layout->nparam,
                   layout->ntotal - layout->nparam, self->statistics_ready);
}

static cm_status sync_lanes(struct tr_engine *self)
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

enum { SUM_LOSS, SUM_CORRECT, SUM_COUNT };

/* The rank's own part of the tail: its shards' results in the tree's order. nshards is a power of
 * two. */
static struct ar_tail local_tail(const struct tr_engine *self, uint32_t raise)
{
    double node[1024][3];
    int n = self->nshards;
    for (int s = 0; s < n; s++) {
        const struct nn_result *r = &self->shards[s].result;
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

/* All ranks hold the same sums, so all find the same fault. */
static cm_status check_finite(const struct tr_engine *self, double loss)
{
    const struct nn_layout *layout = self->cfg.layout;
    if (isfinite(loss) && cm_vec_finite(self->gradients, layout->ntotal))
        return CM_OK;
    /* The arena is in the order in which backward finishes tensors: the first bad one is where it
     * began. */
    const char *where = NULL;
    for (size_t t = 0; t < layout->ntensors && !where; t++)
        if (!cm_vec_finite(self->gradients + layout->tensors[t].offset, layout->tensors[t].n))
            where = layout->tensors[t].name;
    return CM_FAIL(
        CM_ENUMERIC,
        "step %lld: loss %g, first gradient that is not finite: %s; lower train.lr or set "
        "train.clip_norm",
        (long long)self->step, loss, where ? where : "none");
}

static double gradient_scale(struct tr_engine *self, double count, double *norm)
{
    const struct tr_train_config *train = self->cfg.train;
    double scale = train->reduction == 0 ? 1 / count : 1;
    *norm = (double)NAN;
    if (train->clip_norm > 0) {
        *norm = scale * sqrt(cm_vec_sum_squares(self->gradients, self->cfg.layout->nparam));
        if (*norm > train->clip_norm)
            scale *= train->clip_norm / *norm;
    }
    return scale;
}

/* running = (1 - m) running + m * (count-weighted mean over the shards) */
static void update_statistics(struct tr_engine *self, double count)
{
    const struct nn_layout *layout = self->cfg.layout;
    for (size_t t = 0; t < layout->ntensors; t++) {
        const struct nn_tensor *tensor = &layout->tensors[t];
        if (tensor->role != NN_RUNNING_MEAN && tensor->role != NN_RUNNING_VAR)
            continue;
        double m = self->cfg.spec->nodes[tensor->node].momentum;
        cm_vec_axpby(self->weights + tensor->offset, (float)(m / count),
                     self->gradients + tensor->offset, (float)(1 - m), tensor->n);
    }
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

cm_status tr_engine_step(struct tr_engine *e, int64_t step, double lr, uint32_t raise,
                         struct tr_outcome *outcome)
{
    int64_t began = cm_now_ns();
    e->step = step;
    e->slice = tr_order_slice(&e->order, step);
    if (e->timing)
        memset(e->times, 0, ((size_t)nn_plan_nops(e->plan) + TR_TIMES_EXTRA) * sizeof *e->times);

    ar_step_begin(e->cfg.group, step);
    enqueue_forward(e);
    enqueue_backward(e);
    cm_status own = sync_lanes(e);
    if (own == CM_ETIMEDOUT)
        return own; /* lanes still write what would be summed: only leaving is left */
    struct ar_tail tail = local_tail(e, own == CM_OK ? raise : raise | TR_BIT_FAILED);
    CM_TRY(ar_step_end(e->cfg.group, &tail));
    if (tail.bits & TR_BIT_FAILED)
        return ar_group_agree(e->cfg.group, own, "computing a step");

    double count = tail.sum[SUM_COUNT];
    *outcome = (struct tr_outcome){.loss = tail.sum[SUM_LOSS],
                                   .correct = (int64_t)tail.sum[SUM_CORRECT],
                                   .count = (int64_t)count,
                                   .bits = tail.bits,
                                   .lr = lr};
    CM_TRY(check_finite(e, outcome->loss));
    e->update = (struct tr_update){
        .lr = lr,
        .scale = gradient_scale(e, count, &outcome->grad_norm),
        .epoch = (double)step / (double)tr_order_steps_per_epoch(&e->order),
        .step = step,
    };
    update_statistics(e, count);
    enqueue_update(e);
    CM_TRY(sync_lanes(e));
    outcome->seconds = (double)(cm_now_ns() - began) * 1e-9;
    return CM_OK;
}
