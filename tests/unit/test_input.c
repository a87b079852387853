/* The cpu input op, pixel by pixel against what its header says, on images whose bytes tell where
 * they come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/vec.h"
#include "model/op.h"

enum { H = 5, W = 6, C = 3, IMAGES = 4, PIXELS = H * W * C };

static const int batches[] = {1, 2, 3};

struct fixture {
    struct nn_op op;
    uint8_t images[IMAGES * PIXELS];
    float y[3 * PIXELS];
    uint16_t y_bf16[3 * PIXELS];
    int scratch[2 * W];
};

static struct nn_op_desc describe(enum nn_dtype dtype, enum nn_pad_mode mode)
{
    return (struct nn_op_desc){.kind = NN_OP_INPUT,
                               .name = "input",
                               .dtype = dtype,
                               .x = {C, H, W},
                               .y = {C, H, W},
                               .mean = {0.1f, 0.2f, 0.3f},
                               .std = {0.5f, 0.25f, 2.0f},
                               .pad_mode = mode,
                               .batches = batches,
                               .nbatches = 3,
                               .nlanes = 1,
                               .threads = 1};
}

static void open_fixture(struct fixture *f, enum nn_dtype dtype, enum nn_pad_mode mode)
{
    const struct nn_op_desc desc = describe(dtype, mode);
    for (int i = 0; i < IMAGES * PIXELS; i++)
        f->images[i] = (uint8_t)(i * 37 % 251 + 1); /* never 0: black is padding */
    assert_int_equal(nn_op_open(&f->op, nn_backend_cpu(), &desc), CM_OK);
    assert_true(f->op.needs.scratch <= sizeof f->scratch);
}

static void forward(struct fixture *f, int n, const uint32_t *index, const struct nn_augment *aug)
{
    const struct nn_batch batch = {.n = n, .images = f->images, .index = index, .augment = aug};
    bool wide = f->op.desc.dtype == NN_F32;
    const struct nn_op_args args = {.n = n,
                                    .y = wide ? (void *)f->y : (void *)f->y_bf16,
                                    .scratch = f->scratch,
                                    .batch = &batch};
    assert_int_equal(f->op.impl->forward(&f->op, &args), CM_OK);
}

static float normalised(int byte, int c)
{
    const float mean[] = {0.1f, 0.2f, 0.3f}, std[] = {0.5f, 0.25f, 2.0f};
    return (float)((byte / 255.0 - (double)mean[c]) / (double)std[c]);
}

/* Output pixel (i, j) of image number k of the batch came from pixel (r, q) of image m; r < 0: it
 * is black. */
static void assert_from(const struct fixture *f, int k, int i, int j, int m, int r, int q)
{
    for (int c = 0; c < C; c++) {
        int byte = r < 0 ? 0 : f->images[((m * H + r) * W + q) * C + c];
        assert_true(f->y[((k * H + i) * W + j) * C + c] == normalised(byte, c));
    }
}

static void test_plain_and_index(void **state)
{
    (void)state;
    struct fixture f;
    const uint32_t index[] = {3, 0, 3};
    open_fixture(&f, NN_F32, NN_PAD_ZERO);
    forward(&f, 2, NULL, NULL);
    for (int i = 0; i < H; i++)
        for (int j = 0; j < W; j++)
            assert_from(&f, 1, i, j, 1, i, j);
    forward(&f, 3, index, NULL);
    for (int i = 0; i < H; i++)
        for (int j = 0; j < W; j++) {
            assert_from(&f, 1, i, j, 0, i, j);
            assert_from(&f, 2, i, j, 3, i, j);
        }
    nn_op_close(&f.op);
}

static void test_shift_with_black(void **state)
{
    (void)state;
    struct fixture f;
    const struct nn_augment aug = {.dy = 2, .dx = -1};
    open_fixture(&f, NN_F32, NN_PAD_ZERO);
    forward(&f, 1, NULL, &aug);
    for (int i = 0; i < H; i++)
        for (int j = 0; j < W; j++) {
            bool inside = i + 2 < H && j - 1 >= 0;
            assert_from(&f, 0, i, j, 0, inside ? i + 2 : -1, j - 1);
        }
    nn_op_close(&f.op);
}

