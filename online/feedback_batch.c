#include "online/feedback_batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/json.h"
#include "common/mem.h"
#include "parameter/safetensors.h"
#include "wire/text.h"

#define META       "batch"
#define ENTRIES    1000000 /* more are no batch of ours */
#define NUMBER_MAX 9007199254740991

uint64_t ol_entry_delivery(const char *operator_name, const struct ol_entry *e)
{
    if (e->producer)
        return e->producer;
    const uint64_t parts[] = {cm_xxh64(operator_name, strlen(operator_name)), e->id.ms, e->id.seq,
                              e->content};
    return cm_xxh64(parts, sizeof parts);
}

void ol_batch_release(struct ol_batch *b)
{
    for (size_t i = 0; i < b->nentries; i++)
        cm_free(&b->entries[i].reason);
    cm_free(&b->operators);
    cm_free(&b->after);
    cm_free(&b->entries);
    cm_free(&b->pixels);
    cm_free(&b->labels);
    *b = (struct ol_batch){0};
}

cm_status ol_batch_operator(int32_t *out, struct ol_batch *b, const char *name, struct ol_id after)
{
    size_t n = b->noperators;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(b->operators[i], name) != 0)
            continue;
        *out = (int32_t)i;
        return CM_OK;
    }
    CM_TRY(cm_realloc(&b->operators, n + 1, sizeof *b->operators, "operators of a batch"));
    CM_TRY(cm_realloc(&b->after, n + 1, sizeof *b->after, "operators of a batch"));
    memset(b->operators[n], 0, sizeof b->operators[n]);
    snprintf(b->operators[n], sizeof b->operators[n], "%s", name);
    b->after[n] = after;
    b->noperators++;
    *out = (int32_t)n;
    return CM_OK;
}

static size_t image_nbytes(const struct ol_batch *b)
{
    return nn_shape_count(b->shape);
}

static cm_status add_image(struct ol_batch *b, const uint8_t *pixels, int32_t label)
{
    size_t n = b->nimages, nbytes = image_nbytes(b);
    CM_TRY(cm_realloc(&b->pixels, n + 1, nbytes, "images of a batch"));
    CM_TRY(cm_realloc(&b->labels, n + 1, sizeof *b->labels, "labels of a batch"));
    memcpy(b->pixels + n * nbytes, pixels, nbytes);
    b->labels[n] = label;
    b->nimages++;
    return CM_OK;
}

cm_status ol_batch_add(struct ol_batch *b, const struct ol_entry *entry, const uint8_t *pixels,
                       int32_t label)
{
    struct ol_entry e = *entry;
    CM_TRY(cm_realloc(&b->entries, b->nentries + 1, sizeof e, "entries of a batch"));
    e.row = e.fate == OL_TRAINED ? (int32_t)b->nimages : -1;
    e.reason = NULL;
    if (entry->reason)
        CM_TRY(cm_strdup(&e.reason, entry->reason));
    if (e.fate == OL_TRAINED) {
        cm_status st = add_image(b, pixels, label);
        if (st != CM_OK) {
            cm_free(&e.reason);
            return st;
        }
    }
    b->entries[b->nentries++] = e;
    return CM_OK;
}

cm_status ol_batch_path(char path[CM_PATH], const char *dir, int64_t number)
{
    char name[48];
    snprintf(name, sizeof name, "b%06" PRId64 ".safetensors", number);
    return cm_path_join(path, dir, name);
}

/* ---- the file ---- */

/* The columns of the entries, as the file has them. */
struct columns {
    uint64_t *id, *keys; /* (E, 2) */
    int32_t *source;     /* (E, 3) */
    int64_t *served;     /* (E, 2) */
};

static void release_columns(struct columns *c)
{
    cm_free(&c->id);
    cm_free(&c->keys);
    cm_free(&c->source);
    cm_free(&c->served);
}

