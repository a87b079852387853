#include "trainer/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "model/golden.h"
#include "model/plan.h"
#include "parameter/agree.h"

#define MODEL_JSON_MAX (1 << 20)
#define SKIP           "skip" /* kind of an intervention */

/* ---- tensor sets ---- */

/* All tensors of the arena under "prefix" + name. */
static cm_status add_arena(struct ps_tensors *set, const struct nn_layout *layout,
                           const char *prefix, const float *arena, bool statistics)
{
    for (size_t t = 0; t < layout->ntensors; t++) {
        const struct nn_tensor *tensor = &layout->tensors[t];
        if (!statistics && !tensor->trained)
            continue;
        char name[160];
        snprintf(name, sizeof name, "%s%s", prefix, tensor->name);
        CM_TRY(ps_tensors_append(set, name, PS_F32, tensor->ndim, tensor->dim,
                                 arena + tensor->offset));
    }
    return CM_OK;
}

static cm_status take_arena(const struct ps_tensors *set, const struct nn_layout *layout,
                            const char *prefix, float *arena, bool statistics)
{
    for (size_t t = 0; t < layout->ntensors; t++) {
        const struct nn_tensor *tensor = &layout->tensors[t];
        if (!statistics && !tensor->trained)
            continue;
        char name[160];
        snprintf(name, sizeof name, "%s%s", prefix, tensor->name);
        const struct ps_tensor *found;
        CM_TRY(ps_tensors_need(set, name, PS_F32, tensor->ndim, tensor->dim, &found));
        memcpy(arena + tensor->offset, found->data, found->nbytes);
    }
    return CM_OK;
}

static cm_status model_set(struct ps_tensors *set, const struct nn_layout *layout,
                           const float *weights)
{
    return add_arena(set, layout, "", weights, true);
}

/* Optimiser slots as "momentum_buffer.conv1.weight", the average as "average.conv1.weight". */
static cm_status state_set(struct ps_tensors *set, const struct tr_state *state)
{
    for (int s = 0; s < tr_optimizer_nslots(state->optimizer); s++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s.", tr_optimizer_slot_name(state->optimizer, s));
        CM_TRY(
            add_arena(set, state->layout, prefix, tr_optimizer_slot(state->optimizer, s), false));
    }
    return state->average ? add_arena(set, state->layout, "average.", state->average, true) : CM_OK;
}

static cm_status golden_set(struct ps_tensors *set, const struct nn_spec *spec,
                            const struct tr_golden *golden)
{
    const int64_t images[] = {NN_GOLDEN_IMAGES, spec->input.h, spec->input.w, spec->input.c};
    const int64_t logits[] = {NN_GOLDEN_IMAGES, spec->nclasses};
    CM_TRY(ps_tensors_append(set, "images", PS_U8, 4, images, golden->images));
    return ps_tensors_append(set, "logits", PS_F32, 2, logits, golden->logits);
}

/* ---- notes: the schedule's and early stopping's state ---- */

/* Oldest first, so the ring may start anywhere when it is read back. */
static void write_losses(struct cm_jw *w, const struct tr_losses *l)
{
    cm_jw_begin(w, "losses", '[');
    for (int64_t i = l->n < TR_SPIKE_WINDOW ? 0 : l->n - TR_SPIKE_WINDOW; i < l->n; i++)
        cm_jw_f64(w, NULL, l->loss[i % TR_SPIKE_WINDOW]);
    cm_jw_end(w);
}

static cm_status write_notes(char **text, const struct tr_progress *p)
{
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_f64(&w, "plateau_factor", p->plateau.factor);
    cm_jw_f64(&w, "plateau_best", p->plateau.best); /* infinite before the first: null */
    cm_jw_i64(&w, "plateau_bad", p->plateau.bad);
    cm_jw_f64(&w, "best_accuracy", p->best_accuracy);
    cm_jw_i64(&w, "evaluations_since", p->evaluations_since);
    cm_jw_i64(&w, "next_evaluation", p->next_evaluation);
    if (p->losses.n > 0)
        write_losses(&w, &p->losses);
    if (p->scaling.loss_scale > 0) {
        cm_jw_f64(&w, "loss_scale", (double)p->scaling.loss_scale);
        cm_jw_i64(&w, "loss_scale_clean", p->scaling.clean);
        cm_jw_i64(&w, "loss_scale_skipped", p->scaling.skipped);
    }
    cm_jw_end(&w);
    size_t n;
    return cm_jw_take(&w, text, &n);
}

