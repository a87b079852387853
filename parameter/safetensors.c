/* Reading: every number of the header is checked against the file before a pointer is made from it,
 * then the tensors are sorted by place, so that a hole, an overlap and a trailing byte are each one
 * comparison. Writing: the header is built, read back by our own reader (what we would refuse we do
 * not write), and padded. */
#include "parameter/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "common/utf8.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

#define WHERE 256 /* "file: tensor name", cut where longer */
/* Every integer that a double, and so any JSON reader, holds exactly. */
#define JSON_INT_MAX ((int64_t)1 << 53)

/* ---- reading ---- */

static cm_status read_shape(const struct cm_json *info, const char *where, int *ndim,
                            int64_t dim[PS_NDIM_MAX])
{
    const struct cm_json *shape;
    CM_TRY(cm_json_need(info, where, "shape", CM_JSON_ARRAY, &shape));
    if (cm_json_count(shape) > PS_NDIM_MAX)
        return CM_FAIL(CM_EUNSUPPORTED, "%s: %zu dimensions, at most %d are supported", where,
                       cm_json_count(shape), PS_NDIM_MAX);
    *ndim = 0;
    CM_JSON_EACH (d, shape)
        CM_TRY(cm_json_as_i64(d, where, 0, JSON_INT_MAX, &dim[(*ndim)++]));
    return CM_OK;
}

/* One member of the header; data is the file's part behind it. */
static cm_status read_tensor(struct ps_tensors *set, const struct cm_json *info, const char *what,
                             const char *data, size_t ndata)
{
    const char *name = cm_json_key(info);
    char where[WHERE];
    snprintf(where, sizeof where, "%s: tensor %s", what, name);
    if (cm_json_type(info) != CM_JSON_OBJECT)
        return CM_FAIL(CM_EFORMAT, "%s is %s, not an object", where, cm_json_type_name(info));

    const char *dtype_name;
    enum ps_dtype dtype;
    CM_TRY(cm_json_need_string(info, where, "dtype", &dtype_name));
    if (!ps_dtype_parse(&dtype, dtype_name))
        return CM_FAIL(CM_EFORMAT, "%s: dtype '%s' is unknown", where, dtype_name);
    int ndim = 0;
    int64_t dim[PS_NDIM_MAX];
    CM_TRY(read_shape(info, where, &ndim, dim));

    const struct cm_json *offsets;
    CM_TRY(cm_json_need(info, where, "data_offsets", CM_JSON_ARRAY, &offsets));
    if (cm_json_count(offsets) != 2)
        return CM_FAIL(CM_EFORMAT, "%s: %zu data_offsets, not 2", where, cm_json_count(offsets));
    int64_t begin, end;
    const struct cm_json *first = cm_json_first(offsets);
    CM_TRY(cm_json_as_i64(first, where, 0, JSON_INT_MAX, &begin));
    CM_TRY(cm_json_as_i64(cm_json_next(first), where, 0, JSON_INT_MAX, &end));
    if (begin > end || (uint64_t)end > ndata)
        return CM_FAIL(CM_EFORMAT, "%s: data [%lld, %lld) is not inside the file's %zu bytes",
                       where, (long long)begin, (long long)end, ndata);

    cm_status st = ps_tensors_append(set, name, dtype, ndim, dim, data + begin);
    if (st != CM_OK)
        return CM_CONTEXT(st == CM_EINVAL ? CM_EFORMAT : st, "%s", what);
    size_t nbytes = set->t[set->n - 1].nbytes;
    if ((uint64_t)(end - begin) != nbytes) {
        char shape[PS_SHAPE_TEXT];
        ps_tensor_describe(shape, dtype, ndim, dim);
        return CM_FAIL(CM_EFORMAT, "%s: %s is %zu bytes, but data [%lld, %lld) is %lld", where,
                       shape, nbytes, (long long)begin, (long long)end, (long long)(end - begin));
    }
    return CM_OK;
}

static cm_status read_metadata(struct ps_tensors *set, const struct cm_json *meta, const char *what)
{
    if (cm_json_type(meta) != CM_JSON_OBJECT)
        return CM_FAIL(CM_EFORMAT, "%s: __metadata__ is %s, not an object", what,
                       cm_json_type_name(meta));
    size_t n = cm_json_count(meta);
    CM_TRY(cm_alloc(&set->meta, n, sizeof *set->meta, "metadata"));
    CM_JSON_EACH (m, meta) {
        if (cm_json_type(m) != CM_JSON_STRING)
            return CM_FAIL(CM_EFORMAT, "%s: __metadata__ '%s' is %s, not a string", what,
                           cm_json_key(m), cm_json_type_name(m));
        const char *value;
        struct ps_pair *pair = &set->meta[set->nmeta++];
        CM_TRY(cm_json_as_string(m, what, &value));
        CM_TRY(cm_strdup(&pair->key, cm_json_key(m)));
        CM_TRY(cm_strdup(&pair->value, value));
    }
    return CM_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct ps_tensor *x = a, *y = b;
    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    if (x->nbytes != y->nbytes)
        return x->nbytes < y->nbytes ? -1 : 1; /* empty ones before the one that starts there */
    return strcmp(x->name, y->name);
}