static void test_shift_with_reflection(void **state)
{
    (void)state;
    struct fixture f;
    const struct nn_augment aug = {.dy = -2, .dx = 3};
    const int rows[H] = {2, 1, 0, 1, 2}, columns[W] = {3, 4, 5, 4, 3, 2};
    open_fixture(&f, NN_F32, NN_PAD_REFLECT);
    forward(&f, 1, NULL, &aug);
    for (int i = 0; i < H; i++)
        for (int j = 0; j < W; j++)
            assert_from(&f, 0, i, j, 0, rows[i], columns[j]);
    nn_op_close(&f.op);
}

/* A shift far past the border mirrors again and again; it must stay inside the image. */
static void test_far_reflection(void **state)
{
    (void)state;
    struct fixture f;
    const struct nn_augment aug[] = {{.dy = 127, .dx = -127}, {.dy = -127, .dx = 127}};
    open_fixture(&f, NN_F32, NN_PAD_REFLECT);
    forward(&f, 2, NULL, aug);
    assert_from(&f, 0, 0, 0, 0, 127 % 8 > 4 ? 8 - 127 % 8 : 127 % 8, 3); /* -127 + 130 = 3 */
    nn_op_close(&f.op);
}

static void test_flip_before_shift(void **state)
{
    (void)state;
    struct fixture f;
    const struct nn_augment aug = {.dx = 1, .flip = 1};
    open_fixture(&f, NN_F32, NN_PAD_ZERO);
    forward(&f, 1, NULL, &aug);
    for (int j = 0; j < W; j++)
        assert_from(&f, 0, 2, j, 0, j + 1 < W ? 2 : -1, W - 2 - j);
    nn_op_close(&f.op);
}

static void assert_cut(const struct nn_augment *aug)
{
    struct fixture f;
    open_fixture(&f, NN_F32, NN_PAD_ZERO);
    forward(&f, 1, NULL, aug);
    for (int i = 0; i < H; i++)
        for (int j = 0; j < W; j++) {
            bool cut = i >= aug->cut_y && i < aug->cut_y + aug->cut_n && j >= aug->cut_x &&
                       j < aug->cut_x + aug->cut_n;
            for (int c = 0; cut && c < C; c++)
                assert_true(f.y[(i * W + j) * C + c] == 0.0f);
            if (!cut)
                assert_from(&f, 0, i, j, 0, i, j);
        }
    nn_op_close(&f.op);
}

static void test_cut_inside_and_over_borders(void **state)
{
    (void)state;
    assert_cut(&(struct nn_augment){.cut_n = 2, .cut_y = 1, .cut_x = 3});
    assert_cut(&(struct nn_augment){.cut_n = 3, .cut_y = -2, .cut_x = 4});
    assert_cut(&(struct nn_augment){.cut_n = 3, .cut_y = 4, .cut_x = -1});
    assert_cut(&(struct nn_augment){.cut_n = 2, .cut_y = 40, .cut_x = -40});
    assert_cut(&(struct nn_augment){.cut_n = 255, .cut_y = -100, .cut_x = -100});
}

static void test_bf16_is_fp32_rounded(void **state)
{
    (void)state;
    struct fixture wide, narrow;
    const struct nn_augment aug[] = {{.dy = 1, .flip = 1}, {.cut_n = 2}};
    open_fixture(&wide, NN_F32, NN_PAD_REFLECT);
    open_fixture(&narrow, NN_BF16, NN_PAD_REFLECT);
    forward(&wide, 2, NULL, aug);
    forward(&narrow, 2, NULL, aug);
    for (int i = 0; i < 2 * PIXELS; i++)
        assert_int_equal(narrow.y_bf16[i], cm_f32_to_bf16(wide.y[i]));
    nn_op_close(&wide.op);
    nn_op_close(&narrow.op);
}

static void test_refuses_four_channels(void **state)
{
    (void)state;
    struct nn_op op;
    struct nn_op_desc desc = describe(NN_F32, NN_PAD_ZERO);
    desc.x.c = desc.y.c = 4;
    assert_int_equal(nn_op_open(&op, nn_backend_cpu(), &desc), CM_EUNSUPPORTED);
    assert_non_null(strstr(cm_error_text(), "input: images of 4 channels"));
    nn_op_close(&op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_index),
        cmocka_unit_test(test_shift_with_black),
        cmocka_unit_test(test_shift_with_reflection),
        cmocka_unit_test(test_far_reflection),
        cmocka_unit_test(test_flip_before_shift),
        cmocka_unit_test(test_cut_inside_and_over_borders),
        cmocka_unit_test(test_bf16_is_fp32_rounded),
        cmocka_unit_test(test_refuses_four_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