/* Absent where spikes were not looked for. */
static cm_status read_losses(const struct cm_json *notes, const char *where, struct tr_losses *l)
{
    *l = (struct tr_losses){0};
    const struct cm_json *losses = cm_json_get(notes, "losses");
    size_t n = cm_json_count(losses);
    if (n > TR_SPIKE_WINDOW)
        return CM_FAIL(CM_EFORMAT, "%s: %zu losses, at most %d", where, n, TR_SPIKE_WINDOW);
    CM_JSON_EACH (loss, losses) {
        double value;
        CM_TRY(cm_json_as_f64(loss, where, &value));
        tr_losses_note(l, value);
    }
    return CM_OK;
}

/* Absent where the loss was not scaled. */
static cm_status read_scaling(const struct cm_json *notes, const char *where,
                              struct nn_step_state *s)
{
    double scale;
    int64_t clean;
    *s = (struct nn_step_state){0};
    if (!cm_json_get(notes, "loss_scale"))
        return CM_OK;
    CM_TRY(cm_json_need_f64(notes, where, "loss_scale", &scale));
    CM_TRY(cm_json_need_i64(notes, where, "loss_scale_clean", 0, NN_SCALE_GROWTH, &clean));
    CM_TRY(cm_json_need_i64(notes, where, "loss_scale_skipped", 0, INT64_MAX, &s->skipped));
    if (!(scale >= 1 && scale <= (double)NN_SCALE_MOST))
        return CM_FAIL(CM_EFORMAT, "%s: loss_scale %g is not in 1 … %g", where, scale,
                       (double)NN_SCALE_MOST);
    s->loss_scale = (float)scale;
    s->clean = (int32_t)clean;
    return CM_OK;
}

static cm_status read_notes(const struct ps_manifest *m, struct tr_progress *p)
{
    static const char where[] = "manifest: notes";
    if (!m->notes)
        return CM_FAIL(CM_EFORMAT, "%s are missing: this version cannot be resumed", where);
    struct cm_json *json;
    CM_TRY(cm_json_parse(&json, m->notes, strlen(m->notes), where));
    cm_status st;
    CM_GOTO(st, cm_json_need_f64(json, where, "plateau_factor", &p->plateau.factor), out);
    const struct cm_json *best = cm_json_get(json, "plateau_best");
    p->plateau.best = (double)INFINITY;
    if (best && cm_json_type(best) == CM_JSON_NUMBER)
        CM_GOTO(st, cm_json_as_f64(best, where, &p->plateau.best), out);
    CM_GOTO(st, cm_json_need_i64(json, where, "plateau_bad", 0, INT32_MAX, &p->plateau.bad), out);
    CM_GOTO(st, cm_json_need_f64(json, where, "best_accuracy", &p->best_accuracy), out);
    CM_GOTO(st,
            cm_json_need_i64(json, where, "evaluations_since", 0, INT32_MAX, &p->evaluations_since),
            out);
    CM_GOTO(st, cm_json_need_i64(json, where, "next_evaluation", 0, INT32_MAX, &p->next_evaluation),
            out);
    CM_GOTO(st, read_losses(json, where, &p->losses), out);
    st = read_scaling(json, where, &p->scaling);
out:
    cm_json_close(&json);
    return st;
}

static cm_status read_skips(const struct ps_manifest *m, struct tr_progress *p)
{
    p->nskips = 0;
    for (size_t i = 0; i < m->ninterventions; i++) {
        const struct ps_intervention *one = &m->interventions[i];
        if (strcmp(one->kind, SKIP) != 0)
            continue;
        if (p->nskips == TR_SKIPS)
            return CM_FAIL(CM_EFORMAT, "manifest: more than %d skips", TR_SKIPS);
        p->skip[p->nskips++] = (struct tr_skip){one->first_step, one->last_step};
    }
    return CM_OK;
}

/* ---- put ---- */

static cm_status put_model_json(struct ps_draft *draft, const struct nn_spec *spec)
{
    struct cm_jw w = {.indent = 1};
    char *text = NULL;
    size_t n;
    cm_status st = nn_spec_write(spec, &w);
    if (st == CM_OK)
        st = cm_jw_take(&w, &text, &n);
    if (st == CM_OK)
        st = ps_draft_put_file(draft, "model.json", text, n);
    cm_jw_release(&w);
    cm_free(&text);
    return st;
}

cm_status tr_checkpoint_put(struct ps_draft *draft, const struct tr_state *state,
                            const struct tr_golden *golden, struct ps_manifest *m)
{
    struct ps_tensors model = {0}, rest = {0}, images = {0};
    cm_status st;
    CM_GOTO(st, put_model_json(draft, state->spec), out);
    CM_GOTO(st, model_set(&model, state->layout, state->weights), out);
    CM_GOTO(st, ps_draft_put_tensors(draft, "model.safetensors", &model), out);
    CM_GOTO(st, state_set(&rest, state), out);
    CM_GOTO(st, ps_draft_put_tensors(draft, "state.safetensors", &rest), out);
    CM_GOTO(st, golden_set(&images, state->spec, golden), out);
    CM_GOTO(st, ps_draft_put_tensors(draft, "golden.safetensors", &images), out);
    m->step = state->progress->step;
    CM_GOTO(st, write_notes(&m->notes, state->progress), out);
    for (int64_t i = 0; i < state->progress->nskips; i++)
        CM_GOTO(st,
                ps_manifest_intervene(m, SKIP, state->progress->skip[i].first,
                                      state->progress->skip[i].last),
                out);
out:
    ps_tensors_release(&model);
    ps_tensors_release(&rest);
    ps_tensors_release(&images);
    return st;
}

