/* Building the engine's part on a device: the data set, the arenas, and the plan in the engines
 * that rank 0 chose. */
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "trainer/engine_cache.h"
#include "trainer/engine_device.h"

static cm_status take(struct tr_engine *self, void *out, size_t nbytes, const char *what)
{
    return self->backend->alloc(self->backend, out, nbytes, what);
}

/* A copy of host's on the device. */
static cm_status put(struct tr_engine *self, void *out, const void *host, size_t nbytes,
                     const char *what)
{
    void *p;
    CM_TRY(take(self, out, nbytes, what));
    memcpy(&p, out, sizeof p);
    return nn_device_copy(self->cfg.device, NULL, p, host, nbytes);
}

/* A kernel has no way to tell of a bad label. */
static cm_status check_labels(const struct tr_engine *self)
{
    const struct tr_samples *samples = &self->cfg.samples;
    for (uint32_t i = 0; i < samples->nrows; i++)
        if (samples->labels[i] < 0 || samples->labels[i] >= self->cfg.spec->nclasses)
            return CM_FAIL(CM_EINVAL, "label %d of image %u is not in 0 … %d",
                           (int)samples->labels[i], i, self->cfg.spec->nclasses - 1);
    return CM_OK;
}

static cm_status put_samples(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    const struct tr_samples *samples = &self->cfg.samples;
    size_t pixels = nn_shape_count(self->cfg.spec->input);
    if (samples->nrows == 0)
        return CM_FAIL(CM_EINVAL, "a device wants to know the data set's size (nrows)");
    CM_TRY(check_labels(self));
    CM_TRY(put(self, &part->images, samples->images, samples->nrows * pixels, "the data set"));
    CM_TRY(put(self, &part->labels, samples->labels, samples->nrows * sizeof *samples->labels,
               "the data set's labels"));
    return self->cfg.draw ? CM_OK
                          : put(self, &part->id, samples->id, samples->n * sizeof *samples->id,
                                "the data set's order");
}

static cm_status open_turn(struct tr_engine *self, struct tr_device_turn *t)
{
    struct nn_device *device = self->cfg.device;
    const struct tr_device_part *part = self->part;
    size_t n = (size_t)self->nshards * part->largest, nspans = (size_t)part->nspans;
    CM_TRY(nn_device_event_open(device, &t->ended));
    CM_TRY(nn_device_pin(device, &t->exchange, sizeof *t->exchange, "a step's values"));
    CM_TRY(
        nn_device_pin(device, &t->coefficients, nspans * sizeof *t->coefficients, "coefficients"));
    if (!self->cfg.draw)
        return CM_OK;
    CM_TRY(nn_device_pin(device, &t->rows, n * sizeof *t->rows, "drawn samples"));
    CM_TRY(nn_device_pin(device, &t->row_labels, n * sizeof *t->row_labels, "drawn labels"));
    return nn_device_pin(device, &t->augment, n * sizeof *t->augment, "drawn augmentation");
}

static void close_turn(struct nn_device *device, struct tr_device_turn *t)
{
    ln_event_close(&t->ended);
    nn_device_unpin(device, &t->exchange);
    nn_device_unpin(device, &t->coefficients);
    nn_device_unpin(device, &t->rows);
    nn_device_unpin(device, &t->row_labels);
    nn_device_unpin(device, &t->augment);
}

static cm_status open_spans(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    struct nn_span *spans;
    part->nspans = (int)tr_optimizer_nspans(self->optimizer);
    size_t n = (size_t)part->nspans;
    CM_TRY(cm_alloc(&spans, n + 1, sizeof *spans, "spans"));
    for (size_t i = 0; i < n; i++)
        tr_optimizer_span(self->optimizer, i, &spans[i].begin, &spans[i].end);
    cm_status st = put(self, &part->spans, spans, n * sizeof *spans, "spans");
    cm_free(&spans);
    CM_TRY(st);
    size_t nbytes = n * sizeof *part->coefficients, nmatrices;
    const struct nn_muon_matrix *matrices = tr_optimizer_matrices(self->optimizer, &nmatrices);
    if (nmatrices > 0)
        CM_TRY(nn_device_muon_open(self->cfg.device, &part->muon, matrices, nmatrices));
    return take(self, &part->coefficients, nbytes, "coefficients");
}

