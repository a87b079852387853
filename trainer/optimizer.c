#include "trainer/optimizer.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

/* A trained tensor's settings. */
struct span {
    size_t begin, end; /* floats of the arena */
    double lr_scale, weight_decay, momentum, until;
    bool fade, muon;
    size_t matrix; /* muon: its number */
};

struct tr_optimizer {
    const struct tr_train_config *cfg;
    size_t nparam;
    size_t nspans;
    struct span *spans; /* in arena order */
    int nslots;
    float *slot[TR_OPTIMIZER_SLOTS]; /* nparam floats each */
    size_t nmatrices;
    struct nn_muon_matrix *matrices; /* in arena order */
    float **space; /* of each matrix, for they may be updated side by side; NULL: no apply */
};

/* ---- groups ---- */

static struct span default_span(const struct tr_train_config *cfg)
{
    return (struct span){.lr_scale = 1,
                         .weight_decay = cfg->weight_decay,
                         .momentum = cfg->momentum,
                         .until = (double)INFINITY};
}

static cm_status read_group(const struct cm_json *group, const char *where, struct span *span,
                            const char **match)
{
    if (cm_json_type(group) != CM_JSON_OBJECT)
        return CM_FAIL(CM_ECONFIG, "%s: must be an object, is %s", where, cm_json_type_name(group));
    *match = NULL;
    CM_JSON_EACH (m, group) {
        const char *key = cm_json_key(m);
        if (strcmp(key, "match") == 0)
            CM_TRY(cm_json_as_string(m, where, match));
        else if (strcmp(key, "lr_scale") == 0)
            CM_TRY(cm_json_as_f64(m, where, &span->lr_scale));
        else if (strcmp(key, "weight_decay") == 0)
            CM_TRY(cm_json_as_f64(m, where, &span->weight_decay));
        else if (strcmp(key, "momentum") == 0)
            CM_TRY(cm_json_as_f64(m, where, &span->momentum));
        else if (strcmp(key, "until") == 0)
            CM_TRY(cm_json_as_f64(m, where, &span->until));
        else if (strcmp(key, "fade") == 0)
            CM_TRY(cm_json_as_bool(m, where, &span->fade));
        else if (strcmp(key, "muon") == 0)
            CM_TRY(cm_json_as_bool(m, where, &span->muon));
        else
            return CM_FAIL(CM_ECONFIG,
                           "%s: unknown key '%s' (it takes match, lr_scale, weight_decay, "
                           "momentum, until, fade, muon)",
                           where, key);
    }
    if (!*match)
        return CM_FAIL(CM_ECONFIG, "%s: 'match' is missing (a pattern such as \"*.bias\")", where);
    return CM_OK;
}

/* What the optimiser or the group itself does not have would be left out silently. */
static cm_status check_group(const struct tr_train_config *cfg, const struct cm_json *group,
                             const char *where, const struct span *span)
{
    bool muon = cfg->optimizer == TR_MUON;
    if (cm_json_get(group, "momentum") && !(span->momentum >= 0 && span->momentum < 1))
        return CM_FAIL(CM_ECONFIG, "%s: momentum %g is not in 0 … 1", where, span->momentum);
    if (cm_json_get(group, "momentum") &&
        (cfg->momentum <= 0 || cfg->optimizer == TR_ADAM || cfg->optimizer == TR_ADAGRAD))
        return CM_FAIL(CM_ECONFIG,
                       "%s: momentum is for sgd, rmsprop and muon with train.momentum above 0",
                       where);
    if (span->fade && !(span->until > 0 && isfinite(span->until)))
        return CM_FAIL(CM_ECONFIG, "%s: fade needs until: by when the rate is 0", where);
    if (span->muon && !muon)
        return CM_FAIL(CM_ECONFIG, "%s: muon needs train.optimizer \"muon\"", where);
    if (span->muon && cm_json_get(group, "weight_decay"))
        return CM_FAIL(CM_ECONFIG,
                       "%s: weight_decay means nothing to muon, whose every step sets the norm",
                       where);
    return CM_OK;
}

