/* Resize, crop, greyscale on bytes, bit for bit as PIL (9 to 11) does them, so that a network
 * trained elsewhere sees the same pixels here.
 *
 * The resize is a convolution, one axis at a time, rows first: output o sees the inputs within
 * `support` of its centre through a triangle (bilinear) that is widened by the scale when shrinking
 * (antialias). Weights are fixed point with 22 fraction bits, and each pass rounds to 8 bits. Cost:
 * h * w' * k + h' * w' * k, k = 2 * max(1, scale) + 1. */
#include "model/preprocess.h"

#include <math.h>
#include <string.h>

#include "common/mem.h"

#define FRACTION_BITS 22 /* 8 bits of pixel, 2 of headroom, 32 in all */

/* One axis: `in` pixels are resized to `resized`, of which [offset, offset + n) is kept. Nothing
 * else is computed, so an image of 1 x 16,384 costs no more than its crop. */
struct axis {
    int in, n;
    int64_t resized, offset;
};

/* Pixels on their way; rows and columns own what the two passes made. */
struct view {
    const uint8_t *pixels;
    size_t stride; /* bytes from a row to the next */
    int channels;
    uint8_t *rows, *columns;
};

/* The weights of one axis. */
struct taps {
    int n;           /* outputs */
    int max_count;   /* slots per output */
    int *first;      /* (n): first input */
    int *count;      /* (n): inputs seen */
    int32_t *weight; /* (n, max_count) */
};