static cm_status open_statistics(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    const struct nn_layout *layout = self->cfg.layout;
    struct nn_span *spans = NULL;
    double *momentum = NULL;
    cm_status st;
    CM_GOTO(st, cm_alloc(&spans, layout->ntensors, sizeof *spans, "statistics"), out);
    CM_GOTO(st, cm_alloc(&momentum, layout->ntensors, sizeof *momentum, "statistics"), out);
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        if (t->role != NN_RUNNING_MEAN && t->role != NN_RUNNING_VAR)
            continue;
        momentum[part->nstatistics] = self->cfg.spec->nodes[t->node].momentum;
        spans[part->nstatistics++] = (struct nn_span){t->offset, t->offset + t->n};
    }
    size_t n = (size_t)part->nstatistics;
    CM_GOTO(st, put(self, &part->statistics, spans, n * sizeof *spans, "statistics"), out);
    st = put(self, &part->momentum, momentum, n * sizeof *momentum, "statistics");
out:
    cm_free(&spans);
    cm_free(&momentum);
    return st;
}

static cm_status open_arenas(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    const struct nn_layout *layout = self->cfg.layout;
    size_t total = layout->ntotal * sizeof(float), blocks = nn_squares_blocks(layout->ntotal) + 1;
    struct nn_device *device = self->cfg.device;
    CM_TRY(take(self, &self->lane_weights, total, "weights"));
    CM_TRY(take(self, &self->lane_gradients, total, "gradients"));
    CM_TRY(nn_device_pin(device, &self->gradients, total, "gradients"));
    for (int s = 0; s < tr_optimizer_nslots(self->optimizer); s++)
        CM_TRY(take(self, &part->slot[s], layout->nparam * sizeof(float), "optimiser state"));
    if (self->average)
        CM_TRY(take(self, &part->average, total, "average weights"));
    CM_TRY(take(self, &part->values, sizeof *part->values, "a step's values"));
    CM_TRY(take(self, &part->sum, 3 * (size_t)self->nshards * sizeof *part->sum, "sums"));
    CM_TRY(take(self, &part->squares, 2 * sizeof *part->squares, "sums of squares"));
    return take(self, &part->space, blocks * sizeof *part->space, "sums of squares");
}

/* How gradients get to the other ranks. */
static cm_status open_sums(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    if (ar_group_size(self->cfg.group) == 1)
        return CM_OK;
    if (self->cfg.sum)
        return tr_nccl_open(&part->nccl, self);
    CM_TRY(nn_device_lane_open(self->cfg.device, &part->down, "down", true));
    return nn_device_lane_open(self->cfg.device, &part->up, "up", true);
}

static cm_status open_part(struct tr_engine *self)
{
    struct tr_device_part *part;
    CM_TRY(cm_alloc(&part, 1, sizeof *part, "the engine's part on a device"));
    self->part = part;
    part->graphs =
        self->cfg.no_graphs || ar_group_size(self->cfg.group) > 1 ? TR_GRAPHS_OFF : TR_GRAPHS_ON;
    bool with_host = ar_group_size(self->cfg.group) > 1 && !self->cfg.sum;
    self->ahead = with_host ? 1 : (int)self->cfg.model->ahead;
    part->largest = (self->order.batch + self->all_shards - 1) / self->all_shards;
    CM_TRY(open_arenas(self));
    CM_TRY(open_spans(self));
    CM_TRY(open_statistics(self));
    CM_TRY(put_samples(self));
    for (int i = 0; i < TR_AHEAD; i++)
        CM_TRY(open_turn(self, &part->turn[i]));
    CM_TRY(open_sums(self));
    return nn_device_timer_open(self->cfg.device, &part->begun);
}

cm_status tr_device_open(struct tr_engine *self)
{
    return ar_group_agree(self->cfg.group, open_part(self), "opening a device");
}

void tr_device_close(struct tr_engine *self)
{
    struct tr_device_part *part = self->part;
    struct nn_device *device = self->cfg.device;
    const struct nn_backend *backend = self->backend;
    if (!part)
        return;
    for (int i = 0; i < TR_CAPTURED; i++)
        nn_device_graph_close(device, &part->captured[i].graph);
    tr_nccl_close(&part->nccl);
    ln_lane_close(&part->down);
    ln_lane_close(&part->up);
    ln_event_close(&part->begun);
    for (int i = 0; i < TR_AHEAD; i++)
        close_turn(device, &part->turn[i]);
    nn_device_muon_close(&part->muon);
    void *on_device[] = {
        &self->lane_weights, &self->lane_gradients, &part->images,   &part->labels,
        &part->id,           &part->values,         &part->sum,      &part->squares,
        &part->space,        &part->slot[0],        &part->slot[1],  &part->spans,
        &part->statistics,   &part->coefficients,   &part->momentum, &part->average};
    for (size_t i = 0; i < sizeof on_device / sizeof *on_device; i++)
        backend->release(backend, on_device[i]);
    nn_device_unpin(device, &self->gradients);
    cm_free(&self->part);
}

