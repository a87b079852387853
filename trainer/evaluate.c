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

/* The first is the image itself. A mirror shifts the other way across: it is the mirror of the
 * shifted image. */
#define VIEWS 6
static const struct nn_augment views[VIEWS] = {{0},
                                               {.flip = 1},
                                               {.dy = -1, .dx = -1},
                                               {.dy = 1, .dx = 1},
                                               {.flip = 1, .dy = -1, .dx = 1},
                                               {.flip = 1, .dy = 1, .dx = -1}};
static const float weight_of_view[VIEWS] = {0.25f, 0.25f, 0.125f, 0.125f, 0.125f, 0.125f};

#define NOTHING UINT32_MAX

/* What one lane works with. */
struct desk {
    struct ln_lane *lane;
    struct tr_stage *stage; /* NULL: on the host */
    uint32_t number;        /* of the chunk that is enqueued; NOTHING: none */
    uint32_t index[TR_EVAL_CHUNK];
    int32_t labels[TR_EVAL_CHUNK];
    struct nn_augment augment[TR_EVAL_CHUNK];
    float *logits; /* (views, chunk, classes); on a device the stage has them */
    float *sum;    /* (chunk, classes) */
};

/* A chunk's outcome: what ranks exchange. */
struct answers {
    double loss;
    int32_t predicted[TR_EVAL_CHUNK];
};
struct chunk {
    struct answers plain, views;
};

struct tr_evaluator {
    struct tr_evaluator_config cfg;
    struct nn_plan *plan;
    struct desk *desks;           /* nlanes */
    struct tr_resident *resident; /* NULL: on the host */

    /* the evaluation that is running */
    const uint8_t *images;
    const int32_t *labels;
    const uint32_t *rows;
    uint32_t n;
    int nviews;               /* 1, or VIEWS */
    struct chunk *mine, *all; /* this rank's chunks, in order; those of all ranks, by rank */
    size_t capacity;          /* of a rank */
    atomic_bool stopped;      /* a lane saw the wish to stop and left chunks out */
    struct cm_deadline due;   /* of a device's next chunk: one that hangs does so on all lanes */
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
    CM_TRY(cm_alloc(&desk->sum, nlogits, sizeof(float), "logits"));
    if (self->cfg.device)
        return tr_stage_open(&desk->stage, self->resident, TR_EVAL_CHUNK, views, VIEWS);
    return cm_alloc(&desk->logits, VIEWS * nlogits, sizeof(float), "logits");
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
    if (cfg->device)
        CM_GOTO(st,
                tr_resident_open(&self->resident, cfg->device, cfg->spec, cfg->layout,
                                 cfg->resident, cfg->nresident),
                out);
    CM_GOTO(st, cm_alloc(&self->desks, (size_t)cfg->nlanes, sizeof *self->desks, "evaluator lanes"),
            out);
    for (int i = 0; i < cfg->nlanes; i++)
        CM_GOTO(st, open_desk(self, i), out);
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
        tr_stage_close(&(*e)->desks[i].stage);
        cm_free(&(*e)->desks[i].logits);
        cm_free(&(*e)->desks[i].sum);
    }
    cm_free(&(*e)->desks);
    tr_resident_close(&(*e)->resident);
    cm_free(&(*e)->mine);
    cm_free(&(*e)->all);
    nn_plan_close(&(*e)->plan);
    cm_free(e);
}

static int nlogits_of(const struct tr_evaluator *self)
{
    return TR_EVAL_CHUNK * self->cfg.spec->nclasses;
}

static float *logits_of(const struct desk *desk, int view, int nlogits)
{
    return desk->stage ? tr_stage_logits(desk->stage, (size_t)view) : desk->logits + view * nlogits;
}

