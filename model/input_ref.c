#include "model/input.h"

#include "model/ref.h"

static cm_status open_input(struct nn_op *op)
{
    return nn_ref_check(&op->desc);
}

/* Where index i of the padded side reads in [0, side), -1: outside. */
static int fold(int i, int side, enum nn_pad_mode mode)
{
    if (mode == NN_PAD_ZERO)
        return i < 0 || i >= side ? -1 : i;
    if (side == 1)
        return 0;
    int period = 2 * (side - 1);
    i = (i % period + period) % period;
    return i < side ? i : period - i;
}

static bool in_cut(const struct nn_augment *aug, int i, int j)
{
    return i >= aug->cut_y && i < aug->cut_y + aug->cut_n && j >= aug->cut_x &&
           j < aug->cut_x + aug->cut_n;
}

static double value(const struct nn_op_desc *d, const uint8_t *image, const struct nn_augment *aug,
                    int i, int j, int c)
{
    if (in_cut(aug, i, j))
        return 0;
    int r = fold(i + aug->dy, d->y.h, d->pad_mode);
    int q = fold(j + aug->dx, d->y.w, d->pad_mode);
    int column = aug->flip ? d->y.w - 1 - q : q;
    int byte = r < 0 || q < 0 ? 0 : image[nn_ref_at(d->y, 0, r, column, c)];
    return (byte / 255.0 - (double)d->mean[c]) / (double)d->std[c];
}

static cm_status forward(const struct nn_op *op, const struct nn_op_args *a)
{
    static const struct nn_augment none;
    const struct nn_op_desc *d = &op->desc;
    const struct nn_batch *b = a->batch;
    for (int n = 0; n < a->n; n++) {
        size_t number = b->index ? b->index[n] : (size_t)n;
        const uint8_t *image = b->images + number * nn_shape_count(d->y);
        const struct nn_augment *aug = b->augment ? &b->augment[n] : &none;
        for (int i = 0; i < d->y.h; i++)
            for (int j = 0; j < d->y.w; j++)
                for (int c = 0; c < d->y.c; c++)
                    nn_ref_put(d->dtype, a->y, nn_ref_at(d->y, n, i, j, c),
                               value(d, image, aug, i, j, c));
    }
    return CM_OK;
}

const struct nn_op_impl nn_input_ref = {
    .name = "input/ref", .open = open_input, .forward = forward};