static void taps_release(struct taps *t)
{
    cm_free(&t->first);
    cm_free(&t->count);
    cm_free(&t->weight);
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Doubles in PIL's order of operations; both sums run over the inputs from left to right. */
static void fill_output(struct taps *t, int o, const struct axis *axis, double scale)
{
    double stretch = scale < 1.0 ? 1.0 : scale, inverse = 1.0 / stretch;
    double center = ((double)(axis->offset + o) + 0.5) * scale;
    int first = (int)(center - stretch + 0.5);
    int end = (int)(center + stretch + 0.5);
    int32_t *weight = t->weight + (size_t)o * (size_t)t->max_count;
    double total = 0.0;

    if (first < 0)
        first = 0;
    if (end > axis->in)
        end = axis->in;
    for (int i = first; i < end; i++)
        total += triangle((i - center + 0.5) * inverse);
    for (int i = first; i < end; i++) {
        double share = triangle((i - center + 0.5) * inverse) / total;
        weight[i - first] = (int32_t)(0.5 + share * (1 << FRACTION_BITS));
    }
    t->first[o] = first;
    t->count[o] = end - first;
}

static cm_status taps_init(struct taps *t, const struct axis *axis)
{
    double scale = (double)axis->in / (double)axis->resized;
    size_t n = (size_t)axis->n;

    t->n = axis->n;
    t->max_count = (int)ceil(scale < 1.0 ? 1.0 : scale) * 2 + 1;
    CM_TRY(cm_alloc(&t->first, n, sizeof *t->first, "resize: first inputs"));
    CM_TRY(cm_alloc(&t->count, n, sizeof *t->count, "resize: input counts"));
    CM_TRY(cm_alloc(&t->weight, n * (size_t)t->max_count, sizeof *t->weight, "resize: weights"));
    for (int o = 0; o < axis->n; o++)
        fill_output(t, o, axis, scale);
    return CM_OK;
}

/* out[o * out_step + lane] for every output o and each of n neighbouring lanes (channels of a
 * pixel, or bytes of a row). in is the line's first input. */
static void convolve(uint8_t *out, size_t out_step, const uint8_t *in, size_t in_step,
                     size_t nlanes, const struct taps *t)
{
    for (int o = 0; o < t->n; o++) {
        const int32_t *weight = t->weight + (size_t)o * (size_t)t->max_count;
        const uint8_t *from = in + (size_t)t->first[o] * in_step;
        for (size_t lane = 0; lane < nlanes; lane++) {
            int32_t sum = 1 << (FRACTION_BITS - 1);
            for (int k = 0; k < t->count[o]; k++)
                sum += weight[k] * from[(size_t)k * in_step + lane];
            int32_t v = sum >> FRACTION_BITS;
            out[(size_t)o * out_step + lane] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}

/* Replaces the view by its window of columns, resized if the axis asks for it. */
static cm_status window_width(struct view *v, const struct axis *x, int nrows)
{
    struct taps t = {0};
    cm_status st = CM_OK;
    size_t c = (size_t)v->channels, stride = (size_t)x->n * c;

    if (x->resized == x->in) {
        v->pixels += (size_t)x->offset * c;
        return CM_OK;
    }
    CM_GOTO(st, taps_init(&t, x), out);
    CM_GOTO(st, cm_alloc(&v->rows, (size_t)nrows, stride, "resized rows"), out);
    for (size_t y = 0; y < (size_t)nrows; y++)
        convolve(v->rows + y * stride, c, v->pixels + y * v->stride, c, c, &t);
    v->pixels = v->rows;
    v->stride = stride;
out:
    taps_release(&t);
    return st;
}

/* The same down the columns; the view is x->n pixels wide by now. Only the image rows that the
 * window's outputs see are resized in width. */
static cm_status window_height(struct view *v, const struct axis *y, const struct axis *x)
{
    struct taps t = {0};
    cm_status st = CM_OK;
    size_t row = (size_t)x->n * (size_t)v->channels;

    if (y->resized == y->in) {
        v->pixels += (size_t)y->offset * v->stride;
        return window_width(v, x, y->n);
    }
    CM_GOTO(st, taps_init(&t, y), out);
    int first = t.first[0], end = t.first[t.n - 1] + t.count[t.n - 1];
    for (int o = 0; o < t.n; o++)
        t.first[o] -= first;
    v->pixels += (size_t)first * v->stride;
    CM_GOTO(st, window_width(v, x, end - first), out);
    CM_GOTO(st, cm_alloc(&v->columns, (size_t)y->n, row, "resized columns"), out);
    convolve(v->columns, row, v->pixels, v->stride, row, &t);
    v->pixels = v->columns;
    v->stride = row;
out:
    taps_release(&t);
    return st;
}

/* Python's int(round((size - side) / 2.0)): halves go to the even neighbour. */
static int64_t crop_offset(int64_t size, int64_t side)
{
    int64_t difference = size - side, half = difference / 2;
    return half + (difference % 2 && half % 2);
}

static uint8_t luma(const uint8_t *p)
{
    return (uint8_t)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
}

static void convert_row(uint8_t *out, int channels, const uint8_t *in, int in_channels, int n,
                        bool grey)
{
    if (in_channels == channels && !(grey && channels == 3)) {
        memcpy(out, in, (size_t)n * (size_t)channels);
        return;
    }
    for (int x = 0; x < n; x++) {
        uint8_t v = in_channels == 3 ? luma(in + 3 * x) : in[x];
        for (int c = 0; c < channels; c++)
            out[x * channels + c] = v;
    }
}

static cm_status check_request(const struct nn_preprocess *pre, int channels,
                               const struct nn_image *image)
{
    if (image->h < 1 || image->w < 1 || (image->channels != 1 && image->channels != 3))
        return CM_FAIL(CM_ESHAPE, "an image of %d x %d x %d (h, w, channels)", image->h, image->w,
                       image->channels);
    if (channels != 1 && channels != 3)
        return CM_FAIL(CM_ESHAPE, "the network takes %d channels, images have 1 or 3", channels);
    if (channels == 1 && image->channels == 3 && !pre->grey)
        return CM_FAIL(CM_ESHAPE, "the network takes 1 channel, the image has 3, and 'preprocess' "
                                  "does not ask for 'grey'");
    return CM_OK;
}

/* Both axes from the shorter side's rule. CM_ESHAPE when the window is not exactly height x width.
 */
static cm_status plan_axes(struct axis *y, struct axis *x, const struct nn_preprocess *pre,
                           int height, int width, const struct nn_image *image)
{
    int64_t h = image->h, w = image->w;

    if (pre->resize > 0) {
        int64_t shorter = h < w ? h : w;
        h = pre->resize * h / shorter;
        w = pre->resize * w / shorter;
    }
    int64_t keep_h = pre->crop > 0 ? pre->crop : h, keep_w = pre->crop > 0 ? pre->crop : w;
    if (keep_h > h || keep_w > w)
        return CM_FAIL(CM_ESHAPE, "an image of %d x %d is smaller than the crop of %d (h x w)",
                       image->h, image->w, pre->crop);
    if (keep_h != height || keep_w != width)
        return CM_FAIL(
            CM_ESHAPE,
            "an image of %d x %d is %lld x %lld after resize and crop, the network takes "
            "%d x %d (h x w); give 'preprocess' in model.json a 'resize' and a 'crop'",
            image->h, image->w, (long long)keep_h, (long long)keep_w, height, width);
    *y = (struct axis){image->h, height, h, crop_offset(h, height)};
    *x = (struct axis){image->w, width, w, crop_offset(w, width)};
    return CM_OK;
}

cm_status nn_preprocess_image(const struct nn_preprocess *pre, int channels, int height, int width,
                              const struct nn_image *image, uint8_t *out)
{
    struct view v = {.pixels = image->pixels,
                     .stride = (size_t)image->w * (size_t)image->channels,
                     .channels = image->channels};
    struct axis y = {0}, x = {0};
    cm_status st = CM_OK;

    CM_TRY(check_request(pre, channels, image));
    CM_TRY(plan_axes(&y, &x, pre, height, width, image));
    CM_GOTO(st, window_height(&v, &y, &x), out);
    for (size_t row = 0; row < (size_t)height; row++)
        convert_row(out + row * (size_t)width * (size_t)channels, channels,
                    v.pixels + row * v.stride, v.channels, width, pre->grey);
out:
    cm_free(&v.rows);
    cm_free(&v.columns);
    return st;
}
