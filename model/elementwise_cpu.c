/* The small ops and the activation on the CPU: loops over images, which may go to several threads
 * since none sums across images. They keep nothing from forward to backward: what they need is
 * their input, or can be drawn again. */
#include <string.h>

#include "common/rng.h"
#include "model/activation.h"
#include "model/elementwise.h"
#include "model/kernels/kernels.h"

static cm_status open_plain(struct nn_op *op)
{
    (void)op;
    return CM_OK;
}

/* What the loop body below sees: an image's parts of the op's arrays, count elements each. */
struct image {
    const void *x[2], *dy;
    void *y, *dx[2];
    size_t count;
    int number; /* in the shard */
};

typedef void (*image_fn)(const struct nn_op *op, const struct nn_op_args *a,
                         const struct image *image);

static void *offset(const void *p, size_t nbytes)
{
    return p ? (char *)(uintptr_t)p + nbytes : NULL;
}

static cm_status for_each_image(const struct nn_op *op, const struct nn_op_args *a, image_fn fn)
{
    size_t count = nn_shape_count(op->desc.y), size = nn_dtype_size(op->desc.dtype);
    int threads = op->desc.threads;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int i = 0; i < a->n; i++) {
        size_t at = (size_t)i * count * size;
        const struct image image = {
            .x = {offset(a->x[0], at), offset(a->x[1], at)},
            .dy = offset(a->dy, at),
            .y = offset(a->y, at),
            .dx = {offset(a->dx[0], at), offset(a->dx[1], at)},
            .count = count,
            .number = i,
        };
        fn(op, a, &image);
    }
    return CM_OK;
}

static void act_image(const struct nn_op *op, const struct nn_op_args *a, const struct image *m)
{
    (void)a;
    nn_kernels_best()->map->act(op->desc.dtype, op->desc.act, m->x[0], m->y, m->count);
}

static void act_image_backward(const struct nn_op *op, const struct nn_op_args *a,
                               const struct image *m)
{
    (void)a;
    nn_kernels_best()->map->act_backward(op->desc.dtype, op->desc.act, m->x[0], m->dy, m->dx[0],
                                         m->count);
}

static cm_status act_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return for_each_image(op, a, act_image);
}

static cm_status act_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    return a->dx[0] ? for_each_image(op, a, act_image_backward) : CM_OK;
}

static void add_image(const struct nn_op *op, const struct nn_op_args *a, const struct image *m)
{
    (void)a;
    nn_kernels_best()->map->add(op->desc.dtype, m->x[0], m->x[1], m->y, m->count);
}

static void add_image_backward(const struct nn_op *op, const struct nn_op_args *a,
                               const struct image *m)
{
    (void)a;
    for (int k = 0; k < 2; k++)
        if (m->dx[k])
            memcpy(m->dx[k], m->dy, m->count * nn_dtype_size(op->desc.dtype));
}

static cm_status add_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return for_each_image(op, a, add_image);
}

static cm_status add_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    return for_each_image(op, a, add_image_backward);
}

static void scale_image(const struct nn_op *op, const struct nn_op_args *a, const struct image *m)
{
    (void)a;
    nn_kernels_best()->map->scale(op->desc.dtype, (float)op->desc.p, m->x[0], m->y, m->count);
}

static void scale_image_backward(const struct nn_op *op, const struct nn_op_args *a,
                                 const struct image *m)
{
    (void)a;
    nn_kernels_best()->map->scale(op->desc.dtype, (float)op->desc.p, m->dy, m->dx[0], m->count);
}

static cm_status scale_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return for_each_image(op, a, scale_image);
}

static cm_status scale_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    return a->dx[0] ? for_each_image(op, a, scale_image_backward) : CM_OK;
}

/* (rows, columns) to (columns, rows), elements of size 2 or 4 bytes. */
static void transpose(const void *from, void *to, size_t rows, size_t columns, size_t size)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            memcpy((char *)to + (c * rows + r) * size,
                   (const char *)from + (r * columns + c) * size, size);
}

static void flatten_image(const struct nn_op *op, const struct nn_op_args *a, const struct image *m)
{
    (void)a;
    size_t pixels = (size_t)op->desc.x.h * (size_t)op->desc.x.w, c = (size_t)op->desc.x.c;
    transpose(m->x[0], m->y, pixels, c, nn_dtype_size(op->desc.dtype));
}

static void flatten_image_backward(const struct nn_op *op, const struct nn_op_args *a,
                                   const struct image *m)
{
    (void)a;
    size_t pixels = (size_t)op->desc.x.h * (size_t)op->desc.x.w, c = (size_t)op->desc.x.c;
    transpose(m->dy, m->dx[0], c, pixels, nn_dtype_size(op->desc.dtype));
}

static cm_status flatten_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return for_each_image(op, a, flatten_image);
}

static cm_status flatten_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    return a->dx[0] ? for_each_image(op, a, flatten_image_backward) : CM_OK;
}

#define DRAWN 256 /* numbers drawn at a time; a multiple of 4 */

static void dropout_image(const struct nn_op *op, const struct nn_op_args *a, const void *x,
                          void *y, size_t count, int number)
{
    float u[DRAWN], p = (float)op->desc.p;
    uint32_t sample = a->first_sample + (uint32_t)number;
    size_t size = nn_dtype_size(op->desc.dtype);
    for (size_t first = 0; first < count; first += DRAWN) {
        size_t n = count - first < DRAWN ? count - first : DRAWN;
        for (size_t i = 0; i < n; i += 4) {
            struct cm_rng4 r =
                cm_rng_block(a->seed, CM_RNG_DROPOUT, a->step, sample, (uint32_t)((first + i) / 4));
            for (size_t k = 0; k < 4; k++)
                u[i + k] = cm_rng_unit(r.v[k]);
        }
        nn_kernels_best()->map->keep(op->desc.dtype, u, p, 1.0f / (1.0f - p),
                                     offset(x, first * size), offset(y, first * size), n);
    }
}

static void dropout_image_forward(const struct nn_op *op, const struct nn_op_args *a,
                                  const struct image *m)
{
    dropout_image(op, a, m->x[0], m->y, m->count, m->number);
}

static void dropout_image_backward(const struct nn_op *op, const struct nn_op_args *a,
                                   const struct image *m)
{
    dropout_image(op, a, m->dy, m->dx[0], m->count, m->number);
}

static cm_status dropout_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    return for_each_image(op, a, dropout_image_forward);
}

static cm_status dropout_backward(const struct nn_op *op, const struct nn_op_args *a)
{
    return a->dx[0] ? for_each_image(op, a, dropout_image_backward) : CM_OK;
}

const struct nn_op_impl nn_activation_cpu = {
    .name = "act/cpu", .open = open_plain, .forward = act_forward, .backward = act_backward};
const struct nn_op_impl nn_add_cpu = {
    .name = "add/cpu", .open = open_plain, .forward = add_forward, .backward = add_backward};
const struct nn_op_impl nn_scale_cpu = {
    .name = "scale/cpu", .open = open_plain, .forward = scale_forward, .backward = scale_backward};
const struct nn_op_impl nn_flatten_cpu = {.name = "flatten/cpu",
                                          .open = open_plain,
                                          .forward = flatten_forward,
                                          .backward = flatten_backward};
const struct nn_op_impl nn_dropout_cpu = {.name = "dropout/cpu",
                                          .open = open_plain,
                                          .forward = dropout_forward,
                                          .backward = dropout_backward};
