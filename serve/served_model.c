/* Weights are copied out of the store's files, which may be removed while they are served. */
#include "serve/served_model.h"

#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "model/golden.h"
#include "model/image_input.h"
#include "parameter/agree.h"
#include "parameter/store.h"
#include "serve/version_spec.h"
#include "wire/classes.h"
#include "wire/item.h"

#define MAX_GOLDEN  4096 /* images; a version carries NN_GOLDEN_IMAGES */
#define MAX_CLASSES WI_CLASSES_MAX

struct sv_model {
    struct sv_version version;
    struct sv_engine *engine;
    const struct nn_spec *spec; /* the engine's */
    struct nn_image_limits limits;
    int64_t decode_ns;
    size_t image_nbytes;
    float *probability; /* (classes) */
    uint16_t *order;    /* (classes): scratch of the encoding */
    const char **names; /* (classes): of spec */
    int *row;           /* (largest batch): of an item among the good images, or -1 */
    struct wi_buffer text;
};

/* ---- loading ---- */

static cm_status read_weights(struct sv_model *m, const struct ps_version *v)
{
    const struct nn_layout *layout = sv_engine_layout(m->engine);
    float *weights = sv_engine_weights(m->engine);
    struct ps_tensor_file *file;
    struct ps_tensors want = {0};
    cm_status st;
    CM_TRY(ps_version_map(&file, v, "model.safetensors"));
    const struct ps_tensors *have = ps_tensor_file_set(file);
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        CM_GOTO(st, ps_tensors_append(&want, t->name, PS_F32, t->ndim, t->dim, NULL), out);
    }
    CM_GOTO(st, ps_agree_tensors(have, &want, true, "model.safetensors"), out);
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        memcpy(weights + t->offset, ps_tensors_find(have, t->name)->data, t->n * sizeof(float));
    }
out:
    ps_tensors_release(&want);
    ps_tensor_file_close(&file);
    return st;
}

static cm_status allocate(struct sv_model *m)
{
    const struct nn_spec *spec = m->spec;
    size_t most = (size_t)sv_engine_largest(m->engine), classes = (size_t)spec->nclasses;
    m->image_nbytes = nn_shape_count(spec->input);
    CM_TRY(cm_alloc(&m->probability, classes, sizeof(float), "probabilities"));
    CM_TRY(cm_alloc(&m->order, classes, sizeof(uint16_t), "classes"));
    CM_TRY(cm_alloc(&m->names, classes, sizeof(char *), "classes"));
    CM_TRY(cm_alloc(&m->row, most, sizeof(int), "items"));
    for (size_t i = 0; i < classes; i++)
        m->names[i] = spec->classes[i];
    return CM_OK;
}

static cm_status check_golden_set(struct sv_model *m, const struct ps_tensors *set)
{
    const struct nn_shape in = m->spec->input;
    const struct ps_tensor *images = ps_tensors_find(set, "images"), *logits;
    int64_t n = images && images->ndim > 0 ? images->dim[0] : 0;
    if (n < 1 || n > MAX_GOLDEN)
        return CM_FAIL(CM_EFORMAT, "golden.safetensors: no 'images', or %lld of them",
                       (long long)n);
    const int64_t image_dim[] = {n, in.h, in.w, in.c}, logit_dim[] = {n, m->spec->nclasses};
    CM_TRY(ps_tensors_need(set, "images", PS_U8, 4, image_dim, &images));
    CM_TRY(ps_tensors_need(set, "logits", PS_F32, 2, logit_dim, &logits));

    size_t classes = (size_t)m->spec->nclasses;
    int most = sv_engine_largest(m->engine);
    float *want, *got = NULL; /* (n, classes) */
    cm_status st = CM_OK;
    CM_TRY(cm_alloc(&want, (size_t)n, classes * sizeof *want, "golden logits"));
    CM_GOTO(st, cm_alloc(&got, (size_t)n, classes * sizeof *got, "golden logits"), out);
    memcpy(want, logits->data, logits->nbytes);
    for (int done = 0; done < n;) {
        int some = n - done < most ? (int)(n - done) : most;
        const float *some_logits;
        memcpy(sv_engine_images(m->engine),
               (const uint8_t *)images->data + (size_t)done * m->image_nbytes,
               (size_t)some * m->image_nbytes);
        CM_GOTO(st, sv_engine_infer(m->engine, some, SV_WORK_LOAD, &some_logits), out);
        memcpy(got + (size_t)done * classes, some_logits, (size_t)some * classes * sizeof *got);
        done += some;
    }
    st = nn_golden_check(want, got, (int)n, m->spec->nclasses, sv_engine_dtype(m->engine));
out:
    cm_free(&want);
    cm_free(&got);
    return st;
}

