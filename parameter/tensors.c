/* The list of named tensors, and the few questions about one tensor's elements that checks and
 * tools ask. */
#include "parameter/tensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/vec.h"

static const struct {
    const char *name;
    int bits;
} dtypes[PS_DTYPE_COUNT] = {
#define PS_DTYPE_ROW(code, name, bits) {name, bits},
    PS_DTYPE_LIST(PS_DTYPE_ROW)
#undef PS_DTYPE_ROW
};

const char *ps_dtype_name(enum ps_dtype dtype)
{
    return (unsigned)dtype < PS_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

int ps_dtype_bits(enum ps_dtype dtype)
{
    return (unsigned)dtype < PS_DTYPE_COUNT ? dtypes[dtype].bits : 0;
}

bool ps_dtype_parse(enum ps_dtype *out, const char *name)
{
    for (int i = 0; i < PS_DTYPE_COUNT; i++)
        if (!strcmp(dtypes[i].name, name)) {
            *out = (enum ps_dtype)i;
            return true;
        }
    return false;
}

void ps_tensor_describe(char text[PS_SHAPE_TEXT], enum ps_dtype dtype, int ndim, const int64_t *dim)
{
    int at = snprintf(text, PS_SHAPE_TEXT, "%s", ps_dtype_name(dtype));
    if (ndim == 0)
        snprintf(text + at, (size_t)(PS_SHAPE_TEXT - at), " scalar");
    /* 8 dimensions of at most 20 characters and the dtype's 11 fit. */
    for (int i = 0; i < ndim && i < PS_NDIM_MAX; i++)
        at += snprintf(text + at, (size_t)(PS_SHAPE_TEXT - at), "%c%lld", i ? 'x' : ' ',
                       (long long)dim[i]);
}

/* ---- the set ---- */

static cm_status tensor_nbytes(size_t *out, const char *name, enum ps_dtype dtype, int ndim,
                               const int64_t *dim)
{
    uint64_t bits = (uint64_t)ps_dtype_bits(dtype);
    if (bits == 0)
        return CM_FAIL(CM_EINVAL, "tensor %s: dtype %d is none", name, (int)dtype);
    if (ndim < 0 || ndim > PS_NDIM_MAX)
        return CM_FAIL(CM_EINVAL, "tensor %s: %d dimensions, at most %d", name, ndim, PS_NDIM_MAX);
    for (int i = 0; i < ndim; i++)
        if (dim[i] < 0 || __builtin_mul_overflow(bits, (uint64_t)dim[i], &bits))
            return CM_FAIL(CM_EINVAL, "tensor %s: dimension %d of %lld is negative or too large",
                           name, i, (long long)dim[i]);
    if (bits % 8 != 0)
        return CM_FAIL(CM_EINVAL, "tensor %s: its %llu bits are no whole number of bytes", name,
                       (unsigned long long)bits);
    *out = (size_t)(bits / 8);
    return CM_OK;
}

cm_status ps_tensors_append(struct ps_tensors *set, const char *name, enum ps_dtype dtype, int ndim,
                            const int64_t *dim, const void *data)
{
    struct ps_tensor t = {.dtype = dtype, .ndim = ndim, .data = data};
    CM_TRY(tensor_nbytes(&t.nbytes, name, dtype, ndim, dim));
    if (ndim > 0)
        memcpy(t.dim, dim, (size_t)ndim * sizeof *dim);
    if (set->n == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 16;
        CM_TRY(cm_realloc(&set->t, capacity, sizeof *set->t, "list of tensors"));
        set->capacity = capacity;
    }
    CM_TRY(cm_strdup(&t.name, name));
    set->t[set->n++] = t;
    return CM_OK;
}

cm_status ps_tensors_add(struct ps_tensors *set, const char *name, enum ps_dtype dtype, int ndim,
                         const int64_t *dim, const void *data)
{
    if (ps_tensors_find(set, name))
        return CM_FAIL(CM_EEXIST, "tensor %s is there twice", name);
    return ps_tensors_append(set, name, dtype, ndim, dim, data);
}

const struct ps_tensor *ps_tensors_find(const struct ps_tensors *set, const char *name)
{
    for (size_t i = 0; i < set->n; i++)
        if (!strcmp(set->t[i].name, name))
            return &set->t[i];
    return NULL;
}

cm_status ps_tensors_need(const struct ps_tensors *set, const char *name, enum ps_dtype dtype,
                          int ndim, const int64_t *dim, const struct ps_tensor **out)
{
    *out = NULL;
    const struct ps_tensor *t = ps_tensors_find(set, name);
    if (!t)
        return CM_FAIL(CM_ENOTFOUND, "tensor %s is missing", name);
    if (t->dtype != dtype || t->ndim != ndim ||
        (ndim > 0 && memcmp(t->dim, dim, (size_t)ndim * sizeof *dim) != 0)) {
        char have[PS_SHAPE_TEXT], want[PS_SHAPE_TEXT];
        ps_tensor_describe(have, t->dtype, t->ndim, t->dim);
        ps_tensor_describe(want, dtype, ndim, dim);
        return CM_FAIL(CM_ESHAPE, "tensor %s is %s, not %s", name, have, want);
    }
    *out = t;
    return CM_OK;
}

cm_status ps_tensors_set_meta(struct ps_tensors *set, const char *key, const char *value)
{
    struct ps_pair pair = {0};
    CM_TRY(cm_strdup(&pair.value, value));
    for (size_t i = 0; i < set->nmeta; i++)
        if (!strcmp(set->meta[i].key, key)) {
            cm_free(&set->meta[i].value);
            set->meta[i].value = pair.value;
            return CM_OK;
        }
    cm_status st;
    CM_GOTO(st, cm_strdup(&pair.key, key), out);
    CM_GOTO(st, cm_realloc(&set->meta, set->nmeta + 1, sizeof *set->meta, "metadata"), out);
    set->meta[set->nmeta++] = pair;
    return CM_OK;
out:
    cm_free(&pair.key);
    cm_free(&pair.value);
    return st;
}

const char *ps_tensors_meta(const struct ps_tensors *set, const char *key)
{
    for (size_t i = 0; i < set->nmeta; i++)
        if (!strcmp(set->meta[i].key, key))
            return set->meta[i].value;
    return NULL;
}

void ps_tensors_release(struct ps_tensors *set)
{
    for (size_t i = 0; i < set->n; i++)
        cm_free(&set->t[i].name);
    for (size_t i = 0; i < set->nmeta; i++) {
        cm_free(&set->meta[i].key);
        cm_free(&set->meta[i].value);
    }
    cm_free(&set->t);
    cm_free(&set->meta);
    *set = (struct ps_tensors){0};
}

/* ---- one tensor ---- */

int64_t ps_tensor_count(const struct ps_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i]; /* the size was checked against overflow when the tensor was added */
    return n;
}

