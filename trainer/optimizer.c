#include "trainer/optimizer.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

/* A trained tensor's settings. */
struct span {
    size_t begin, end; /* floats of the arena */
    double lr_scale, weight_decay, until;
};

struct tr_optimizer {
    const struct tr_train_config *cfg;
    size_t nparam;
    size_t nspans;
    struct span *spans; /* in arena order */
    int nslots;
    float *slot[TR_OPTIMIZER_SLOTS]; /* nparam floats each */
};

/* ---- groups ---- */

static cm_status read_group(const struct cm_json *group, int number, struct span *span,
                            const char **match)
{
    char where[64];
    snprintf(where, sizeof where, "train.groups[%d]", number);
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
        else if (strcmp(key, "until") == 0)
            CM_TRY(cm_json_as_f64(m, where, &span->until));
        else
            return CM_FAIL(CM_ECONFIG,
                           "%s: unknown key '%s' (it takes match, lr_scale, weight_decay, until)",
                           where, key);
    }
    if (!*match)
        return CM_FAIL(CM_ECONFIG, "%s: 'match' is missing (a pattern such as \"*.bias\")", where);
    return CM_OK;
}

static cm_status settings_of(const struct tr_train_config *cfg, const char *tensor,
                             struct span *span)
{
    int number = 0;
    CM_JSON_EACH (group, cfg->groups) {
        struct span found = {
            .lr_scale = 1, .weight_decay = cfg->weight_decay, .until = (double)INFINITY};
        const char *match;
        CM_TRY(read_group(group, number++, &found, &match));
        if (fnmatch(match, tensor, 0) == 0) {
            *span = found;
            return CM_OK;
        }
    }
    return CM_OK;
}

/* A group that fits nothing is a misspelt name, which would train silently at the wrong rate. */
static cm_status check_groups(const struct tr_train_config *cfg, const struct nn_layout *layout)
{
    int number = 0;
    CM_JSON_EACH (group, cfg->groups) {
        struct span unused = {0};
        const char *match;
        CM_TRY(read_group(group, number, &unused, &match));
        bool fits = false;
        for (size_t t = 0; t < layout->ntensors && !fits; t++)
            fits = layout->tensors[t].trained && fnmatch(match, layout->tensors[t].name, 0) == 0;
        if (!fits)
            return CM_FAIL(CM_ECONFIG, "train.groups[%d]: \"%s\" matches no trained tensor", number,
                           match);
        number++;
    }
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
        return 1;
    }
    return 0;
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
    CM_GOTO(st, cm_alloc(&self->spans, layout->ntensors, sizeof *self->spans, "optimiser groups"),
            out);
    for (size_t t = 0; t < layout->ntensors; t++) {
        const struct nn_tensor *tensor = &layout->tensors[t];
        if (!tensor->trained)
            continue;
        struct span *span = &self->spans[self->nspans++];
        *span = (struct span){
            .lr_scale = 1, .weight_decay = cfg->weight_decay, .until = (double)INFINITY};
        CM_GOTO(st, settings_of(cfg, tensor->name, span), out);
        span->begin = tensor->offset;
        span->end = tensor->offset + tensor->n;
    }
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
    if (!*o)
        return;
    for (int s = 0; s < TR_OPTIMIZER_SLOTS; s++)
        cm_free(&(*o)->slot[s]);
    cm_free(&(*o)->spans);
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
    double lr = u->lr * span->lr_scale;
    bool decoupled = cfg->decay == TR_DECAY_DECOUPLED;
    double t = (double)(u->step + 1);
    return (struct nn_coefficients){
        .lr = (float)lr,
        .decay = decoupled ? 0 : (float)span->weight_decay,
        .shrink = decoupled ? (float)(1 - lr * span->weight_decay) : 1,
        .l1 = (float)cfg->l1,
        .momentum = (float)cfg->momentum,
        .beta1 = (float)cfg->beta1,
        .beta2 = (float)(cfg->optimizer == TR_RMSPROP ? cfg->alpha : cfg->beta2),
        .eps = (float)cfg->eps,
        .correct1 = (float)(1 / (1 - pow(cfg->beta1, t))),
        .correct2 = (float)(1 / (1 - pow(cfg->beta2, t))),
        .nesterov = cfg->nesterov,
    };
}

void tr_optimizer_apply(struct tr_optimizer *o, const struct tr_update *u, float *weights,
                        const float *gradients, size_t begin, size_t end)
{
    for (size_t s = 0; s < o->nspans; s++) {
        const struct span *span = &o->spans[s];
        size_t from = span->begin > begin ? span->begin : begin;
        size_t to = span->end < end ? span->end : end;
        if (from >= to || u->epoch >= span->until)
            continue;
        struct nn_coefficients c = coefficients_of(o->cfg, span, u);
        float *w = weights + from;
        const float *g = gradients + from;
        float *first = o->slot[0] ? o->slot[0] + from : NULL;
        float *second = o->slot[1] ? o->slot[1] + from : NULL;
        switch ((enum tr_optimizer_kind)o->cfg->optimizer) {
        case TR_SGD:
            update_sgd(w, g, first, to - from, c, (float)u->scale);
            break;
        case TR_ADAM:
            update_adam(w, g, first, second, to - from, c, (float)u->scale);
            break;
        case TR_RMSPROP:
            update_rmsprop(w, g, first, second, to - from, c, (float)u->scale);
            break;
        case TR_ADAGRAD:
            update_adagrad(w, g, first, to - from, c, (float)u->scale);
            break;
        }
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

struct nn_coefficients tr_optimizer_coefficients(const struct tr_optimizer *o, size_t span,
                                                 const struct tr_update *u)
{
    struct nn_coefficients c = coefficients_of(o->cfg, &o->spans[span], u);
    c.frozen = u->epoch >= o->spans[span].until;
    return c;
}
