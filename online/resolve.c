#include "online/resolve.h"

#include <string.h>

#include "common/hash.h"
#include "common/mem.h"
#include "model/image_input.h"
#include "wire/capture.h"
#include "wire/classes.h"
#include "wire/feedback.h"

cm_status ol_resolver_init(struct ol_resolver *r, const struct nn_spec *spec,
                           const struct nn_image_limits *limits, struct cm_redis *captures,
                           const struct ol_dedup *barred)
{
    *r = (struct ol_resolver){
        .spec = spec, .limits = *limits, .captures = captures, .barred = barred};
    CM_TRY(cm_alloc(&r->classes, (size_t)spec->nclasses, sizeof *r->classes, "class names"));
    for (int c = 0; c < spec->nclasses; c++)
        r->classes[c] = spec->classes[c];
    return CM_OK;
}

void ol_resolver_release(struct ol_resolver *r)
{
    cm_free(&r->classes);
}

static cm_status decode(const struct ol_resolver *r, const struct wi_image *image, uint8_t *pixels)
{
    CM_TRY(wi_image_check(image));
    if (image->kind == WI_IMAGE_FILE)
        return nn_image_input_file(pixels, r->spec, image->data, image->n, &r->limits);
    return nn_image_input_pixels(pixels, r->spec, image->data, image->n, image->height,
                                 image->width, image->channels);
}

#define CAPTURE_FIELDS 32

/* What the gateway kept; it lives in r->captures' reply. *there false: the message says why not. */
static cm_status look_up(struct ol_resolver *r, struct wi_id id, bool *there,
                         struct wi_capture *capture)
{
    char key[WI_KEY];
    const struct cm_redis_value *v;
    struct wi_field field[CAPTURE_FIELDS];
    size_t n = 0;
    wi_key_capture(key, id);
    cm_status st = cm_redis_call(r->captures, &v, "HGETALL", key, NULL);
    *there = false;
    if (st == CM_EINVAL && strstr(cm_error_text(), "WRONGTYPE"))
        return CM_OK; /* the entry's fault; any other refusal is Redis' and may pass */
    CM_TRY(st);
    for (size_t i = 0; i + 1 < v->n && n < CAPTURE_FIELDS; i += 2, n++)
        field[n] = (struct wi_field){.name = v->element[i].string,
                                     .nname = v->element[i].n,
                                     .value = v->element[i + 1].string,
                                     .nvalue = v->element[i + 1].n};
    *there = wi_capture_decode(capture, field, n) == CM_OK;
    return CM_OK;
}

static cm_status take_answer(const struct ol_resolver *r, const struct wi_capture *capture,
                             struct ol_entry *entry)
{
    struct wi_classes classes;
    struct wi_class top;
    CM_TRY(wi_classes_open(&classes, capture->classes, capture->nclasses));
    if (!wi_classes_next(&classes, &top) || top.index >= r->spec->nclasses)
        return CM_FAIL(CM_EFORMAT, "the captured answer names a class that the model has not");
    entry->served_version = capture->version;
    entry->served_class = top.index;
    return CM_OK;
}

uint64_t ol_image_hash(const uint8_t *pixels, size_t n)
{
    return cm_xxh64(pixels, n);
}

static uint64_t hash_producer(const char *name, struct wi_text id)
{
    char text[WI_OPERATOR + WI_FEEDBACK_ID_MAX] = "";
    if (id.n == 0)
        return 0;
    size_t n = strlen(name) + 1; /* the NUL parts the two */
    memcpy(text, name, n);
    memcpy(text + n, id.s, id.n);
    return cm_xxh64(text, n + id.n);
}

/* The entry's own faults, and those of what it points to. */
static cm_status resolve_good(struct ol_resolver *r, const struct wi_feedback *f,
                              const struct wi_capture *capture, struct ol_entry *entry,
                              int32_t *label, uint8_t *pixels)
{
    int class;
    CM_TRY(wi_feedback_class(&class, f, r->classes, r->spec->nclasses));
    *label = class;
    if (capture)
        CM_TRY(take_answer(r, capture, entry));
    CM_TRY(decode(r, capture ? &capture->image : &f->image, pixels));
    uint64_t image = ol_image_hash(pixels, nn_shape_count(r->spec->input));
    if (r->barred && ol_dedup_has(r->barred, image))
        return CM_FAIL(CM_EINVAL, "image: it is one of the holdout, which judges candidates and is "
                                  "never trained on");
    const uint64_t both[] = {image, (uint64_t) class};
    entry->content = cm_xxh64(both, sizeof both);
    return CM_OK;
}

cm_status ol_resolve(struct ol_resolver *r, const char *name, const struct wi_field *field,
                     size_t nfields, bool *good, struct ol_entry *entry, int32_t *label,
                     uint8_t *pixels)
{
    struct wi_feedback f;
    struct wi_capture capture;
    entry->served_version = 0;
    entry->served_class = -1;
    *good = wi_feedback_parse(&f, field, nfields) == CM_OK;
    bool captured = *good && f.image.kind == WI_IMAGE_NONE;
    if (captured)
        CM_TRY(look_up(r, f.prediction_id, good, &capture));
    if (!*good)
        return CM_OK;
    cm_status st = resolve_good(r, &f, captured ? &capture : NULL, entry, label, pixels);
    *good = st == CM_OK;
    if (st == CM_ENOMEM)
        return st;
    if (*good)
        entry->producer = hash_producer(name, f.id);
    return CM_OK;
}
