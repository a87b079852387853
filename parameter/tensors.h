/* Named tensors: the list that checkpoints store, ranks compare and servers load. It describes data
 * and never owns it: who adds a tensor keeps its bytes alive. Little-endian hosts, row-major (C
 * order), no strides. */
#ifndef PARAMETER_TENSORS_H
#define PARAMETER_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/* Every dtype of the safetensors format: code, name in files, bits per element. */
#define PS_DTYPE_LIST(X)                                                                           \
    X(PS_BOOL, "BOOL", 8)                                                                          \
    X(PS_U8, "U8", 8)                                                                              \
    X(PS_I8, "I8", 8)                                                                              \
    X(PS_I16, "I16", 16)                                                                           \
    X(PS_U16, "U16", 16)                                                                           \
    X(PS_F16, "F16", 16)                                                                           \
    X(PS_BF16, "BF16", 16)                                                                         \
    X(PS_I32, "I32", 32)                                                                           \
    X(PS_U32, "U32", 32)                                                                           \
    X(PS_F32, "F32", 32)                                                                           \
    X(PS_F64, "F64", 64)                                                                           \
    X(PS_I64, "I64", 64)                                                                           \
    X(PS_U64, "U64", 64)                                                                           \
    X(PS_C64, "C64", 64)                                                                           \
    X(PS_F8_E4M3, "F8_E4M3", 8)                                                                    \
    X(PS_F8_E5M2, "F8_E5M2", 8)                                                                    \
    X(PS_F8_E8M0, "F8_E8M0", 8)                                                                    \
    X(PS_F8_E4M3FNUZ, "F8_E4M3FNUZ", 8)                                                            \
    X(PS_F8_E5M2FNUZ, "F8_E5M2FNUZ", 8)                                                            \
    X(PS_F6_E2M3, "F6_E2M3", 6)                                                                    \
    X(PS_F6_E3M2, "F6_E3M2", 6)                                                                    \
    X(PS_F4, "F4", 4)

enum ps_dtype {
#define PS_DTYPE_ENUM(code, name, bits) code,
    PS_DTYPE_LIST(PS_DTYPE_ENUM)
#undef PS_DTYPE_ENUM
        PS_DTYPE_COUNT
};

const char *ps_dtype_name(enum ps_dtype dtype);
int ps_dtype_bits(enum ps_dtype dtype);
/* False for a name that is none. */
bool ps_dtype_parse(enum ps_dtype *out, const char *name);

#define PS_NDIM_MAX 8

struct ps_tensor {
    char *name; /* owned by the set */
    enum ps_dtype dtype;
    int ndim;                 /* 0: a scalar */
    int64_t dim[PS_NDIM_MAX]; /* outermost first; 0 is legal */
    const void *data;         /* borrowed; in files from elsewhere not aligned: copy before use */
    size_t nbytes;
};

struct ps_pair {
    char *key, *value;
};

/* A list in the order of adding (parsed files: in the order of their data). Zeroed is empty; one
 * thread at a time to change, any thread to read. meta is the "__metadata__" of a file: texts about
 * the whole set. */
struct ps_tensors {
    struct ps_tensor *t;
    size_t n, capacity;
    struct ps_pair *meta;
    size_t nmeta;
};

/* Copies the name, borrows data until the set is released. nbytes follows from dtype and shape.
 * CM_EEXIST: the name is there; CM_EINVAL: more than PS_NDIM_MAX dimensions, a negative one, an
 * overflow, not a whole number of bytes. */
CM_MUST_CHECK cm_status ps_tensors_add(struct ps_tensors *set, const char *name,
                                       enum ps_dtype dtype, int ndim, const int64_t *dim,
                                       const void *data);
/* The same for a caller who knows that the name is new: no look through the list. */
CM_MUST_CHECK cm_status ps_tensors_append(struct ps_tensors *set, const char *name,
                                          enum ps_dtype dtype, int ndim, const int64_t *dim,
                                          const void *data);
/* NULL when there is none; linear, so look names up once. */
const struct ps_tensor *ps_tensors_find(const struct ps_tensors *set, const char *name);
/* The tensor must have this dtype and shape: CM_ENOTFOUND, CM_ESHAPE name it ("fc.weight is F32
 * 10x84, not …"). */
CM_MUST_CHECK cm_status ps_tensors_need(const struct ps_tensors *set, const char *name,
                                        enum ps_dtype dtype, int ndim, const int64_t *dim,
                                        const struct ps_tensor **out);
/* Copies both; replaces the value of a key that is there. */
CM_MUST_CHECK cm_status ps_tensors_set_meta(struct ps_tensors *set, const char *key,
                                            const char *value);
const char *ps_tensors_meta(const struct ps_tensors *set, const char *key); /* NULL: absent */
void ps_tensors_release(struct ps_tensors *set); /* the list; never the data */

/* Elements. */
int64_t ps_tensor_count(const struct ps_tensor *t);
/* Element i as a double; of dtypes without a plain number (F8 and smaller, C64): 0. */
double ps_tensor_at(const struct ps_tensor *t, int64_t i);
/* Largest magnitude; NaN when any element is NaN; 0 when empty. */
double ps_tensor_abs_max(const struct ps_tensor *t);

/* "F32 64x3x3x3"; a scalar is "F32 scalar". */
#define PS_SHAPE_TEXT 192
void ps_tensor_describe(char text[PS_SHAPE_TEXT], enum ps_dtype dtype, int ndim,
                        const int64_t *dim);

#endif