static cm_status check_golden(struct sv_model *m, const struct ps_version *v)
{
    struct ps_tensor_file *file;
    CM_TRY(ps_version_map(&file, v, "golden.safetensors"));
    cm_status st = check_golden_set(m, ps_tensor_file_set(file));
    ps_tensor_file_close(&file);
    return st;
}

/* The version's engine: the spare one where it is of the same network, by the bytes of what
 * describes it; else a new one, after the other is gone. */
static cm_status take_engine(struct sv_model *m, const struct ps_version *v,
                             const struct sv_engine_config *cfg, struct sv_engine **spare)
{
    const struct ps_file *file = ps_manifest_file(ps_version_manifest(v), "model.json");
    struct nn_spec *spec;
    CM_TRY(sv_version_spec(&spec, v));
    if (spec->nclasses > MAX_CLASSES) {
        cm_status st = CM_FAIL(CM_EUNSUPPORTED, "%d classes, at most %d can be answered",
                               spec->nclasses, MAX_CLASSES);
        nn_spec_close(&spec);
        return st;
    }
    if (*spare && sv_engine_network(*spare) == file->hash) {
        nn_spec_close(&spec);
        m->engine = *spare;
        *spare = NULL;
    } else {
        sv_engine_close(spare);
        CM_TRY(sv_engine_open(&m->engine, &spec, file->hash, cfg));
    }
    m->spec = sv_engine_spec(m->engine);
    return CM_OK;
}

static cm_status fill(struct sv_model *m, const struct ps_version *v,
                      const struct sv_model_config *cfg, struct sv_engine **spare)
{
    m->limits = nn_image_limits_default;
    m->limits.max_nbytes = WI_BODY_MAX; /* what the gateway takes is its own to say */
    m->limits.max_pixels = cfg->max_pixels;
    m->decode_ns = cfg->decode_ns;
    CM_TRY(take_engine(m, v, &cfg->engine, spare));
    CM_TRY(allocate(m));
    CM_TRY(read_weights(m, v));
    CM_TRY(sv_engine_prepare(m->engine));
    CM_TRY(check_golden(m, v));
    return sv_engine_warm_up(m->engine);
}

cm_status sv_model_open(struct sv_model **out, int64_t version, uint64_t hash,
                        const struct sv_model_config *cfg, struct sv_engine **spare)
{
    struct ps_store *store = NULL;
    struct ps_version *v = NULL;
    struct sv_model *m = NULL;
    cm_status st;
    *out = NULL;
    CM_GOTO(st, ps_store_open(&store, cfg->store_dir, 'v'), out);
    CM_GOTO(st, ps_version_open(&v, store, version), out);
    const struct ps_manifest *manifest = ps_version_manifest(v);
    if (hash && manifest->hash != hash) {
        st = CM_FAIL(CM_EMISMATCH, "the manifest has hash %016llx, %016llx was asked for",
                     (unsigned long long)manifest->hash, (unsigned long long)hash);
        goto out;
    }
    CM_GOTO(st, cm_alloc(&m, 1, sizeof *m, "model"), out);
    m->version = (struct sv_version){version, manifest->hash};
    CM_GOTO(st, fill(m, v, cfg, spare), out);
    *out = m;
    m = NULL;
out:
    if (m && m->engine)
        *spare = sv_model_detach(&m);
    sv_model_close(&m);
    ps_version_close(&v);
    ps_store_close(&store);
    return st == CM_OK ? st : CM_CONTEXT(st, "version %lld", (long long)version);
}

void sv_model_close(struct sv_model **m)
{
    struct sv_engine *engine = sv_model_detach(m);
    sv_engine_close(&engine);
}

struct sv_engine *sv_model_detach(struct sv_model **model)
{
    struct sv_model *m = *model;
    if (!m)
        return NULL;
    struct sv_engine *engine = m->engine;
    cm_free(&m->probability);
    cm_free(&m->order);
    cm_free(&m->names);
    cm_free(&m->row);
    wi_buffer_release(&m->text);
    cm_free(model);
    return engine;
}

struct sv_version sv_model_version(const struct sv_model *m)
{
    return m->version;
}

const struct nn_spec *sv_model_spec(const struct sv_model *m)
{
    return m->spec;
}

enum nn_dtype sv_model_dtype(const struct sv_model *m)
{
    return sv_engine_dtype(m->engine);
}

