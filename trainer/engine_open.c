/* Building an engine: every buffer, lane and bucket that its steps will use. */
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "model/backend.h"
#include "trainer/engine_device.h"

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
    const struct nn_backend *backend = self->backend;
    CM_TRY(cm_alloc(&self->shards, (size_t)self->nshards, sizeof *self->shards, "shards"));
    CM_TRY(backend->alloc(backend, &self->results, (size_t)self->nshards * sizeof *self->results,
                          "shards' results"));
    for (int i = 0; i < self->nshards; i++) {
        struct tr_shard *s = &self->shards[i];
        CM_TRY(backend->alloc(backend, &s->rows, largest * sizeof *s->rows, "a shard's samples"));
        CM_TRY(
            backend->alloc(backend, &s->labels, largest * sizeof *s->labels, "a shard's labels"));
        CM_TRY(backend->alloc(backend, &s->augment, largest * sizeof *s->augment,
                              "a shard's augmentation"));
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
        struct tr_lane *lane = &self->lanes[i];
        char name[16];
        snprintf(name, sizeof name, "lane%d", i);
        CM_TRY(self->place->lane_open(self, &lane->run, name));
        CM_TRY(self->place->event_open(self, &lane->updated));
        for (int k = 0; k < 2; k++) {
            CM_TRY(self->place->event_open(self, &lane->sums[k].full));
            CM_TRY(self->place->event_open(self, &lane->sums[k].empty));
            for (int l = 0; l < levels; l++)
                CM_TRY(self->backend->alloc(self->backend, &lane->sums[k].level[l],
                                            largest * sizeof(float), "gradients of a shard"));
        }
    }
    return CM_OK;
}

#define BUCKET_KIB 1024 /* where nothing is measured */

/* Buckets close from the front of the arena as backward finishes ops; the statistics are the last
 * one. */
static cm_status open_buckets(struct tr_engine *self)
{
    int nops = nn_plan_nops(self->plan);
    size_t kib = (size_t)self->cfg.allreduce->bucket_kib, limit = self->cfg.bucket;
    if (limit == 0)
        limit = (kib > 0 ? kib : BUCKET_KIB) * 1024 / sizeof(float);
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
        struct tr_bucket *b = &self->buckets[self->nbuckets];
        CM_TRY(self->place->timer_open(self, &b->ready));
        *b =
            (struct tr_bucket){.after_op = op, .first = begin, .n = end - begin, .ready = b->ready};
        self->nbuckets++;
        begin = end;
    }
    return self->place->timer_open(self, &self->statistics_ready);
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
    return self->place->plan(self, &plan);
}

#define DEVICE_LANES 4 /* streams, unless train.threads says: a shard alone fills no large GPU */

static void choose_place(struct tr_engine *self)
{
    const struct tr_engine_config *cfg = &self->cfg;
    self->place = cfg->device ? &tr_engine_device : &tr_engine_host;
    self->backend = cfg->device                              ? nn_device_backend(cfg->device)
                    : strcmp(cfg->model->device, "ref") == 0 ? nn_backend_ref()
                                                             : nn_backend_cpu();
}

/* What needs no other rank. */
static cm_status make(struct tr_engine **out, const struct tr_engine_config *cfg)
{
    int ranks = ar_group_size(cfg->group);
    uint32_t shards;
    CM_TRY(
        tr_shard_count(&shards, cfg->allreduce->order == AR_ORDER_FAST, ranks, cfg->train->shards));
    if (cfg->samples.n == 0)
        return CM_FAIL(CM_ECONFIG, "no training sample is left (holdout or limit too large?)");

    CM_TRY(cm_fault("train.engine"));
    CM_TRY(cm_alloc(out, 1, sizeof **out, "engine"));
    struct tr_engine *self = *out;
    self->cfg = *cfg;
    choose_place(self);
    self->order = (struct tr_order){.seed = (uint64_t)cfg->train->seed,
                                    .n = cfg->samples.n,
                                    .batch = (uint32_t)cfg->train->batch,
                                    .drop_last = cfg->train->drop_last};
    self->ahead = 1;
    self->all_shards = shards;
    self->nshards = (int)shards / ranks;
    self->first_shard = ar_group_rank(cfg->group) * self->nshards;
    int nlanes = cfg->device && cfg->train->threads == 0 ? DEVICE_LANES : cfg->nlanes;
    self->nlanes = power_of_two_up_to(nlanes < self->nshards ? nlanes : self->nshards);
    if (self->nlanes < power_of_two_up_to(nlanes) && !cfg->device)
        cm_log_info("this rank has %d of %u shards: it uses %d of its %d threads", self->nshards,
                    shards, self->nlanes, cfg->nlanes);

    CM_TRY(tr_optimizer_open(&self->optimizer, cfg->train, cfg->layout));
    if (cfg->train->average_decay > 0)
        CM_TRY(cm_alloc_aligned(&self->average, cfg->layout->ntotal, sizeof(float),
                                "average weights"));
    return cm_alloc_aligned(&self->weights, cfg->layout->ntotal, sizeof(float), "weights");
}