/* ---- the plan ---- */

/* Everyone else's engines become rank 0's. */
static cm_status share_engines(struct tr_engine *self)
{
    struct ar_group *group = self->cfg.group;
    bool root = ar_group_rank(group) == 0;
    char *text = NULL;
    cm_status st = root ? nn_engines_write(&text, &self->engines) : CM_OK;
    uint64_t n = text ? strlen(text) + 1 : 0;
    CM_GOTO(st, ar_group_agree(group, st, "writing engines"), out);
    CM_GOTO(st, ar_group_broadcast(group, &n, sizeof n, 0), out);
    if (!root)
        st = cm_alloc(&text, n, 1, "engines");
    CM_GOTO(st, ar_group_agree(group, st, "reading engines"), out);
    CM_GOTO(st, ar_group_broadcast(group, text, n, 0), out);
    if (!root)
        st = nn_engines_read(&self->engines, text);
    st = ar_group_agree(group, st, "reading engines");
out:
    cm_free(&text);
    return st;
}

/* Whether the plan of a smaller batch finds room; tried, since engines ask for what they like. */
static bool has_room(const struct tr_engine *self, const struct nn_plan_config *like,
                     uint32_t batch)
{
    struct nn_plan *plan = NULL;
    struct nn_engines engines = {0};
    struct tr_order order = self->order;
    struct nn_plan_config cfg = *like;
    int sizes[TR_SHARD_SIZES];
    order.batch = batch;
    cfg.batches = sizes;
    cfg.nbatches = tr_shard_sizes(&order, self->all_shards, sizes);
    cfg.engines = &engines;
    bool fits =
        cfg.nbatches > 0 && nn_plan_open(&plan, self->cfg.spec, self->cfg.layout, &cfg) == CM_OK;
    nn_plan_close(&plan);
    nn_engines_release(&engines);
    return fits;
}

/* Where memory ran out, which the fault tells: what would fit. */
static cm_status open_plan(struct tr_engine *self, const struct nn_plan_config *cfg)
{
    cm_status st = nn_plan_open(&self->plan, self->cfg.spec, self->cfg.layout, cfg);
    if (st != CM_ENOMEM)
        return st;
    struct cm_error why;
    cm_error_save(&why);
    uint32_t batch = self->order.batch / 2;
    while (batch >= self->all_shards && !has_room(self, cfg, batch))
        batch /= 2;
    cm_error_restore(&why);
    return batch < self->all_shards
               ? CM_CONTEXT(st, "no train.batch fits beside the data set and the weights")
               : CM_CONTEXT(st, "train.batch %u does not fit, %u would", self->order.batch, batch);
}

/* Rank 0's plan; under order fast, whose bits depend on other things than the config anyway, in the
 * fastest ways. The others wait in a collective, so half of its time at most. */
static cm_status open_first_plan(struct tr_engine *self, const struct nn_plan_config *cfg)
{
    const struct ar_config *allreduce = self->cfg.allreduce;
    int64_t most_ms = 1000 * self->cfg.model->engine_search_s, began_ns = cm_now_ns();
    struct nn_engine_search search = {0};
    if (allreduce->order != AR_ORDER_FAST || most_ms == 0)
        return open_plan(self, cfg);
    if (most_ms > allreduce->collective_timeout_ms / 2)
        most_ms = allreduce->collective_timeout_ms / 2;
    tr_engine_cache_read(&search.found, self->cfg.device);
    search.deadline = cm_deadline_in_ms(most_ms);
    self->engines.search = &search;
    cm_status st = open_plan(self, cfg);
    self->engines.search = NULL;
    if (st == CM_OK) {
        cm_log_info("engines: %zu products timed in %.1f s, %zu known, %zu left as the library has "
                    "them",
                    search.ntimed, (double)(cm_now_ns() - began_ns) / 1e9, search.nknown,
                    search.nleft);
        if (search.ntimed > 0)
            tr_engine_cache_write(&search.found, self->cfg.device);
    }
    nn_engines_release(&search.found);
    return st;
}

cm_status tr_device_plan(struct tr_engine *self, struct nn_plan_config *cfg)
{
    struct ar_group *group = self->cfg.group;
    bool root = ar_group_rank(group) == 0;
    cfg->values = self->part->values;
    cfg->engines = &self->engines;
    cm_status st = root ? open_first_plan(self, cfg) : CM_OK;
    CM_TRY(ar_group_agree(group, st, "choosing engines"));
    if (ar_group_size(group) > 1)
        CM_TRY(share_engines(self));
    if (!root)
        st = open_plan(self, cfg);
    return ar_group_agree(group, st, "preparing the network");
}
