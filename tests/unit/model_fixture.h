/* What tests that serve share: versions of a small network with random weights, and the logits that
 * these really give for its golden images, without a trainer. */
#ifndef TESTS_UNIT_MODEL_FIXTURE_H
#define TESTS_UNIT_MODEL_FIXTURE_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/rng.h"
#include "model/golden.h"
#include "model/init.h"
#include "model/plan.h"
#include "parameter/store.h"

struct model_fixture { /* zeroed but for store, which is the caller's */
    struct ps_store *store;
    struct nn_spec *spec;
    struct nn_layout *layout;
    float *weights;
    uint8_t *images; /* (NN_GOLDEN_IMAGES, H, W, C) */
    float *logits;   /* (NN_GOLDEN_IMAGES, classes) */
};

static inline void model_fixture_bytes(uint8_t *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)cm_rng_u32(seed, CM_RNG_SYNTHETIC, 0, 0, (uint32_t)i);
}

/* The network zoo:NAME, for what follows. */
static inline cm_status model_fixture_take(struct model_fixture *f, const char *name)
{
    char ref[128];
    snprintf(ref, sizeof ref, "zoo:%s", name);
    CM_TRY(nn_spec_load(&f->spec, ref));
    CM_TRY(nn_layout_open(&f->layout, f->spec));
    size_t nimage = nn_shape_count(f->spec->input);
    CM_TRY(cm_alloc_aligned(&f->weights, f->layout->ntotal, sizeof(float), "weights"));
    CM_TRY(cm_alloc(&f->images, NN_GOLDEN_IMAGES, nimage, "images"));
    CM_TRY(cm_alloc(&f->logits, NN_GOLDEN_IMAGES, (size_t)f->spec->nclasses * sizeof(float),
                    "logits"));
    model_fixture_bytes(f->images, NN_GOLDEN_IMAGES * nimage, 1);
    return CM_OK;
}

static inline cm_status model_fixture_compute(struct model_fixture *f)
{
    static const int batches[] = {NN_GOLDEN_IMAGES};
    struct nn_plan_config cfg = {.backend = nn_backend_cpu(),
                                 .precision = NN_PRECISION_FP32,
                                 .nshards = 1,
                                 .batches = batches,
                                 .nbatches = 1,
                                 .nlanes = 1,
                                 .threads = 1};
    struct nn_batch batch = {.n = NN_GOLDEN_IMAGES, .images = f->images};
    struct nn_plan *plan;
    CM_TRY(nn_plan_open(&plan, f->spec, f->layout, &cfg));
    cm_status st = nn_plan_prepare_all(plan, f->weights);
    if (st == CM_OK)
        st = nn_plan_infer(plan, NULL, &batch, f->logits);
    nn_plan_close(&plan);
    return st;
}

static inline cm_status model_fixture_put_spec(struct ps_draft *d, const struct nn_spec *spec)
{
    struct cm_jw w = {0};
    char *text;
    size_t n;
    CM_TRY(nn_spec_write(spec, &w));
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = ps_draft_put_file(d, "model.json", text, n);
    cm_free(&text);
    return st;
}

static inline cm_status model_fixture_write(struct model_fixture *f, int64_t *version)
{
    const struct nn_shape in = f->spec->input;
    const int64_t images[] = {NN_GOLDEN_IMAGES, in.h, in.w, in.c};
    const int64_t logits[] = {NN_GOLDEN_IMAGES, f->spec->nclasses};
    struct ps_tensors model = {0}, golden = {0};
    struct ps_manifest m = {.producer = "test"};
    struct ps_draft *d = NULL;
    cm_status st;
    for (size_t i = 0; i < f->layout->ntensors; i++) {
        const struct nn_tensor *t = &f->layout->tensors[i];
        CM_GOTO(st,
                ps_tensors_add(&model, t->name, PS_F32, t->ndim, t->dim, f->weights + t->offset),
                out);
    }
    CM_GOTO(st, ps_tensors_add(&golden, "images", PS_U8, 4, images, f->images), out);
    CM_GOTO(st, ps_tensors_add(&golden, "logits", PS_F32, 2, logits, f->logits), out);
    CM_GOTO(st, ps_draft_open(&d, f->store), out);
    CM_GOTO(st, model_fixture_put_spec(d, f->spec), out);
    CM_GOTO(st, ps_draft_put_tensors(d, "model.safetensors", &model), out);
    CM_GOTO(st, ps_draft_put_tensors(d, "golden.safetensors", &golden), out);
    CM_GOTO(st, ps_draft_commit(&d, &m), out);
    *version = m.version;
out:
    ps_draft_close(&d);
    ps_tensors_release(&model);
    ps_tensors_release(&golden);
    ps_manifest_release(&m);
    return st;
}

/* Golden logits that are the weights' own, another version's; a weight that is no number. */
enum model_kind { MODEL_GOOD, MODEL_WRONG, MODEL_NAN };

/* Writes a version with random weights of this seed. */
static inline cm_status model_fixture_version(struct model_fixture *f, uint64_t seed,
                                              enum model_kind kind, int64_t *version)
{
    if (!f->spec)
        return CM_FAIL(CM_EUSAGE, "name a network first");
    CM_TRY(nn_init_weights(f->weights, f->layout, f->spec, seed, NULL, 0));
    CM_TRY(model_fixture_compute(f));
    if (kind == MODEL_WRONG)
        CM_TRY(nn_init_weights(f->weights, f->layout, f->spec, seed + 1, NULL, 0));
    if (kind == MODEL_NAN)
        f->weights[f->layout->tensors[0].offset] = NAN;
    return model_fixture_write(f, version);
}

static inline void model_fixture_release(struct model_fixture *f)
{
    nn_layout_close(&f->layout);
    nn_spec_close(&f->spec);
    cm_free(&f->weights);
    cm_free(&f->images);
    cm_free(&f->logits);
}

#endif
