/* nn_preprocess_image against pixels that Pillow 11.0 gave (resize BILINEAR, crop, convert("L")).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "model/preprocess.h"

#define MAX_OUT 64

/* The image: bytes of x' = 1664525 x + 1013904223, from x = 1, upper byte first. */
static void make_image(struct nn_image *image, int h, int w, int channels)
{
    size_t n = (size_t)h * (size_t)w * (size_t)channels;
    uint32_t x = 1;

    *image = (struct nn_image){.h = h, .w = w, .channels = channels};
    assert_int_equal(cm_alloc(&image->pixels, n, 1, "a test image"), CM_OK);
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        image->pixels[i] = (uint8_t)(x >> 24);
    }
}

static const struct {
    int h, w, channels, resize, crop;
    bool grey;
    int out_channels;
    uint8_t want[MAX_OUT];
} golden[] = {
    {7, 11, 3, 5, 4, false, 3, {123, 129, 95,  175, 203, 71,  97,  92,  75,  66,  108, 115,
                                118, 137, 110, 130, 175, 83,  106, 149, 116, 141, 141, 61,
                                116, 157, 148, 140, 130, 163, 137, 114, 152, 171, 59,  100,
                                132, 132, 115, 165, 175, 69,  81,  94,  94,  145, 94,  127}},
    {11,
     7,
     1,
     4,
     4,
     false,
     1,
     {97, 130, 131, 121, 108, 160, 139, 176, 105, 140, 130, 140, 111, 87, 123, 107}},
    {40, 61, 3, 4, 3, true, 1, {127, 131, 130, 124, 126, 124, 132, 130, 121}},
    {3, 4, 3, 6, 5, true, 1, {76,  90, 126, 132, 110, 109, 117, 134, 127, 96,  173, 169, 149,
                              116, 69, 179, 170, 144, 113, 77,  127, 120, 117, 116, 118}},
    {23, 5, 1, 3, 2, false, 1, {74, 78, 141, 86}},
    {9, 9, 3, 0, 4, false, 3, {207, 104, 37,  156, 203, 238, 2,   7,   255, 205, 116, 100,
                               86,  198, 70,  233, 240, 110, 110, 90,  5,   169, 191, 113,
                               122, 76,  252, 184, 160, 115, 153, 30,  240, 211, 2,   49,
                               76,  199, 149, 148, 35,  6,   144, 214, 20,  10,  245, 57}},
    {10, 8, 1, 0, 3, false, 1, {99, 140, 119, 39, 95, 175, 84, 4, 243}},
    {17,
     300,
     1,
     4,
     4,
     false,
     1,
     {121, 105, 128, 141, 116, 114, 130, 138, 109, 130, 151, 138, 122, 128, 115, 124}},
};

static void pillows_pixels(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        struct nn_preprocess pre = {
            .resize = golden[i].resize, .crop = golden[i].crop, .grey = golden[i].grey};
        int side = golden[i].crop, c = golden[i].out_channels;
        struct nn_image image;
        uint8_t out[MAX_OUT] = {0};

        make_image(&image, golden[i].h, golden[i].w, golden[i].channels);
        assert_int_equal(nn_preprocess_image(&pre, c, side, side, &image, out), CM_OK);
        assert_memory_equal(out, golden[i].want, (size_t)(side * side * c));
        nn_image_release(&image);
    }
}

static void same_size_copies(void **state)
{
    (void)state;
    struct nn_preprocess pre = {.resize = 6, .crop = 6};
    struct nn_image image;
    uint8_t out[6 * 6 * 3];

    make_image(&image, 6, 6, 3);
    assert_int_equal(nn_preprocess_image(&pre, 3, 6, 6, &image, out), CM_OK);
    assert_memory_equal(out, image.pixels, sizeof out);
    nn_image_release(&image);
}

static void grey_to_three_channels(void **state)
{
    (void)state;
    struct nn_preprocess plain = {.resize = 0}, grey = {.grey = true};
    uint8_t one[4] = {0, 9, 100, 255}, colour[3] = {255, 0, 0}, out[12];
    struct nn_image image = {.h = 2, .w = 2, .channels = 1, .pixels = one};

    assert_int_equal(nn_preprocess_image(&plain, 3, 2, 2, &image, out), CM_OK);
    for (int i = 0; i < 12; i++)
        assert_int_equal(out[i], one[i / 3]);
    image = (struct nn_image){.h = 1, .w = 1, .channels = 3, .pixels = colour};
    assert_int_equal(nn_preprocess_image(&grey, 3, 1, 1, &image, out), CM_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(out[i], 76); /* 0.299 * 255 */
}

static void refused(const struct nn_preprocess *pre, int c, int h, int w, int image_h, int image_w,
                    int image_c, const char *word)
{
    struct nn_image image;
    uint8_t out[1];

    make_image(&image, image_h, image_w, image_c);
    assert_int_equal(nn_preprocess_image(pre, c, h, w, &image, out), CM_ESHAPE);
    assert_non_null(strstr(cm_error_text(), word));
    nn_image_release(&image);
}

static void wrong_sizes_are_named(void **state)
{
    (void)state;
    struct nn_preprocess none = {.resize = 0}, resize = {.resize = 8}, crop = {.crop = 8};

    refused(&none, 3, 32, 32, 28, 30, 3, "28 x 30");
    refused(&none, 3, 32, 32, 28, 30, 3, "32 x 32");
    refused(&resize, 3, 8, 8, 28, 56, 3, "8 x 16"); /* not square, and no crop */
    refused(&crop, 3, 8, 8, 7, 9, 3, "smaller than the crop of 8");
    refused(&crop, 3, 9, 9, 20, 20, 3, "9 x 9");
    refused(&none, 1, 2, 2, 2, 2, 3, "grey");
    refused(&none, 2, 2, 2, 2, 2, 3, "2 channels");
    refused(&none, 3, 2, 2, 2, 2, 2, "2 x 2 x 2");
}

/* Resized whole it would be 224 x 3.6 million pixels; only the crop may be computed. */
static void thin_image_costs_its_crop(void **state)
{
    (void)state;
    struct nn_preprocess pre = {.resize = 224, .crop = 224};
    static uint8_t out[224 * 224 * 3];
    struct nn_image image;

    make_image(&image, 16384, 1, 3);
    assert_int_equal(nn_preprocess_image(&pre, 3, 224, 224, &image, out), CM_OK);
    /* Enlarged 224 times: neighbours in a row are equal, those in a column nearly. */
    assert_memory_equal(out, out + 3, 3);
    nn_image_release(&image);
}

static void no_memory(void **state)
{
    (void)state;
    struct nn_preprocess pre = {.resize = 5, .crop = 4};
    struct nn_image image;
    uint8_t out[48];
    cm_status st = CM_ENOMEM;
    long k = 1;

    make_image(&image, 9, 12, 3);
    for (; st != CM_OK; k++) {
        cm_mem_fail_at(k);
        st = nn_preprocess_image(&pre, 3, 4, 4, &image, out);
        cm_mem_fail_at(0);
        assert_true(st == CM_OK || st == CM_ENOMEM);
    }
    assert_true(k > 8); /* two axes of three tables, two passes */
    nn_image_release(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pillows_pixels),
        cmocka_unit_test(same_size_copies),
        cmocka_unit_test(grey_to_three_channels),
        cmocka_unit_test(wrong_sizes_are_named),
        cmocka_unit_test(thin_image_costs_its_crop),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