/* What is no matrix has no singular values. */
static cm_status check_muon(const struct nn_tensor *tensor, const char *where)
{
    if (tensor->role == NN_WEIGHT && tensor->ndim == 4)
        return CM_OK;
    return CM_FAIL(CM_ECONFIG,
                   "%s: muon is for the weights of convolutions, and '%s' is none (a narrower "
                   "'match', or another group for it in front)",
                   where, tensor->name);
}

/* The tensor's group. */
static cm_status settings_of(const struct tr_train_config *cfg, const struct nn_tensor *tensor,
                             struct span *span)
{
    int number = 0;
    *span = default_span(cfg);
    CM_JSON_EACH (group, cfg->groups) {
        struct span found = default_span(cfg);
        const char *match;
        char where[64];
        snprintf(where, sizeof where, "train.groups[%d]", number++);
        CM_TRY(read_group(group, where, &found, &match));
        if (fnmatch(match, tensor->name, 0) != 0)
            continue;
        *span = found;
        return span->muon ? check_muon(tensor, where) : CM_OK;
    }
    return CM_OK;
}

/* A group that fits nothing is a misspelt name, which would train silently at the wrong rate. */
static cm_status check_groups(const struct tr_train_config *cfg, const struct nn_layout *layout)
{
    int number = 0;
    bool muon = false;
    CM_JSON_EACH (group, cfg->groups) {
        struct span span = default_span(cfg);
        const char *match;
        char where[64];
        snprintf(where, sizeof where, "train.groups[%d]", number++);
        CM_TRY(read_group(group, where, &span, &match));
        CM_TRY(check_group(cfg, group, where, &span));
        bool fits = false;
        for (size_t t = 0; t < layout->ntensors && !fits; t++)
            fits = layout->tensors[t].trained && fnmatch(match, layout->tensors[t].name, 0) == 0;
        if (!fits)
            return CM_FAIL(CM_ECONFIG, "%s: \"%s\" matches no trained tensor", where, match);
        muon |= span.muon;
    }
    if (cfg->optimizer == TR_MUON && !(muon && cfg->momentum > 0))
        return CM_FAIL(CM_ECONFIG, "train.optimizer \"muon\" needs %s",
                       muon ? "train.momentum above 0"
                            : "a group that says which tensors are Muon's: {\"match\": "
                              "\"*.conv*.weight\", \"muon\": true}");
    return CM_OK;
}

/* ---- life ---- */

static int slots_of(const struct tr_train_config *cfg)
{
    switch ((enum tr_optimizer_kind)cfg->optimizer) {
    case TR_SGD:
        return cfg->momentum > 0 ? 1 : 0;
    case TR_ADAM:
        return 2;
    case TR_RMSPROP:
        return cfg->momentum > 0 ? 2 : 1;
    case TR_ADAGRAD:
    case TR_MUON:
        return 1;
    }
    return 0;
}

/* The spans, and which of them are Muon's. */
static cm_status open_spans(struct tr_optimizer *self, const struct nn_layout *layout)
{
    size_t n = layout->ntensors;
    CM_TRY(cm_alloc(&self->spans, n, sizeof *self->spans, "optimiser groups"));
    CM_TRY(cm_alloc(&self->matrices, n, sizeof *self->matrices, "Muon's matrices"));
    for (size_t t = 0; t < n; t++) {
        const struct nn_tensor *tensor = &layout->tensors[t];
        if (!tensor->trained)
            continue;
        struct span *span = &self->spans[self->nspans++];
        CM_TRY(settings_of(self->cfg, tensor, span));
        span->begin = tensor->offset;
        span->end = tensor->offset + tensor->n;
        if (!span->muon)
            continue;
        span->matrix = self->nmatrices++;
        size_t rows = (size_t)tensor->dim[0];
        self->matrices[span->matrix] = (struct nn_muon_matrix){.offset = tensor->offset,
                                                               .rows = rows,
                                                               .cols = tensor->n / rows,
                                                               .span = (int)self->nspans - 1};
    }
    return CM_OK;
}

