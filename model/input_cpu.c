/* From the data set's bytes to the network's input, one table look-up per element. Where an output
 * column comes from is worked out once per image, so that the loop over pixels has no branch on the
 * augmentation. */
#include <omp.h>
#include <string.h>

#include "common/mem.h"
#include "common/vec.h"
#include "model/input.h"

#define VALUES 256

struct input {
    float *f32;     /* (C, 256): the normalised value of each byte */
    uint16_t *bf16; /* the same, rounded */
};

static cm_status input_open(struct nn_op *op)
{
    const struct nn_op_desc *d = &op->desc;
    struct input *s = NULL;
    if (d->x.c > 3)
        return CM_FAIL(CM_EUNSUPPORTED, "images of %d channels, at most 3", d->x.c);
    size_t n = (size_t)d->x.c * VALUES;
    CM_TRY(cm_alloc(&s, 1, sizeof *s, d->name));
    op->state = s;
    CM_TRY(cm_alloc(&s->f32, n, sizeof *s->f32, d->name));
    CM_TRY(cm_alloc(&s->bf16, n, sizeof *s->bf16, d->name));
    for (int c = 0; c < d->x.c; c++)
        for (int v = 0; v < VALUES; v++)
            s->f32[c * VALUES + v] = (float)((v / 255.0 - (double)d->mean[c]) / (double)d->std[c]);
    cm_vec_to_bf16(s->bf16, s->f32, n);
    op->needs.scratch = (size_t)d->threads * (size_t)d->x.w * sizeof(int);
    return CM_OK;
}

static void input_close(struct nn_op *op)
{
    struct input *s = op->state;
    if (!s)
        return;
    cm_free(&s->f32);
    cm_free(&s->bf16);
    cm_free(&op->state);
}

/* Mirrored about 0 and size - 1, the edges not repeated, until it is inside; -1: outside, under
 * zero padding. */
static int source(int at, int size, enum nn_pad_mode mode)
{
    if (at >= 0 && at < size)
        return at;
    if (mode == NN_PAD_ZERO)
        return -1;
    if (size == 1)
        return 0;
    int period = 2 * (size - 1);
    at %= period;
    at = at < 0 ? at + period : at;
    return at < size ? at : period - at;
}

/* One output row. from: the image's row, NULL: outside; columns: of each output pixel's source, -1:
 * outside. */
static void copy_row(const struct nn_op *op, const uint8_t *from, const int *columns, void *to)
{
    const struct input *s = op->state;
    int w = op->desc.x.w, channels = op->desc.x.c;
    bool wide = op->desc.dtype == NN_F32;
    for (int j = 0; j < w; j++)
        for (int c = 0; c < channels; c++) {
            int value = from && columns[j] >= 0 ? from[columns[j] * channels + c] : 0;
            if (wide)
                ((float *)to)[j * channels + c] = s->f32[c * VALUES + value];
            else
                ((uint16_t *)to)[j * channels + c] = s->bf16[c * VALUES + value];
        }
}

static int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

static void cut_out(const struct nn_op *op, const struct nn_augment *aug, char *y)
{
    int h = op->desc.x.h, w = op->desc.x.w;
    size_t pixel = (size_t)op->desc.x.c * nn_dtype_size(op->desc.dtype);
    int top = clamp(aug->cut_y, 0, h), bottom = clamp(aug->cut_y + aug->cut_n, 0, h);
    int left = clamp(aug->cut_x, 0, w), right = clamp(aug->cut_x + aug->cut_n, 0, w);
    for (int i = top; i < bottom; i++)
        memset(y + (size_t)(i * w + left) * pixel, 0, (size_t)(right - left) * pixel);
}

static void make_image(const struct nn_op *op, const uint8_t *image, const struct nn_augment *aug,
                       int *columns, char *y)
{
    const struct nn_op_desc *d = &op->desc;
    int h = d->x.h, w = d->x.w;
    size_t row = (size_t)w * (size_t)d->x.c;
    for (int j = 0; j < w; j++) {
        int q = source(j + aug->dx, w, d->pad_mode);
        columns[j] = q >= 0 && aug->flip ? w - 1 - q : q;
    }
    for (int i = 0; i < h; i++) {
        int r = source(i + aug->dy, h, d->pad_mode);
        copy_row(op, r < 0 ? NULL : image + (size_t)r * row, columns,
                 y + (size_t)i * row * nn_dtype_size(d->dtype));
    }
    if (aug->cut_n)
        cut_out(op, aug, y);
}

static cm_status input_forward(const struct nn_op *op, const struct nn_op_args *a)
{
    static const struct nn_augment none;
    const struct nn_op_desc *d = &op->desc;
    const struct nn_batch *b = a->batch;
    size_t count = nn_shape_count(d->x);
#pragma omp parallel for num_threads(d->threads) if (d->threads > 1) schedule(static)
    for (int i = 0; i < a->n; i++) {
        size_t number = b->index ? b->index[i] : (size_t)i;
        int *columns = (int *)a->scratch + (size_t)omp_get_thread_num() * (size_t)d->x.w;
        make_image(op, b->images + number * count, b->augment ? &b->augment[i] : &none, columns,
                   (char *)a->y + (size_t)i * count * nn_dtype_size(d->dtype));
    }
    return CM_OK;
}

const struct nn_op_impl nn_input_cpu = {
    .name = "input/cpu", .open = input_open, .close = input_close, .forward = input_forward};