/* What a step works with. */
static cm_status open_rest(struct tr_engine *self)
{
    CM_TRY(cm_fault("train.buffers"));
    CM_TRY(open_shards(self));
    CM_TRY(open_lanes(self));
    CM_TRY(open_buckets(self));
    size_t ntimes = (size_t)nn_plan_nops(self->plan) + TR_TIMES_EXTRA;
    return cm_alloc(&self->times, ntimes, sizeof *self->times, "timings");
}

/* A device's place asks the other ranks, so before that all must have come as far. Closing the sums
 * between their GPUs (device_sum.h) does, too, so a rank that fails later takes the others along.
 */
cm_status tr_engine_open(struct tr_engine **out, const struct tr_engine_config *cfg)
{
    struct tr_engine *self = NULL;
    *out = NULL;
    cm_status st = make(&self, cfg);
    if (cfg->device)
        st = ar_group_agree(cfg->group, st, "making room for the network");
    CM_GOTO(st, st, out);
    CM_GOTO(st, self->place->open(self), out);
    CM_GOTO(st, open_plan(self), out);
    st = open_rest(self);
    if (cfg->device)
        st = ar_group_agree(cfg->group, st, "making room for a step");
    CM_GOTO(st, st, out);
    *out = self;
    self = NULL;
out:
    tr_engine_close(&self);
    return st;
}

static void close_lane(const struct nn_backend *backend, struct tr_lane *lane)
{
    ln_lane_close(&lane->run);
    ln_event_close(&lane->updated);
    for (int k = 0; k < 2; k++) {
        ln_event_close(&lane->sums[k].full);
        ln_event_close(&lane->sums[k].empty);
        for (int l = 0; l < TR_MAX_LEVELS; l++)
            backend->release(backend, &lane->sums[k].level[l]);
    }
}

void tr_engine_close(struct tr_engine **e)
{
    struct tr_engine *self = *e;
    struct tr_outcome unwanted;
    if (!self)
        return;
    const struct nn_backend *backend = self->backend;
    while (self->nbegun > 0 && tr_engine_end(self, &unwanted) == CM_OK)
        ;
    /* All lanes before any event: a lane that still runs may wait for another one's. */
    for (int i = 0; self->lanes && i < self->nlanes; i++)
        ln_lane_close(&self->lanes[i].run);
    for (int i = 0; self->lanes && i < self->nlanes; i++)
        close_lane(backend, &self->lanes[i]);
    cm_free(&self->lanes);
    for (int i = 0; self->shards && i < self->nshards; i++) {
        backend->release(backend, &self->shards[i].rows);
        backend->release(backend, &self->shards[i].labels);
        backend->release(backend, &self->shards[i].augment);
    }
    backend->release(backend, &self->results);
    cm_free(&self->shards);
    for (int i = 0; i < self->nbuckets; i++)
        ln_event_close(&self->buckets[i].ready);
    ln_event_close(&self->statistics_ready);
    cm_free(&self->buckets);
    nn_plan_close(&self->plan);
    self->place->close(self);
    nn_engines_release(&self->engines);
    cm_free(&self->weights);
    cm_free(&self->average);
    cm_free(&self->times);
    tr_optimizer_close(&self->optimizer);
    cm_free(e);
}

float *tr_engine_weights(struct tr_engine *e)
{
    return e->weights;
}

const float *tr_engine_weights_in_place(const struct tr_engine *e)
{
    return e->lane_weights;
}

float *tr_engine_average(struct tr_engine *e)
{
    return e->average;
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

struct tr_sum_times tr_engine_sum_times(const struct tr_engine *e)
{
    struct ar_step_times group = ar_step_times(e->cfg.group);
    if (e->part && e->part->nccl) /* the group's are of the control word, beside the step */
        return e->sums;
    return (struct tr_sum_times){.busy_s = group.busy_s, .exposed_s = group.exposed_s};
}

cm_status tr_engine_prepare(struct tr_engine *e)
{
    return e->place->prepare(e);
}

cm_status tr_engine_look_ahead(struct tr_engine *e, double keep)
{
    return e->place->look_ahead(e, keep);
}

cm_status tr_engine_fetch(struct tr_engine *e)
{
    return e->place->fetch(e);
}

void tr_engine_set_scaling(struct tr_engine *e, const struct nn_step_state *scaling)
{
    e->scaling = *scaling;
}

const struct nn_engines *tr_engine_engines(const struct tr_engine *e)
{
    return &e->engines;
}

enum tr_graphs tr_engine_graphs(const struct tr_engine *e)
{
    return e->part ? e->part->graphs : TR_GRAPHS_OFF;
}

const char *tr_graphs_name(enum tr_graphs graphs)
{
    static const char *const names[] = {
        [TR_GRAPHS_ON] = "on", [TR_GRAPHS_OFF] = "off", [TR_GRAPHS_FAILED] = "failed"};
    return names[graphs];
}

void tr_engine_set_timing(struct tr_engine *e, bool on)
{
    e->timing = on && e->nlanes == 1;
}

const struct tr_op_time *tr_engine_times(const struct tr_engine *e)
{
    return e->times;
}