/* ---- answering ---- */

static cm_status decode(struct sv_model *m, const struct wi_image *image, uint8_t *out)
{
    CM_TRY(cm_fault("serve.decode"));
    CM_TRY(wi_image_check(image));
    if (image->kind == WI_IMAGE_FILE)
        return nn_image_input_file(out, m->spec, image->data, image->n, &m->limits);
    return nn_image_input_pixels(out, m->spec, image->data, image->n, image->height, image->width,
                                 image->channels);
}

static cm_status add_failure(struct wi_buffer *answer, uint32_t slot, enum wi_status status,
                             const char *text)
{
    struct wi_item item = {.slot = slot,
                           .status = (uint16_t)status,
                           .body = WI_BODY_TEXT,
                           .data = text,
                           .n = strlen(text)};
    return wi_item_add(answer, &item);
}

/* In double, from the largest logit down; a row with a NaN gives NaN and is refused as such. */
static void softmax(float *probability, const float *logits, int n)
{
    double largest = (double)logits[0], sum = 0;
    for (int i = 1; i < n; i++)
        largest = fmax(largest, (double)logits[i]);
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[i] - largest);
    for (int i = 0; i < n; i++)
        probability[i] = (float)(exp((double)logits[i] - largest) / sum);
}

/* logits: of this image. */
static cm_status add_result(struct sv_model *m, struct wi_buffer *answer,
                            const struct wi_item *image, const float *logits)
{
    int classes = m->spec->nclasses;
    softmax(m->probability, logits, classes);
    m->text.n = 0;
    if (wi_classes_encode(&m->text, m->probability, m->names, classes, image->top_k, m->order) !=
        CM_OK)
        return add_failure(answer, image->slot, WI_FAILED, cm_error_text());
    struct wi_item item = {.slot = image->slot,
                           .status = WI_OK,
                           .body = WI_BODY_CLASSES,
                           .data = m->text.data,
                           .n = m->text.n};
    return wi_item_add(answer, &item);
}

/* Good images move up to the engine's, in order; bad ones have their answer at once. So results
 * come in two groups, each with its slots. */
static cm_status decode_all(struct sv_model *m, struct wi_items items, int64_t received_ns,
                            struct wi_buffer *answer, int *ngood)
{
    uint8_t *images = sv_engine_images(m->engine);
    int64_t began_ns = cm_now_ns();
    *ngood = 0;
    for (int i = 0; items.left > 0; i++) {
        struct wi_item item;
        CM_TRY(wi_item_next(&items, &item));
        struct wi_image image = wi_item_image(&item);
        m->row[i] = -1;
        int64_t now_ns = cm_now_ns();
        if (i > 0 && m->decode_ns && now_ns - began_ns >= m->decode_ns)
            CM_TRY(add_failure(answer, item.slot, WI_OVERLOADED, "no time was left to decode it"));
        else if (item.deadline_us && now_ns - received_ns >= item.deadline_us * INT64_C(1000))
            CM_TRY(add_failure(answer, item.slot, WI_TIMED_OUT,
                               "the deadline passed before the image was decoded"));
        else if (decode(m, &image, images + (size_t)*ngood * m->image_nbytes) == CM_OK)
            m->row[i] = (*ngood)++;
        else
            CM_TRY(add_failure(answer, item.slot, WI_BAD_INPUT, cm_error_text()));
    }
    return CM_OK;
}

cm_status sv_model_answer(struct sv_model *m, const void *body, size_t nbody, uint32_t count,
                          int64_t received_ns, struct wi_buffer *answer)
{
    struct wi_items items = {body, nbody, count};
    int ngood, most = sv_engine_largest(m->engine);
    size_t classes = (size_t)m->spec->nclasses;
    const float *logits;
    if (count < 1 || count > (uint32_t)most)
        return CM_FAIL(CM_EFORMAT, "a batch of %u images, 1 to %d are expected", count, most);
    CM_TRY(decode_all(m, items, received_ns, answer, &ngood));
    if (ngood == 0)
        return CM_OK;
    cm_status st = sv_engine_infer(m->engine, ngood, SV_WORK_BATCH, &logits);
    for (int i = 0; items.left > 0; i++) {
        struct wi_item item;
        CM_TRY(wi_item_next(&items, &item));
        if (m->row[i] < 0)
            continue;
        CM_TRY(st == CM_OK ? add_result(m, answer, &item, logits + (size_t)m->row[i] * classes)
                           : add_failure(answer, item.slot, WI_FAILED, cm_error_text()));
    }
    return CM_OK;
}
