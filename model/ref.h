/* What the ref ops share. The oracle is written to be read: plain loops, double arithmetic, one
 * rounding where a result is stored. Private to *_ref.c. */
#ifndef MODEL_REF_H
#define MODEL_REF_H

#include <stddef.h>
#include <stdint.h>

#include "common/vec.h"
#include "model/op.h"

static inline double nn_ref_get(enum nn_dtype dtype, const void *p, size_t i)
{
    switch (dtype) {
    case NN_BF16:
        return (double)cm_bf16_to_f32(((const uint16_t *)p)[i]);
    case NN_F64:
        return ((const double *)p)[i];
    default:
        return (double)((const float *)p)[i];
    }
}

static inline void nn_ref_put(enum nn_dtype dtype, void *p, size_t i, double v)
{
    switch (dtype) {
    case NN_BF16:
        ((uint16_t *)p)[i] = cm_f32_to_bf16((float)v);
        break;
    case NN_F64:
        ((double *)p)[i] = v;
        break;
    default:
        ((float *)p)[i] = (float)v;
    }
}

/* Element (n, i, j, c) of an activation of shape s. */
static inline size_t nn_ref_at(struct nn_shape s, int n, int i, int j, int c)
{
    return (((size_t)n * (size_t)s.h + (size_t)i) * (size_t)s.w + (size_t)j) * (size_t)s.c +
           (size_t)c;
}

/* Floats that a tensor takes in a dparam. */
static inline size_t nn_ref_padded(size_t n)
{
    return (n + 15) / 16 * 16;
}

/* fp32, fp64, and bf16 where it is emulated; CM_EUNSUPPORTED otherwise. */
CM_MUST_CHECK cm_status nn_ref_check(const struct nn_op_desc *desc);

/* pool_ref.c: the largest x of output (n, i, j, c)'s window, and its place in x. kernel 0: x
 * itself. */
double nn_ref_window_max(const struct nn_op_desc *desc, const void *x, int n, int i, int j, int c,
                         size_t *place);

/* activation_ref.c */
double nn_ref_act(enum nn_act act, double x);
double nn_ref_act_slope(enum nn_act act, double x);

#endif
