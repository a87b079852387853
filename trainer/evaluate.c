#include "trainer/evaluate.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/file.h"
#include "common/lane.h"
#include "common/mem.h"
#include "model/backend.h"
#include "trainer/evaluate_device.h"
#include "trainer/stop.h"

#define CHUNK_TIMEOUT_MS 600000

static const struct {
    struct nn_augment augment;
    float weight;
} views[] = {
    {{0}, 0.25f},
    {{.flip = 1}, 0.25f},
    {{.dy = -1, .dx = -1}, 0.125f},
    {{.dy = 1, .dx = 1}, 0.125f},
    {{.flip = 1, .dy = -1, .dx = -1}, 0.125f},
    {{.flip = 1, .dy = 1, .dx = 1}, 0.125f},
};

/* What one lane works with. */
struct desk {
    struct ln_lane *lane;
    uint32_t index[TR_EVAL_CHUNK];
    int32_t labels[TR_EVAL_CHUNK];
    struct nn_augment augment[TR_EVAL_CHUNK];
    float *logits, *sum; /* (chunk, classes) */
};

/* A chunk's outcome: what ranks exchange. */
struct chunk {
    double loss;
    int32_t predicted[TR_EVAL_CHUNK];
};

struct tr_evaluator {
    struct tr_evaluator_config cfg;
    struct nn_plan *plan;
    struct desk *desks;     /* nlanes */
    struct tr_stage *stage; /* NULL: on the host */

    /* the evaluation that is running */
    const uint8_t *images;
    const int32_t *labels;
    const uint32_t *rows;
    uint32_t n;
    struct chunk *mine, *all; /* this rank's chunks, in order; those of all ranks, by rank */
    size_t capacity;          /* of a rank */
    atomic_bool stopped;      /* a lane saw the wish to stop and left chunks out */
};

static cm_status open_desk(const struct tr_evaluator *self, int number)
{
    char name[16];
    struct desk *desk = &self->desks[number];
    size_t nlogits = (size_t)TR_EVAL_CHUNK * (size_t)self->cfg.spec->nclasses;
    snprintf(name, sizeof name, "eval%d", number);
    struct ln_config lane = {.name = name, .core = -1, .on_start = nn_cpu_lane_start};
    CM_TRY(self->cfg.device ? nn_device_lane_open(self->cfg.device, &desk->lane, name, false)
                            : ln_lane_open(&desk->lane, &lane));
    CM_TRY(cm_alloc(&desk->logits, nlogits, sizeof(float), "logits"));
    return cm_alloc(&desk->sum, nlogits, sizeof(float), "logits");
}

cm_status tr_evaluator_open(struct tr_evaluator **out, const struct tr_evaluator_config *cfg)
{
    *out = NULL;
    struct tr_evaluator *self;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "evaluator"));
    self->cfg = *cfg;
    static const int batches[] = {TR_EVAL_CHUNK};
    struct nn_plan_config plan = {
        .backend = cfg->backend,
        .precision = cfg->precision,
        .training = false,
        .nshards = cfg->nlanes,
        .batches = batches,
        .nbatches = 1,
        .nlanes = cfg->nlanes,
        .threads = 1,
        .pad_mode = NN_PAD_REFLECT,
    };
    cm_status st;
    CM_GOTO(st, nn_plan_open(&self->plan, cfg->spec, cfg->layout, &plan), out);
    CM_GOTO(st, cm_alloc(&self->desks, (size_t)cfg->nlanes, sizeof *self->desks, "evaluator lanes"),
            out);
    for (int i = 0; i < cfg->nlanes; i++)
        CM_GOTO(st, open_desk(self, i), out);
    if (cfg->device)
        CM_GOTO(st, tr_stage_open(&self->stage, cfg->device, cfg->spec, cfg->layout, TR_EVAL_CHUNK),
                out);
    *out = self;
    self = NULL;
out:
    tr_evaluator_close(&self);
    return st;
}