static cm_status make_columns(struct columns *c, const struct ol_batch *b)
{
    size_t n = b->nentries;
    *c = (struct columns){0};
    CM_TRY(cm_alloc(&c->id, n, 2 * sizeof *c->id, "ids of a batch"));
    CM_TRY(cm_alloc(&c->keys, n, 2 * sizeof *c->keys, "keys of a batch"));
    CM_TRY(cm_alloc(&c->source, n, 3 * sizeof *c->source, "sources of a batch"));
    CM_TRY(cm_alloc(&c->served, n, 2 * sizeof *c->served, "answers of a batch"));
    for (size_t i = 0; i < n; i++) {
        const struct ol_entry *e = &b->entries[i];
        c->id[2 * i] = e->id.ms;
        c->id[2 * i + 1] = e->id.seq;
        c->keys[2 * i] = e->content;
        c->keys[2 * i + 1] = e->producer;
        c->source[3 * i] = e->operator_index;
        c->source[3 * i + 1] = e->fate;
        c->source[3 * i + 2] = e->row;
        c->served[2 * i] = e->served_version;
        c->served[2 * i + 1] = e->served_class;
    }
    return CM_OK;
}

static cm_status list_tensors(struct ps_tensors *set, const struct ol_batch *b,
                              const struct columns *c)
{
    int64_t f = (int64_t)b->nimages, e = (int64_t)b->nentries;
    const int64_t pixels[] = {f, b->shape.h, b->shape.w, b->shape.c};
    const int64_t two[] = {e, 2}, three[] = {e, 3};
    CM_TRY(ps_tensors_append(set, "pixels", PS_U8, 4, pixels, b->pixels));
    CM_TRY(ps_tensors_append(set, "label", PS_I32, 1, &f, b->labels));
    CM_TRY(ps_tensors_append(set, "id", PS_U64, 2, two, c->id));
    CM_TRY(ps_tensors_append(set, "source", PS_I32, 2, three, c->source));
    CM_TRY(ps_tensors_append(set, "served", PS_I64, 2, two, c->served));
    return ps_tensors_append(set, "keys", PS_U64, 2, two, c->keys);
}

/* safetensors has no checksum of its own: all tensors and the JSON without its hash. */
static cm_status hash_of(uint64_t *out, const struct ol_batch *b, const struct columns *c,
                         const char *head, size_t nhead)
{
    struct cm_xxh *h;
    CM_TRY(cm_xxh_open(&h));
    cm_xxh_update(h, head, nhead);
    cm_xxh_update(h, b->pixels, b->nimages * image_nbytes(b));
    cm_xxh_update(h, b->labels, b->nimages * sizeof *b->labels);
    cm_xxh_update(h, c->id, b->nentries * 2 * sizeof *c->id);
    cm_xxh_update(h, c->source, b->nentries * 3 * sizeof *c->source);
    cm_xxh_update(h, c->served, b->nentries * 2 * sizeof *c->served);
    cm_xxh_update(h, c->keys, b->nentries * 2 * sizeof *c->keys);
    *out = cm_xxh_digest(h);
    cm_xxh_close(&h);
    return CM_OK;
}

/* What the tensors do not hold: {"format", "number", …}. */
static cm_status write_head(char **text, size_t *n, const struct ol_batch *b)
{
    struct cm_jw w = {0};
    char classes[CM_XXH_TEXT];
    cm_jw_begin(&w, NULL, '{');
    cm_xxh_format(classes, b->classes);
    cm_jw_string(&w, "format", "1.1");
    cm_jw_string(&w, "classes", classes);
    cm_jw_i64(&w, "number", b->number);
    cm_jw_i64(&w, "champion", b->champion);
    cm_jw_string(&w, "epoch", b->epoch);
    cm_jw_begin(&w, "operators", '[');
    for (size_t i = 0; i < b->noperators; i++) {
        char after[OL_ID_TEXT];
        ol_id_format(after, b->after[i]);
        cm_jw_begin(&w, NULL, '{');
        cm_jw_string(&w, "name", b->operators[i]);
        cm_jw_string(&w, "after", after);
        cm_jw_end(&w);
    }
    cm_jw_end(&w);
    cm_jw_begin(&w, "reasons", '['); /* of the dead ones, in order */
    for (size_t i = 0; i < b->nentries; i++)
        if (b->entries[i].fate == OL_DEAD)
            cm_jw_string(&w, NULL, b->entries[i].reason);
    cm_jw_end(&w);
    cm_jw_end(&w);
    return cm_jw_take(&w, text, n);
}