/* ---- get ---- */

static cm_status get_model(const struct ps_version *version, const struct nn_layout *layout,
                           float *weights)
{
    struct ps_tensor_file *file;
    CM_TRY(ps_version_map(&file, version, "model.safetensors"));
    struct ps_tensors want = {0};
    cm_status st;
    CM_GOTO(st, model_set(&want, layout, weights), out);
    CM_GOTO(st, ps_agree_tensors(ps_tensor_file_set(file), &want, true, ps_version_dir(version)),
            out);
    st = take_arena(ps_tensor_file_set(file), layout, "", weights, true);
out:
    ps_tensors_release(&want);
    ps_tensor_file_close(&file);
    return st;
}

static cm_status get_state(const struct ps_version *version, const struct tr_state *state)
{
    struct ps_tensor_file *file;
    CM_TRY(ps_version_map(&file, version, "state.safetensors"));
    const struct ps_tensors *have = ps_tensor_file_set(file);
    struct ps_tensors want = {0};
    cm_status st;
    CM_GOTO(st, state_set(&want, state), out);
    CM_GOTO(st, ps_agree_tensors(have, &want, true, ps_version_dir(version)), out);
    for (int s = 0; s < tr_optimizer_nslots(state->optimizer); s++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s.", tr_optimizer_slot_name(state->optimizer, s));
        CM_GOTO(
            st,
            take_arena(have, state->layout, prefix, tr_optimizer_slot(state->optimizer, s), false),
            out);
    }
    if (state->average)
        st = take_arena(have, state->layout, "average.", state->average, true);
out:
    ps_tensors_release(&want);
    ps_tensor_file_close(&file);
    return st;
}

cm_status tr_checkpoint_get_weights(const struct ps_version *version,
                                    const struct nn_layout *layout, float *weights)
{
    return get_model(version, layout, weights);
}

cm_status tr_checkpoint_get(const struct ps_version *version, const struct tr_state *state)
{
    const struct ps_manifest *m = ps_version_manifest(version);
    CM_TRY(get_model(version, state->layout, state->weights));
    if (!ps_manifest_file(m, "state.safetensors")) {
        cm_log_warn("%s has no state.safetensors: its weights are taken, training starts at step 0",
                    ps_version_dir(version));
        if (state->average)
            memcpy(state->average, state->weights, state->layout->ntotal * sizeof(float));
        return CM_OK;
    }
    CM_TRY(get_state(version, state));
    CM_TRY(read_notes(m, state->progress));
    CM_TRY(read_skips(m, state->progress));
    state->progress->step = m->step;
    return CM_OK;
}

cm_status tr_checkpoint_get_spec(const struct ps_version *version, struct nn_spec **out)
{
    *out = NULL;
    char *text;
    size_t n;
    CM_TRY(ps_version_read(&text, &n, version, "model.json", MODEL_JSON_MAX));
    struct cm_json *json = NULL;
    cm_status st = cm_json_parse(&json, text, n, "model.json");
    if (st == CM_OK)
        st = nn_spec_parse(out, json, "model.json");
    cm_json_close(&json);
    cm_free(&text);
    return st == CM_OK ? st : CM_CONTEXT(st, "%s", ps_version_dir(version));
}

/* ---- golden ---- */

cm_status tr_golden_logits(const struct nn_spec *spec, const struct nn_layout *layout,
                           const float *weights, const uint8_t *images, float *logits)
{
    static const int batches[] = {NN_GOLDEN_IMAGES};
    struct nn_plan_config cfg = {.backend = nn_backend_cpu(),
                                 .precision = NN_PRECISION_FP32,
                                 .nshards = 1,
                                 .batches = batches,
                                 .nbatches = 1,
                                 .nlanes = 1,
                                 .threads = 1};
    struct nn_plan *plan;
    CM_TRY(nn_plan_open(&plan, spec, layout, &cfg));
    struct nn_batch batch = {.n = NN_GOLDEN_IMAGES, .images = images};
    cm_status st = nn_plan_prepare_all(plan, weights);
    if (st == CM_OK)
        st = nn_plan_infer(plan, NULL, &batch, logits);
    nn_plan_close(&plan);
    return st;
}