cm_status tr_optimizer_open(struct tr_optimizer **out, const struct tr_train_config *cfg,
                            const struct nn_layout *layout)
{
    *out = NULL;
    CM_TRY(check_groups(cfg, layout));
    struct tr_optimizer *self;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "optimiser"));
    self->cfg = cfg;
    self->nparam = layout->nparam;
    self->nslots = slots_of(cfg);
    cm_status st;
    CM_GOTO(st, open_spans(self, layout), out);
    for (int s = 0; s < self->nslots; s++)
        CM_GOTO(st,
                cm_alloc_aligned(&self->slot[s], self->nparam, sizeof(float), "optimiser state"),
                out);
    *out = self;
    self = NULL;
out:
    tr_optimizer_close(&self);
    return st;
}

void tr_optimizer_close(struct tr_optimizer **o)
{
    struct tr_optimizer *self = *o;
    if (!self)
        return;
    for (int s = 0; s < TR_OPTIMIZER_SLOTS; s++)
        cm_free(&self->slot[s]);
    for (size_t i = 0; self->space && i < self->nmatrices; i++)
        cm_free(&self->space[i]);
    cm_free(&self->space);
    cm_free(&self->matrices);
    cm_free(&self->spans);
    cm_free(o);
}

int tr_optimizer_nslots(const struct tr_optimizer *o)
{
    return o->nslots;
}

const char *tr_optimizer_slot_name(const struct tr_optimizer *o, int slot)
{
    static const char *const names[][TR_OPTIMIZER_SLOTS] = {
        [TR_SGD] = {"momentum_buffer", NULL},
        [TR_ADAM] = {"exp_avg", "exp_avg_sq"},
        [TR_RMSPROP] = {"square_avg", "momentum_buffer"},
        [TR_ADAGRAD] = {"sum", NULL},
        [TR_MUON] = {"momentum_buffer", NULL},
    };
    return names[o->cfg->optimizer][slot];
}

float *tr_optimizer_slot(struct tr_optimizer *o, int slot)
{
    return o->slot[slot];
}

/* ---- the update ---- */

/* One optimiser over a range; state NULL: it keeps none of that kind. */
static void update_sgd(float *restrict w, const float *restrict g, float *restrict b, size_t n,
                       struct nn_coefficients c, float scale)
{
    for (size_t i = 0; !b && i < n; i++)
        w[i] = nn_update_sgd(&c, false, scale, g[i], (struct nn_element){.w = w[i]}).w;
    for (size_t i = 0; b && i < n; i++) {
        struct nn_element e = {.w = w[i], .first = b[i]};
        e = nn_update_sgd(&c, true, scale, g[i], e);
        w[i] = e.w;
        b[i] = e.first;
    }
}

static void update_adam(float *restrict w, const float *restrict g, float *restrict m,
                        float *restrict v, size_t n, struct nn_coefficients c, float scale)
{
    for (size_t i = 0; i < n; i++) {
        struct nn_element e = {.w = w[i], .first = m[i], .second = v[i]};
        e = nn_update_adam(&c, scale, g[i], e);
        w[i] = e.w;
        m[i] = e.first;
        v[i] = e.second;
    }
}

static void update_rmsprop(float *restrict w, const float *restrict g, float *restrict v,
                           float *restrict b, size_t n, struct nn_coefficients c, float scale)
{
    for (size_t i = 0; i < n; i++) {
        struct nn_element e = {.w = w[i], .first = v[i], .second = b ? b[i] : 0};
        e = nn_update_rmsprop(&c, b != NULL, scale, g[i], e);
        w[i] = e.w;
        v[i] = e.first;
        if (b)
            b[i] = e.second;
    }
}

static void update_adagrad(float *restrict w, const float *restrict g, float *restrict v, size_t n,
                           struct nn_coefficients c, float scale)
{
    for (size_t i = 0; i < n; i++) {
        struct nn_element e = {.w = w[i], .first = v[i]};
        e = nn_update_adagrad(&c, scale, g[i], e);
        w[i] = e.w;
        v[i] = e.first;
    }
}

