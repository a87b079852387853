#include "model/elementwise.h"

#include "common/rng.h"
#include "model/ref.h"

static cm_status open_elementwise(struct nn_op *op)
{
    return nn_ref_check(&op->desc);
}

static size_t count_of(const struct nn_op *op, const struct nn_op_args *a)
{
    return (size_t)a->n * nn_shape_count(op->desc.x);
}

static cm_status add_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    enum nn_dtype t = op->desc.dtype;
    for (size_t i = 0, n = count_of(op, a); i < n; i++)
        nn_ref_put(t, a->y, i, nn_ref_get(t, a->x[0], i) + nn_ref_get(t, a->x[1], i));
    return CM_OK;
}

static cm_status add_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    enum nn_dtype t = op->desc.dtype;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0, n = a->dx[k] ? count_of(op, a) : 0; i < n; i++)
            nn_ref_put(t, a->dx[k], i, nn_ref_get(t, a->dy, i));
    return CM_OK;
}

static void scale(const struct nn_op *op, const struct nn_op_args *a, void *dst, const void *src)
{
    enum nn_dtype t = op->desc.dtype;
    for (size_t i = 0, n = count_of(op, a); i < n; i++)
        nn_ref_put(t, dst, i, op->desc.p * nn_ref_get(t, src, i));
}

static cm_status scale_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    scale(op, a, a->y, a->x[0]);
    return CM_OK;
}

static cm_status scale_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    if (a->dx[0])
        scale(op, a, a->dx[0], a->dy);
    return CM_OK;
}

/* Element (c h + i) w + j of image n of the flat side. */
static size_t flat_at(struct nn_shape s, int n, int i, int j, int c)
{
    return (size_t)n * nn_shape_count(s) + ((size_t)c * (size_t)s.h + (size_t)i) * (size_t)s.w +
           (size_t)j;
}

static void flatten(const struct nn_op *op, int n, void *dst, const void *src, bool back)
{
    struct nn_shape s = op->desc.x;
    enum nn_dtype t = op->desc.dtype;
    for (int i = 0; i < s.h; i++)
        for (int j = 0; j < s.w; j++)
            for (int c = 0; c < s.c; c++) {
                size_t image = nn_ref_at(s, n, i, j, c), flat = flat_at(s, n, i, j, c);
                nn_ref_put(t, dst, back ? image : flat, nn_ref_get(t, src, back ? flat : image));
            }
}

static cm_status flatten_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    for (int n = 0; n < a->n; n++)
        flatten(op, n, a->y, a->x[0], false);
    return CM_OK;
}

static cm_status flatten_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    for (int n = 0; a->dx[0] && n < a->n; n++)
        flatten(op, n, a->dx[0], a->dy, true);
    return CM_OK;
}

static void drop(const struct nn_op *op, const struct nn_op_args *a, void *dst, const void *src)
{
    enum nn_dtype t = op->desc.dtype;
    double p = op->desc.p;
    size_t image = nn_shape_count(op->desc.x);
    for (size_t n = 0; n < (size_t)a->n; n++)
        for (size_t e = 0; e < image; e++) {
            uint32_t bits = cm_rng_u32(a->seed, CM_RNG_DROPOUT, a->step,
                                       a->first_sample + (uint32_t)n, (uint32_t)e);
            bool kept = (double)cm_rng_unit(bits) >= p;
            size_t i = n * image + e;
            nn_ref_put(t, dst, i, kept ? nn_ref_get(t, src, i) / (1 - p) : 0);
        }
}

static cm_status dropout_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    drop(op, a, a->y, a->x[0]);
    return CM_OK;
}

static cm_status dropout_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    if (a->dx[0])
        drop(op, a, a->dx[0], a->dy);
    return CM_OK;
}

#define ELEMENTWISE(title)                                                                         \
    const struct nn_op_impl nn_##title##_ref = {.name = #title "/ref",                             \
                                                .open = open_elementwise,                          \
                                                .forward = title##_forward,                        \
                                                .backward = title##_backward}
ELEMENTWISE(add);
ELEMENTWISE(scale);
ELEMENTWISE(flatten);
ELEMENTWISE(dropout);