static double f16_to_double(uint16_t h)
{
    int exponent = (h >> 10) & 31, fraction = h & 1023;
    double magnitude = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                       : exponent == 0 ? ldexp(fraction, -24)
                                       : ldexp(1024 + fraction, exponent - 25);
    return h >> 15 ? -magnitude : magnitude;
}

/* memcpy, because data in files from elsewhere need not be aligned. */
#define ELEMENT(type)                                                                              \
    ({                                                                                             \
        type v_;                                                                                   \
        memcpy(&v_, (const char *)t->data + (size_t)i * sizeof v_, sizeof v_);                     \
        v_;                                                                                        \
    })

double ps_tensor_at(const struct ps_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case PS_F32:
        return (double)ELEMENT(float);
    case PS_F64:
        return ELEMENT(double);
    case PS_F16:
        return f16_to_double(ELEMENT(uint16_t));
    case PS_BF16:
        return (double)cm_bf16_to_f32(ELEMENT(uint16_t));
    case PS_BOOL:
    case PS_U8:
        return ELEMENT(uint8_t);
    case PS_I8:
        return ELEMENT(int8_t);
    case PS_I16:
        return ELEMENT(int16_t);
    case PS_U16:
        return ELEMENT(uint16_t);
    case PS_I32:
        return ELEMENT(int32_t);
    case PS_U32:
        return ELEMENT(uint32_t);
    case PS_I64:
        return (double)ELEMENT(int64_t);
    case PS_U64:
        return (double)ELEMENT(uint64_t);
    default:
        return 0;
    }
}

double ps_tensor_abs_max(const struct ps_tensor *t)
{
    int64_t n = ps_tensor_count(t);
    if (t->dtype == PS_F32 && (uintptr_t)t->data % _Alignof(float) == 0)
        return (double)cm_vec_abs_max(t->data, (size_t)n);
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = fabs(ps_tensor_at(t, i));
        if (!(v <= largest)) /* also when v is NaN */
            largest = v;
        if (isnan(largest))
            break;
    }
    return largest;
}