void tr_evaluator_close(struct tr_evaluator **e)
{
    if (!*e)
        return;
    for (int i = 0; (*e)->desks && i < (*e)->cfg.nlanes; i++) {
        ln_lane_close(&(*e)->desks[i].lane);
        cm_free(&(*e)->desks[i].logits);
        cm_free(&(*e)->desks[i].sum);
    }
    cm_free(&(*e)->desks);
    tr_stage_close(&(*e)->stage);
    cm_free(&(*e)->mine);
    cm_free(&(*e)->all);
    nn_plan_close(&(*e)->plan);
    cm_free(e);
}

static cm_status run_view(struct tr_evaluator *self, int lane, int view)
{
    struct desk *desk = &self->desks[lane];
    for (int i = 0; i < TR_EVAL_CHUNK; i++)
        desk->augment[i] = views[view].augment;
    struct nn_batch batch = {.n = TR_EVAL_CHUNK,
                             .images = self->images,
                             .index = desk->index,
                             .augment = desk->augment,
                             .labels = desk->labels};
    if (self->stage)
        CM_TRY(tr_stage_put_view(self->stage, desk->lane, views[view].augment, &batch));
    CM_TRY(nn_plan_input(self->plan, lane, desk->lane, lane, &batch, 0, 0));
    for (int op = 0; op < nn_plan_nops(self->plan); op++)
        CM_TRY(nn_plan_forward(self->plan, op, lane, desk->lane, lane));
    float *logits = self->stage ? tr_stage_logits(self->stage) : desk->logits;
    CM_TRY(nn_plan_logits(self->plan, lane, desk->lane, logits));
    if (self->stage)
        CM_TRY(tr_stage_wait(self->stage, desk->lane, cm_deadline_in_ms(CHUNK_TIMEOUT_MS)));
    int nlogits = TR_EVAL_CHUNK * self->cfg.spec->nclasses;
    float weight = self->cfg.views ? views[view].weight : 1;
    for (int i = 0; i < nlogits; i++)
        desk->sum[i] = (view ? desk->sum[i] : 0) + weight * logits[i];
    return CM_OK;
}

/* -log softmax(logits)[label], in double; the top class goes to *predicted (ties to the lower). */
static double cross_entropy(const float *logits, int classes, int32_t label, int32_t *predicted)
{
    int top = 0;
    for (int c = 1; c < classes; c++)
        if (logits[c] > logits[top])
            top = c;
    double sum = 0;
    for (int c = 0; c < classes; c++)
        sum += exp((double)logits[c] - (double)logits[top]);
    *predicted = top;
    return log(sum) + (double)logits[top] - (double)logits[label];
}

static cm_status task_chunk(void *ctx, int64_t number, int64_t lane)
{
    struct tr_evaluator *self = ctx;
    CM_TRY(cm_fault("train.evaluate"));
    if (tr_stop_asked()) {
        atomic_store(&self->stopped, true);
        return CM_OK;
    }
    struct desk *desk = &self->desks[lane];
    uint32_t first = (uint32_t)number * TR_EVAL_CHUNK;
    uint32_t n = self->n - first < TR_EVAL_CHUNK ? self->n - first : TR_EVAL_CHUNK;
    for (uint32_t i = 0; i < TR_EVAL_CHUNK; i++) {
        uint32_t position = first + (i < n ? i : 0);
        desk->index[i] = self->rows ? self->rows[position] : position;
        desk->labels[i] = self->labels[desk->index[i]];
    }
    if (self->stage)
        CM_TRY(tr_stage_put_images(self->stage, desk->lane, self->images, desk->index));
    int nviews = self->cfg.views ? (int)(sizeof views / sizeof *views) : 1;
    for (int v = 0; v < nviews; v++)
        CM_TRY(run_view(self, (int)lane, v));

    struct chunk *out = &self->mine[number / ar_group_size(self->cfg.group)];
    int classes = self->cfg.spec->nclasses;
    out->loss = 0;
    for (uint32_t i = 0; i < n; i++)
        out->loss += cross_entropy(desk->sum + i * (uint32_t)classes, classes, desk->labels[i],
                                   &out->predicted[i]);
    return CM_OK;
}