/* Sorts by place; the data must be covered exactly once. */
static cm_status check_cover(struct ps_tensors *set, const char *what, const char *data,
                             size_t ndata)
{
    if (set->n > 0)
        qsort(set->t, set->n, sizeof *set->t, by_place);
    size_t covered = 0;
    for (size_t i = 0; i < set->n; i++) {
        size_t begin = (size_t)((const char *)set->t[i].data - data);
        if (begin != covered)
            return CM_FAIL(CM_EFORMAT, "%s: tensor %s begins at byte %zu of the data, %s at %zu",
                           what, set->t[i].name, begin,
                           begin < covered ? "inside the one before, which ends"
                                           : "after a hole that begins",
                           covered);
        covered += set->t[i].nbytes;
    }
    if (covered != ndata)
        return CM_FAIL(CM_EFORMAT, "%s: %zu bytes behind the last tensor", what, ndata - covered);
    return CM_OK;
}

/* The header's text and the data behind it. */
static cm_status split(const char *bytes, size_t nbytes, const char *what, size_t *nheader)
{
    uint64_t n;
    if (nbytes < sizeof n)
        return CM_FAIL(CM_EFORMAT, "%s: %zu bytes are no safetensors file (empty or cut off?)",
                       what, nbytes);
    memcpy(&n, bytes, sizeof n);
    if (n > PS_HEADER_MAX)
        return CM_FAIL(CM_EFORMAT, "%s: a header of %llu bytes, at most %d (no safetensors file?)",
                       what, (unsigned long long)n, PS_HEADER_MAX);
    if (n > nbytes - sizeof n)
        return CM_FAIL(CM_EFORMAT, "%s: a header of %llu bytes in a file of %zu (cut off?)", what,
                       (unsigned long long)n, nbytes);
    *nheader = (size_t)n;
    return CM_OK;
}

cm_status ps_safetensors_parse(struct ps_tensors *out, const void *bytes, size_t nbytes,
                               const char *what)
{
    struct ps_tensors set = {0};
    struct cm_json *header = NULL;
    const char *text = (const char *)bytes + sizeof(uint64_t);
    size_t nheader = 0;
    cm_status st;

    *out = set;
    CM_TRY(split(bytes, nbytes, what, &nheader));
    const char *data = text + nheader;
    size_t ndata = nbytes - sizeof(uint64_t) - nheader;
    CM_GOTO(st, cm_json_parse(&header, text, nheader, what), out);
    if (cm_json_type(header) != CM_JSON_OBJECT) {
        st = CM_FAIL(CM_EFORMAT, "%s: the header is %s, not an object", what,
                     cm_json_type_name(header));
        goto out;
    }
    CM_JSON_EACH (member, header) {
        if (!strcmp(cm_json_key(member), "__metadata__"))
            st = read_metadata(&set, member, what);
        else
            st = read_tensor(&set, member, what, data, ndata);
        if (st != CM_OK)
            goto out;
    }
    CM_GOTO(st, check_cover(&set, what, data, ndata), out);
    *out = set;
    set = (struct ps_tensors){0};
out:
    cm_json_close(&header);
    ps_tensors_release(&set);
    return st;
}

/* ---- writing ---- */

static int by_alignment(const void *a, const void *b)
{
    const struct ps_tensor *x = *(const struct ps_tensor *const *)a;
    const struct ps_tensor *y = *(const struct ps_tensor *const *)b;
    int bits_x = ps_dtype_bits(x->dtype), bits_y = ps_dtype_bits(y->dtype);
    return bits_x != bits_y ? bits_y - bits_x : strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const struct ps_pair *const *)a)->key,
                  (*(const struct ps_pair *const *)b)->key);
}

static cm_status write_metadata(struct cm_jw *w, const struct ps_tensors *set)
{
    const struct ps_pair **order = NULL;
    CM_TRY(cm_alloc(&order, set->nmeta, sizeof *order, "order of metadata"));
    for (size_t i = 0; i < set->nmeta; i++)
        order[i] = &set->meta[i];
    qsort(order, set->nmeta, sizeof *order, by_key);
    cm_jw_begin(w, "__metadata__", '{');
    for (size_t i = 0; i < set->nmeta; i++)
        cm_jw_string(w, order[i]->key, order[i]->value);
    cm_jw_end(w);
    cm_free(&order);
    return CM_OK;
}

static void write_tensor(struct cm_jw *w, const struct ps_tensor *t, uint64_t begin)
{
    cm_jw_begin(w, t->name, '{');
    cm_jw_string(w, "dtype", ps_dtype_name(t->dtype));
    cm_jw_begin(w, "shape", '[');
    for (int i = 0; i < t->ndim; i++)
        cm_jw_i64(w, NULL, t->dim[i]);
    cm_jw_end(w);
    cm_jw_begin(w, "data_offsets", '[');
    cm_jw_u64(w, NULL, begin);
    cm_jw_u64(w, NULL, begin + t->nbytes);
    cm_jw_end(w);
    cm_jw_end(w);
}