cm_status ol_batch_save(struct ol_batch *b, const char *path)
{
    struct ps_tensors set = {0};
    struct columns c = {0};
    char *head = NULL, hash[CM_XXH_TEXT];
    size_t n;
    cm_status st;
    CM_GOTO(st, make_columns(&c, b), out);
    CM_GOTO(st, list_tensors(&set, b, &c), out);
    CM_GOTO(st, write_head(&head, &n, b), out);
    CM_GOTO(st, hash_of(&b->hash, b, &c, head, n), out);
    cm_xxh_format(hash, b->hash);
    CM_GOTO(st, ps_tensors_set_meta(&set, META, head), out);
    CM_GOTO(st, ps_tensors_set_meta(&set, "xxh3", hash), out);
    st = ps_tensor_file_save(path, &set, NULL, NULL);
out:
    ps_tensors_release(&set);
    release_columns(&c);
    cm_free(&head);
    return st;
}

/* ---- and back ---- */

static cm_status read_operators(struct ol_batch *b, const struct cm_json *head, const char *what)
{
    const struct cm_json *list;
    CM_TRY(cm_json_need(head, what, "operators", CM_JSON_ARRAY, &list));
    CM_JSON_EACH (v, list) {
        const char *name, *after;
        struct ol_id id;
        int32_t index;
        CM_TRY(cm_json_need_string(v, what, "name", &name));
        CM_TRY(cm_json_need_string(v, what, "after", &after));
        if (!wi_text_is_name(name, strlen(name), WI_OPERATOR - 1) ||
            !ol_id_parse(&id, after, strlen(after)))
            return CM_FAIL(CM_EFORMAT, "%s: an operator without name or offset", what);
        CM_TRY(ol_batch_operator(&index, b, name, id));
    }
    return CM_OK;
}

static cm_status read_head(struct ol_batch *b, const struct cm_json *head, const char *what)
{
    const char *epoch;
    CM_TRY(cm_json_need_i64(head, what, "number", 1, NUMBER_MAX, &b->number));
    CM_TRY(cm_json_need_i64(head, what, "champion", 1, NUMBER_MAX, &b->champion));
    CM_TRY(cm_json_need_string(head, what, "epoch", &epoch));
    if (strlen(epoch) >= sizeof b->epoch)
        return CM_FAIL(CM_EFORMAT, "%s: 'epoch' is no UUID", what);
    snprintf(b->epoch, sizeof b->epoch, "%s", epoch);
    const struct cm_json *classes = cm_json_get(head, "classes"); /* since 1.1 */
    if (classes) {
        const char *text;
        char *end;
        CM_TRY(cm_json_as_string(classes, what, &text));
        b->classes = strtoull(text, &end, 16);
        if (strlen(text) != CM_XXH_TEXT - 1 || *end)
            return CM_FAIL(CM_EFORMAT, "%s: 'classes' is no hash", what);
    }
    return read_operators(b, head, what);
}

static cm_status take_tensor(void *out, const struct ps_tensors *set, const char *name,
                             enum ps_dtype dtype, int ndim, const int64_t *dim)
{
    const struct ps_tensor *t;
    CM_TRY(ps_tensors_need(set, name, dtype, ndim, dim, &t));
    CM_TRY(cm_alloc(out, t->nbytes, 1, name));
    if (t->nbytes)
        memcpy(*(void **)out, t->data, t->nbytes);
    return CM_OK;
}

/* Sizes come from the shapes of pixels and id; all the others must fit them. */
static cm_status read_tensors(struct ol_batch *b, struct columns *c, const struct ps_tensors *set,
                              const char *what)
{
    const struct ps_tensor *pixels = ps_tensors_find(set, "pixels"), *id;
    if (!pixels || pixels->dtype != PS_U8 || pixels->ndim != 4)
        return CM_FAIL(CM_EFORMAT, "%s: no pixels of (F, H, W, C)", what);
    id = ps_tensors_find(set, "id");
    if (!id || id->ndim != 2 || id->dim[0] > ENTRIES || pixels->dim[0] > id->dim[0])
        return CM_FAIL(CM_EFORMAT, "%s: no ids of (E, 2), or more images than entries", what);
    for (int i = 1; i < 4; i++)
        if (pixels->dim[i] < 1 || pixels->dim[i] > 65535)
            return CM_FAIL(CM_EFORMAT, "%s: images of an impossible size", what);
    b->shape = (struct nn_shape){
        .h = (int)pixels->dim[1], .w = (int)pixels->dim[2], .c = (int)pixels->dim[3]};
    int64_t f = pixels->dim[0], e = id->dim[0];
    const int64_t two[] = {e, 2}, three[] = {e, 3};
    CM_TRY(take_tensor(&b->pixels, set, "pixels", PS_U8, 4, pixels->dim));
    CM_TRY(take_tensor(&b->labels, set, "label", PS_I32, 1, &f));
    CM_TRY(take_tensor(&c->id, set, "id", PS_U64, 2, two));
    CM_TRY(take_tensor(&c->source, set, "source", PS_I32, 2, three));
    CM_TRY(take_tensor(&c->served, set, "served", PS_I64, 2, two));
    CM_TRY(take_tensor(&c->keys, set, "keys", PS_U64, 2, two));
    CM_TRY(cm_alloc(&b->entries, (size_t)e, sizeof *b->entries, "entries of a batch"));
    b->nimages = (size_t)f;
    b->nentries = (size_t)e;
    return CM_OK;
}