static cm_status run_view(struct tr_evaluator *self, int lane, int view)
{
    struct desk *desk = &self->desks[lane];
    struct nn_batch batch = {.n = TR_EVAL_CHUNK,
                             .images = self->images,
                             .index = desk->index,
                             .augment = desk->augment,
                             .labels = desk->labels};
    if (desk->stage)
        batch = tr_stage_batch(desk->stage, (size_t)view);
    for (int i = 0; i < TR_EVAL_CHUNK && !desk->stage; i++)
        desk->augment[i] = views[view];
    CM_TRY(nn_plan_input(self->plan, lane, desk->lane, lane, &batch, 0, 0));
    for (int op = 0; op < nn_plan_nops(self->plan); op++)
        CM_TRY(nn_plan_forward(self->plan, op, lane, desk->lane, lane));
    float *logits = logits_of(desk, view, nlogits_of(self));
    return nn_plan_logits(self->plan, lane, desk->lane, logits);
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

/* Enqueues a chunk on a device; on the host it is done afterwards. */
static cm_status task_begin(void *ctx, int64_t number, int64_t lane)
{
    struct tr_evaluator *self = ctx;
    CM_TRY(cm_fault("train.evaluate"));
    if (tr_stop_asked()) {
        atomic_store(&self->stopped, true);
        return CM_OK;
    }
    struct desk *desk = &self->desks[lane];
    uint32_t first = (uint32_t)number * TR_EVAL_CHUNK;
    for (uint32_t i = 0; i < TR_EVAL_CHUNK; i++) {
        uint32_t position = first + i < self->n ? first + i : first;
        desk->index[i] = self->rows ? self->rows[position] : position;
        desk->labels[i] = self->labels[desk->index[i]];
    }
    if (desk->stage)
        CM_TRY(tr_stage_put(desk->stage, desk->lane, self->images, desk->index));
    for (int v = 0; v < self->nviews; v++)
        CM_TRY(run_view(self, (int)lane, v));
    if (desk->stage)
        tr_stage_mark(desk->stage, desk->lane);
    desk->number = (uint32_t)number;
    return CM_OK;
}

static void answer(const struct tr_evaluator *self, const struct desk *desk, const float *logits,
                   struct answers *out)
{
    uint32_t left = self->n - desk->number * TR_EVAL_CHUNK;
    uint32_t n = left < TR_EVAL_CHUNK ? left : TR_EVAL_CHUNK;
    int classes = self->cfg.spec->nclasses;
    out->loss = 0;
    for (uint32_t i = 0; i < n; i++)
        out->loss += cross_entropy(logits + i * (uint32_t)classes, classes, desk->labels[i],
                                   &out->predicted[i]);
}

static void answer_by_views(const struct tr_evaluator *self, struct desk *desk, struct answers *out)
{
    int nlogits = nlogits_of(self);
    for (int v = 0; v < self->nviews; v++) {
        const float *logits = logits_of(desk, v, nlogits);
        for (int i = 0; i < nlogits; i++)
            desk->sum[i] = (v ? desk->sum[i] : 0) + weight_of_view[v] * logits[i];
    }
    answer(self, desk, desk->sum, out);
}

/* Reads what the chunk that was begun has come to. */
static cm_status task_end(void *ctx, int64_t lane, int64_t unused)
{
    (void)unused;
    struct tr_evaluator *self = ctx;
    struct desk *desk = &self->desks[lane];
    if (desk->number == NOTHING)
        return CM_OK;
    if (desk->stage) {
        CM_TRY(tr_stage_wait(desk->stage, self->due));
        self->due = cm_deadline_in_ms(CHUNK_TIMEOUT_MS);
    }
    struct chunk *out = &self->mine[desk->number / (uint32_t)ar_group_size(self->cfg.group)];
    answer(self, desk, logits_of(desk, 0, nlogits_of(self)), &out->plain);
    if (self->nviews > 1)
        answer_by_views(self, desk, &out->views);
    desk->number = NOTHING;
    return CM_OK;
}

static uint32_t chunks_of(uint32_t n)
{
    return (n + TR_EVAL_CHUNK - 1) / TR_EVAL_CHUNK;
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

/* A device's lanes have a chunk each under way; the host meets the oldest one's end. */
static cm_status run_chunks(struct tr_evaluator *self, uint32_t nchunks)
{
    int rank = ar_group_rank(self->cfg.group), ranks = ar_group_size(self->cfg.group);
    int lane = 0;
    self->due = cm_deadline_in_ms(CHUNK_TIMEOUT_MS);
    atomic_store(&self->stopped, false);
    for (int i = 0; i < self->cfg.nlanes; i++)
        self->desks[i].number = NOTHING;
    for (uint32_t c = (uint32_t)rank; c < nchunks; c += (uint32_t)ranks) {
        struct desk *desk = &self->desks[lane];
        if (desk->stage)
            ln_lane_run(desk->lane, task_end, self, lane, 0);
        ln_lane_run(desk->lane, task_begin, self, c, lane);
        if (!desk->stage)
            ln_lane_run(desk->lane, task_end, self, lane, 0);
        lane = (lane + 1) % self->cfg.nlanes;
    }
    cm_status st = CM_OK;
    for (int i = 0; i < self->cfg.nlanes; i++) {
        struct desk *desk = &self->desks[i];
        ln_lane_run(desk->lane, task_end, self, i, 0);
        cm_status own =
            ln_lane_sync(desk->lane, desk->stage ? self->due : cm_deadline_in_ms(CHUNK_TIMEOUT_MS));
        if (st == CM_OK)
            st = own;
    }
    return st;
}

/* Chunk c is element c / W of rank c % W: sums go over chunks in order, so W does not matter. */
static struct tr_score add_up(const struct tr_evaluator *self, bool of_views, int32_t *predicted)
{
    uint32_t ranks = (uint32_t)ar_group_size(self->cfg.group), nchunks = chunks_of(self->n);
    uint32_t per_rank = (nchunks + ranks - 1) / ranks;
    struct tr_score score = {.count = self->n};
    for (uint32_t c = 0; c < nchunks; c++) {
        const struct chunk *chunk = &self->all[(c % ranks) * per_rank + c / ranks];
        const struct answers *a = of_views ? &chunk->views : &chunk->plain;
        score.loss += a->loss;
        for (uint32_t i = 0; i < TR_EVAL_CHUNK && c * TR_EVAL_CHUNK + i < self->n; i++) {
            uint32_t position = c * TR_EVAL_CHUNK + i;
            uint32_t row = self->rows ? self->rows[position] : position;
            score.correct += a->predicted[i] == self->labels[row];
            if (predicted)
                predicted[position] = a->predicted[i];
        }
    }
    score.loss /= self->n ? self->n : 1;
    score.accuracy = self->n ? (double)score.correct / self->n : 0;
    return score;
}

/* All chunks of self's evaluation, here and on the other ranks. */
static cm_status answer_all(struct tr_evaluator *self, const float *weights)
{
    uint32_t ranks = (uint32_t)ar_group_size(self->cfg.group), nchunks = chunks_of(self->n);
    size_t per_rank = (nchunks + ranks - 1) / ranks;
    struct tr_resident *resident = self->resident;
    cm_status st = make_room(self, per_rank);
    if (st == CM_OK && resident)
        st = tr_resident_put_weights(resident, weights);
    if (st == CM_OK)
        st = nn_plan_prepare_all(self->plan, resident ? tr_resident_weights(resident) : weights);
    if (st == CM_OK)
        st = run_chunks(self, nchunks);
    CM_TRY(ar_group_agree(self->cfg.group, st, "evaluating"));
    double stopped = atomic_load(&self->stopped);
    CM_TRY(ar_group_sum_f64(self->cfg.group, &stopped, 1));
    if (stopped > 0)
        return CM_FAIL(CM_EPREEMPTED, "evaluation abandoned: told to stop");
    return ar_group_gather(self->cfg.group, self->mine, per_rank * sizeof *self->mine, self->all);
}

cm_status tr_evaluate(struct tr_evaluator *e, const float *weights, const uint8_t *images,
                      const int32_t *labels, const uint32_t *rows, uint32_t n, int32_t *predicted,
                      struct tr_score *score)
{
    e->images = images;
    e->labels = labels;
    e->rows = rows;
    e->n = n;
    e->nviews = 1;
    CM_TRY(answer_all(e, weights));
    *score = add_up(e, false, predicted);
    return CM_OK;
}

cm_status tr_evaluate_views(struct tr_evaluator *e, const float *weights, const uint8_t *images,
                            const int32_t *labels, uint32_t n, struct tr_score *score,
                            struct tr_score *of_views)
{
    e->images = images;
    e->labels = labels;
    e->rows = NULL;
    e->n = n;
    e->nviews = VIEWS;
    CM_TRY(answer_all(e, weights));
    *score = add_up(e, false, NULL);
    *of_views = add_up(e, true, NULL);
    return CM_OK;
}