static bool is_utf8(const char *s)
{
    size_t n = strlen(s), length = 1;
    for (; n > 0 && (length = cm_utf8_length(s, n)) > 0; n -= length)
        s += length;
    return n == 0;
}

/* The JSON writer would replace what is no UTF-8, and the tensor could not be found again. */
static cm_status check_texts(const struct ps_tensors *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (!is_utf8(set->t[i].name))
            return CM_FAIL(CM_EINVAL, "tensor %zu: its name is no UTF-8", i);
    for (size_t i = 0; i < set->nmeta; i++)
        if (!is_utf8(set->meta[i].key) || !is_utf8(set->meta[i].value))
            return CM_FAIL(CM_EINVAL, "metadata %zu is no UTF-8", i);
    return CM_OK;
}

/* The header's text, unpadded, for tensors in this order. */
static cm_status build_header(char **text, size_t *n, const struct ps_tensors *set,
                              const struct ps_tensor *const *order)
{
    struct cm_jw w = {0};
    uint64_t at = 0;
    cm_jw_begin(&w, NULL, '{');
    if (set->nmeta > 0) {
        cm_status st = write_metadata(&w, set);
        if (st != CM_OK) {
            cm_jw_release(&w);
            return st;
        }
    }
    for (size_t i = 0; i < set->n; i++) {
        write_tensor(&w, order[i], at);
        at += order[i]->nbytes;
    }
    cm_jw_end(&w);
    CM_TRY(cm_jw_take(&w, text, n));

    struct cm_json *again = NULL;
    cm_status st = cm_json_parse(&again, *text, *n, "tensor names");
    cm_json_close(&again);
    if (st != CM_OK) {
        cm_free(text);
        return st == CM_ENOMEM ? st : CM_CONTEXT(CM_EINVAL, "safetensors header");
    }
    return CM_OK;
}

cm_status ps_safetensors_write(struct cm_writer *w, const struct ps_tensors *set)
{
    const struct ps_tensor **order = NULL;
    char *header = NULL;
    size_t n = 0;
    cm_status st;

    CM_TRY(check_texts(set));
    CM_TRY(cm_alloc(&order, set->n, sizeof *order, "order of tensors"));
    for (size_t i = 0; i < set->n; i++)
        order[i] = &set->t[i];
    if (set->n > 0)
        qsort(order, set->n, sizeof *order, by_alignment);
    CM_GOTO(st, build_header(&header, &n, set, order), out);

    static const char spaces[8] = "        ";
    size_t pad = (8 - n % 8) % 8;
    uint64_t prefix = n + pad;
    if (prefix > PS_HEADER_MAX) {
        st = CM_FAIL(CM_EINVAL, "a safetensors header of %zu bytes, at most %d", n, PS_HEADER_MAX);
        goto out;
    }
    CM_GOTO(st, cm_writer_put(w, &prefix, sizeof prefix), out);
    CM_GOTO(st, cm_writer_put(w, header, n), out);
    CM_GOTO(st, cm_writer_put(w, spaces, pad), out);
    for (size_t i = 0; i < set->n; i++)
        CM_GOTO(st, cm_writer_put(w, order[i]->data, order[i]->nbytes), out);
out:
    cm_free(&header);
    cm_free(&order);
    return st;
}

/* ---- files ---- */

struct ps_tensor_file {
    struct ps_tensors set;
    const void *bytes; /* mapped */
    size_t nbytes;
};

cm_status ps_tensor_file_open(struct ps_tensor_file **out, const char *path)
{
    struct ps_tensor_file *self = NULL;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "tensor file"));
    CM_GOTO(st, cm_file_map(&self->bytes, &self->nbytes, path), out);
    CM_GOTO(st, ps_safetensors_parse(&self->set, self->bytes, self->nbytes, path), out);
    *out = self;
    self = NULL;
out:
    ps_tensor_file_close(&self);
    return st;
}

const struct ps_tensors *ps_tensor_file_set(const struct ps_tensor_file *f)
{
    return &f->set;
}

const void *ps_tensor_file_bytes(const struct ps_tensor_file *f, size_t *nbytes)
{
    *nbytes = f->nbytes;
    return f->bytes;
}

void ps_tensor_file_close(struct ps_tensor_file **f)
{
    if (!*f)
        return;
    ps_tensors_release(&(*f)->set);
    if ((*f)->bytes)
        cm_file_unmap(&(*f)->bytes, (*f)->nbytes);
    cm_free(f);
}

cm_status ps_tensor_file_save(const char *path, const struct ps_tensors *set, uint64_t *nbytes,
                              uint64_t *hash)
{
    struct cm_writer *w = NULL;
    cm_status st;
    CM_TRY(cm_writer_open(&w, path));
    CM_GOTO(st, ps_safetensors_write(w, set), out);
    if (nbytes)
        *nbytes = cm_writer_nbytes(w);
    if (hash)
        *hash = cm_writer_hash(w);
    st = cm_writer_commit(&w);
out:
    cm_writer_close(&w);
    return st;
}