static struct nn_coefficients coefficients_of(const struct tr_train_config *cfg,
                                              const struct span *span, const struct tr_update *u)
{
    double base = span->fade ? cfg->lr * (1 - u->epoch / span->until) : u->lr;
    double lr = base * span->lr_scale, t = (double)(u->step + 1);
    bool decoupled = cfg->decay == TR_DECAY_DECOUPLED;
    return (struct nn_coefficients){
        .lr = (float)lr,
        .decay = decoupled ? 0 : (float)span->weight_decay,
        .shrink = decoupled ? (float)(1 - lr * span->weight_decay) : 1,
        .l1 = (float)cfg->l1,
        .momentum = (float)span->momentum,
        .beta1 = (float)cfg->beta1,
        .beta2 = (float)(cfg->optimizer == TR_RMSPROP ? cfg->alpha : cfg->beta2),
        .eps = (float)cfg->eps,
        .correct1 = (float)(1 / (1 - pow(cfg->beta1, t))),
        .correct2 = (float)(1 / (1 - pow(cfg->beta2, t))),
        .nesterov = cfg->nesterov,
        .frozen = u->epoch >= span->until,
        .muon = span->muon,
    };
}

static void update_range(struct tr_optimizer *o, const struct nn_coefficients *c, float scale,
                         float *weights, const float *gradients, size_t from, size_t to)
{
    float *w = weights + from;
    const float *g = gradients + from;
    float *first = o->slot[0] ? o->slot[0] + from : NULL;
    float *second = o->slot[1] ? o->slot[1] + from : NULL;
    switch ((enum tr_optimizer_kind)o->cfg->optimizer) {
    case TR_SGD:
    case TR_MUON:
        update_sgd(w, g, first, to - from, *c, scale);
        break;
    case TR_ADAM:
        update_adam(w, g, first, second, to - from, *c, scale);
        break;
    case TR_RMSPROP:
        update_rmsprop(w, g, first, second, to - from, *c, scale);
        break;
    case TR_ADAGRAD:
        update_adagrad(w, g, first, to - from, *c, scale);
        break;
    }
}

cm_status tr_optimizer_make_room(struct tr_optimizer *o)
{
    CM_TRY(cm_alloc(&o->space, o->nmatrices, sizeof *o->space, "Muon's products"));
    for (size_t i = 0; i < o->nmatrices; i++)
        CM_TRY(cm_alloc_aligned(&o->space[i], nn_muon_space(&o->matrices[i]), sizeof(float),
                                "Muon's products"));
    return CM_OK;
}

void tr_optimizer_apply(struct tr_optimizer *o, const struct tr_update *u, float *weights,
                        const float *gradients, size_t begin, size_t end)
{
    float scale = (float)u->scale;
    for (size_t s = 0; s < o->nspans; s++) {
        const struct span *span = &o->spans[s];
        size_t from = span->begin > begin ? span->begin : begin;
        size_t to = span->end < end ? span->end : end;
        if (from >= to)
            continue;
        const struct nn_coefficients c = coefficients_of(o->cfg, span, u);
        if (c.frozen)
            continue;
        if (!span->muon)
            update_range(o, &c, scale, weights, gradients, from, to);
        else if (from == span->begin)
            nn_muon_step(&o->matrices[span->matrix], &c, scale, weights, gradients, o->slot[0],
                         o->space[span->matrix]);
    }
}

/* ---- for a device ---- */

size_t tr_optimizer_nspans(const struct tr_optimizer *o)
{
    return o->nspans;
}

void tr_optimizer_span(const struct tr_optimizer *o, size_t span, size_t *begin, size_t *end)
{
    *begin = o->spans[span].begin;
    *end = o->spans[span].end;
}

const struct nn_muon_matrix *tr_optimizer_matrices(const struct tr_optimizer *o, size_t *n)
{
    *n = o->nmatrices;
    return o->matrices;
}

struct nn_coefficients tr_optimizer_coefficients(const struct tr_optimizer *o, size_t span,
                                                 const struct tr_update *u)
{
    return coefficients_of(o->cfg, &o->spans[span], u);
}
