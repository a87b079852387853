#include "online/tuner.h"

#include <math.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "model/layout.h"

enum { BIT_STOP = 1 }; /* of the control word */

/* Row of the block for a position of a step: the epoch's order is over feedback and replay alike.
 */
static void draw(void *ctx, int64_t step, uint32_t first, uint32_t n, uint32_t *rows)
{
    const struct ol_tuner *t = ctx;
    uint32_t replay = t->order.n - t->nfeedback;
    uint32_t epoch = (uint32_t)(step / tr_order_steps_per_epoch(&t->order));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t sample = tr_order_sample(&t->order, epoch, first + i);
        rows[i] = sample < t->nfeedback ? sample : sample + epoch * replay;
    }
}

static cm_status fill_block(struct ol_tuner *t, const struct tr_session *s,
                            const struct ol_replay *replay, const struct ol_batch *b)
{
    uint32_t epochs = (uint32_t)ceil(t->train.epochs), per_epoch = t->order.n - t->nfeedback;
    size_t n = (size_t)t->nfeedback + (size_t)epochs * per_epoch;
    size_t nbytes = tr_dataset_image_nbytes(&s->data.set);
    t->nrows = (uint32_t)n;
    CM_TRY(cm_alloc(&t->images, n, nbytes, "images to fine-tune on"));
    CM_TRY(cm_alloc(&t->labels, n, sizeof *t->labels, "labels to fine-tune on"));
    memcpy(t->images, b->pixels, b->nimages * nbytes);
    memcpy(t->labels, b->labels, b->nimages * sizeof *t->labels);
    size_t at = t->nfeedback;
    for (uint32_t e = 0; e < epochs; e++) {
        for (uint32_t k = 0; k < per_epoch; k++, at++) {
            uint32_t row = ol_replay_draw(replay, (uint64_t)t->train.seed, e, k);
            memcpy(t->images + at * nbytes, tr_dataset_image(&s->data.set, row), nbytes);
            t->labels[at] = s->data.set.labels[row];
        }
    }
    return CM_OK;
}

static cm_status open_engine(struct ol_tuner *t, const struct tr_session *s, const float *weights)
{
    struct tr_engine_config engine = tr_session_engine(s);
    engine.train = &t->train;
    engine.samples = (struct tr_samples){
        .n = t->order.n, .nrows = t->nrows, .images = t->images, .labels = t->labels};
    engine.draw = draw;
    engine.draw_ctx = t;
    CM_TRY(tr_engine_open(&t->engine, &engine));
    memcpy(tr_engine_weights(t->engine), weights, s->layout->ntotal * sizeof *weights);
    return tr_engine_prepare(t->engine);
}

cm_status ol_tuner_open(struct ol_tuner *t, const struct tr_session *s, const struct ol_config *cfg,
                        const struct ol_replay *replay, const struct ol_batch *b,
                        const float *weights)
{
    *t = (struct ol_tuner){.train = ol_config_train(cfg, &s->train, b->number),
                           .nfeedback = (uint32_t)b->nimages};
    uint32_t batch = (uint32_t)t->train.batch;
    t->order = (struct tr_order){.seed = (uint64_t)t->train.seed,
                                 .n = ol_replay_epoch_size(t->nfeedback, cfg->replay_ratio, batch),
                                 .batch = batch};
    t->steps = tr_order_total_steps(&t->order, t->train.epochs);
    cm_status st =
        ar_group_agree(s->group, fill_block(t, s, replay, b), "gathering images to fine-tune on");
    if (st == CM_OK)
        st = open_engine(t, s, weights);
    /* Opened together or not at all: the engine's first step is a collective. */
    st = ar_group_agree(s->group, st, "preparing to fine-tune");
    if (st != CM_OK)
        ol_tuner_close(t);
    return st;
}

void ol_tuner_close(struct ol_tuner *t)
{
    tr_engine_close(&t->engine);
    cm_free(&t->images);
    cm_free(&t->labels);
}

cm_status ol_tuner_run(struct ol_tuner *t, bool (*stop)(void), bool *finite)
{
    *finite = true;
    for (int64_t step = 0; step < t->steps; step++) {
        struct tr_outcome outcome;
        cm_status st =
            tr_engine_step(t->engine, step, t->train.lr, stop() ? BIT_STOP : 0, &outcome);
        if (st == CM_ENUMERIC) {
            cm_log_warn("%s", cm_error_text());
            *finite = false;
            return CM_OK;
        }
        CM_TRY(st);
        if (outcome.bits & BIT_STOP)
            return CM_FAIL(CM_EPREEMPTED,
                           "stopped after step %lld of %lld of fine-tuning; the "
                           "batch is logged and is trained again",
                           (long long)step + 1, (long long)t->steps);
    }
    return tr_engine_fetch(t->engine);
}