static cm_status read_entries(struct ol_batch *b, const struct columns *c,
                              const struct cm_json *head, const char *what)
{
    const struct cm_json *reasons;
    CM_TRY(cm_json_need(head, what, "reasons", CM_JSON_ARRAY, &reasons));
    const struct cm_json *reason = cm_json_first(reasons);
    int32_t row = 0;
    for (size_t i = 0; i < b->nentries; i++) {
        struct ol_entry *e = &b->entries[i];
        *e = (struct ol_entry){.id = {c->id[2 * i], c->id[2 * i + 1]},
                               .content = c->keys[2 * i],
                               .producer = c->keys[2 * i + 1],
                               .operator_index = c->source[3 * i],
                               .fate = c->source[3 * i + 1],
                               .row = c->source[3 * i + 2],
                               .served_version = c->served[2 * i],
                               .served_class = c->served[2 * i + 1]};
        bool trained = e->fate == OL_TRAINED;
        if (e->operator_index < 0 || (size_t)e->operator_index >= b->noperators ||
            e->row != (trained ? row : -1) ||
            (!trained && e->fate != OL_DEAD && e->fate != OL_DUPLICATE))
            return CM_FAIL(CM_EFORMAT, "%s: entry %zu has no operator, fate or image", what, i);
        row += trained;
        if (e->fate != OL_DEAD)
            continue;
        const char *text;
        if (!reason)
            return CM_FAIL(CM_EFORMAT, "%s: a dead letter without a reason", what);
        CM_TRY(cm_json_as_string(reason, what, &text));
        CM_TRY(cm_strdup(&e->reason, text));
        reason = cm_json_next(reason);
    }
    if ((size_t)row != b->nimages)
        return CM_FAIL(CM_EFORMAT, "%s: %d entries for %zu images", what, (int)row, b->nimages);
    return CM_OK;
}

cm_status ol_batch_parse(struct ol_batch *out, const void *bytes, size_t nbytes, const char *what)
{
    struct ps_tensors set = {0};
    struct columns c = {0};
    struct cm_json *head = NULL;
    char hash[CM_XXH_TEXT];
    cm_status st;
    *out = (struct ol_batch){0};
    CM_GOTO(st, ps_safetensors_parse(&set, bytes, nbytes, what), out);
    const char *text = ps_tensors_meta(&set, META), *sealed = ps_tensors_meta(&set, "xxh3");
    if (!text || !sealed) {
        st = CM_FAIL(CM_EFORMAT, "%s: no log of a batch", what);
        goto out;
    }
    CM_GOTO(st, cm_json_parse(&head, text, strlen(text), what), out);
    CM_GOTO(st, cm_json_need_format(head, what, 1, NULL),
            out); /* first: of a newer one the rest may be unlike ours */
    CM_GOTO(st, read_tensors(out, &c, &set, what), out);
    CM_GOTO(st, hash_of(&out->hash, out, &c, text, strlen(text)), out);
    cm_xxh_format(hash, out->hash);
    if (strcmp(hash, sealed) != 0) {
        st = CM_FAIL(CM_ECORRUPT, "%s: its hash is %s, not %s", what, hash, sealed);
        goto out;
    }
    CM_GOTO(st, read_head(out, head, what), out);
    st = read_entries(out, &c, head, what);
out:
    cm_json_close(&head);
    release_columns(&c);
    ps_tensors_release(&set);
    if (st != CM_OK)
        ol_batch_release(out);
    return st;
}