static cm_status make_room(struct tr_evaluator *self, size_t per_rank)
{
    if (per_rank <= self->capacity)
        return CM_OK;
    size_t ranks = (size_t)ar_group_size(self->cfg.group);
    cm_free(&self->mine);
    cm_free(&self->all);
    self->capacity = 0;
    CM_TRY(cm_alloc(&self->mine, per_rank, sizeof *self->mine, "scores"));
    CM_TRY(cm_alloc(&self->all, ranks * per_rank, sizeof *self->all, "scores of all ranks"));
    self->capacity = per_rank;
    return CM_OK;
}

static cm_status run_chunks(struct tr_evaluator *self, uint32_t nchunks)
{
    int rank = ar_group_rank(self->cfg.group), ranks = ar_group_size(self->cfg.group);
    int lane = 0;
    atomic_store(&self->stopped, false);
    for (uint32_t c = (uint32_t)rank; c < nchunks; c += (uint32_t)ranks) {
        ln_lane_run(self->desks[lane].lane, task_chunk, self, c, lane);
        lane = (lane + 1) % self->cfg.nlanes;
    }
    cm_status st = CM_OK;
    for (int i = 0; i < self->cfg.nlanes; i++) {
        cm_status own = ln_lane_sync(self->desks[i].lane, cm_deadline_in_ms(CHUNK_TIMEOUT_MS));
        if (st == CM_OK)
            st = own;
    }
    return st;
}

/* Chunk c is element c / W of rank c % W: sums go over chunks in order, so W does not matter. */
static void add_up(const struct tr_evaluator *self, size_t per_rank, uint32_t nchunks,
                   int32_t *predicted, struct tr_score *score)
{
    uint32_t ranks = (uint32_t)ar_group_size(self->cfg.group);
    *score = (struct tr_score){.count = self->n};
    for (uint32_t c = 0; c < nchunks; c++) {
        const struct chunk *chunk = &self->all[(c % ranks) * per_rank + c / ranks];
        score->loss += chunk->loss;
        for (uint32_t i = 0; i < TR_EVAL_CHUNK && c * TR_EVAL_CHUNK + i < self->n; i++) {
            uint32_t position = c * TR_EVAL_CHUNK + i;
            uint32_t row = self->rows ? self->rows[position] : position;
            score->correct += chunk->predicted[i] == self->labels[row];
            if (predicted)
                predicted[position] = chunk->predicted[i];
        }
    }
    score->loss /= self->n ? self->n : 1;
    score->accuracy = self->n ? (double)score->correct / self->n : 0;
}

cm_status tr_evaluate(struct tr_evaluator *e, const float *weights, const uint8_t *images,
                      const int32_t *labels, const uint32_t *rows, uint32_t n, int32_t *predicted,
                      struct tr_score *score)
{
    uint32_t ranks = (uint32_t)ar_group_size(e->cfg.group);
    uint32_t nchunks = (n + TR_EVAL_CHUNK - 1) / TR_EVAL_CHUNK;
    size_t per_rank = (nchunks + ranks - 1) / ranks;
    e->images = images;
    e->labels = labels;
    e->rows = rows;
    e->n = n;
    cm_status st = make_room(e, per_rank);
    if (st == CM_OK && e->stage)
        st = tr_stage_put_weights(e->stage, weights);
    if (st == CM_OK)
        st = nn_plan_prepare_all(e->plan, e->stage ? tr_stage_weights(e->stage) : weights);
    if (st == CM_OK)
        st = run_chunks(e, nchunks);
    CM_TRY(ar_group_agree(e->cfg.group, st, "evaluating"));
    double stopped = atomic_load(&e->stopped);
    CM_TRY(ar_group_sum_f64(e->cfg.group, &stopped, 1));
    if (stopped > 0)
        return CM_FAIL(CM_EPREEMPTED, "evaluation abandoned: told to stop");
    CM_TRY(ar_group_gather(e->cfg.group, e->mine, per_rank * sizeof *e->mine, e->all));
    add_up(e, per_rank, nchunks, predicted, score);
    return CM_OK;
}
