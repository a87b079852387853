/* Decoding what people send: every colour mode, cut and damaged files, bombs. Images are encoded
 * here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <spng.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/rng.h"
#include "model/image.h"

#define H 19
#define W 23

struct bytes {
    uint8_t *data; /* from malloc */
    size_t n;
};

/* A smooth picture (JPEG keeps it) of c channels. */
static void paint(uint8_t *out, int c)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int k = 0; k < c; k++)
                *out++ = (uint8_t)(20 + 5 * y + 4 * x + 20 * k);
}

static struct bytes make_jpeg(J_COLOR_SPACE space, int c, bool progressive, int orientation)
{
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    uint8_t pixels[H * W * 4];
    struct bytes b = {0};
    unsigned long n = 0;

    paint(pixels, c);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &b.data, &n);
    info.image_width = W;
    info.image_height = H;
    info.input_components = c;
    info.in_color_space = space;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 95, TRUE);
    if (progressive)
        jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    if (orientation) {
        uint8_t exif[] = {'E',  'x',  'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1,
                          0x01, 0x12, 0,   3,   0, 0, 0,   1,   0, 6,  0, 0, 0, 0, 0, 0};
        exif[25] = (uint8_t)orientation;
        jpeg_write_marker(&info, JPEG_APP0 + 1, exif, sizeof exif);
    }
    for (int y = 0; y < H; y++) {
        JSAMPROW row = pixels + (size_t)(y * W * c);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    b.n = n;
    return b;
}

static struct bytes make_png(const void *pixels, size_t nbytes, int color_type, int depth,
                             bool interlaced)
{
    struct spng_ihdr header = {.width = W,
                               .height = H,
                               .bit_depth = (uint8_t)depth,
                               .color_type = (uint8_t)color_type,
                               .interlace_method = interlaced};
    struct spng_plte palette = {.n_entries = 256};
    struct bytes b = {0};
    int rc = 0;

    for (int i = 0; i < 256; i++)
        palette.entries[i] =
            (struct spng_plte_entry){(uint8_t)i, (uint8_t)(255 - i), (uint8_t)(i / 2), 0};
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    assert_non_null(ctx);
    assert_int_equal(spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1), 0);
    assert_int_equal(spng_set_ihdr(ctx, &header), 0);
    if (color_type == SPNG_COLOR_TYPE_INDEXED)
        assert_int_equal(spng_set_plte(ctx, &palette), 0);
    assert_int_equal(spng_encode_image(ctx, pixels, nbytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    b.data = spng_get_png_buffer(ctx, &b.n, &rc);
    assert_int_equal(rc, 0);
    spng_ctx_free(ctx);
    return b;
}

static struct bytes make_png_rgb(void)
{
    uint8_t pixels[H * W * 3];
    paint(pixels, 3);
    return make_png(pixels, sizeof pixels, SPNG_COLOR_TYPE_TRUECOLOR, 8, false);
}

static cm_status decode(struct nn_image *image, const struct bytes *b)
{
    return nn_image_decode(image, b->data, b->n, &nn_image_limits_default);
}

/* Decodes, frees the bytes, and compares with want (H, W, 3) within `within`. */
static void expect_pixels(struct bytes b, const uint8_t *want, int within)
{
    struct nn_image image;

    assert_int_equal(decode(&image, &b), CM_OK);
    assert_int_equal(image.h, H);
    assert_int_equal(image.w, W);
    assert_int_equal(image.channels, 3);
    for (int i = 0; i < H * W * 3; i++)
        assert_in_range(abs(image.pixels[i] - want[i]), 0, within);
    nn_image_release(&image);
    assert_null(image.pixels);
    free(b.data);
}

static void jpeg_modes(void **state)
{
    (void)state;
    uint8_t rgb[H * W * 3], grey[H * W], want[H * W * 3];

    paint(rgb, 3);
    expect_pixels(make_jpeg(JCS_RGB, 3, false, 0), rgb, 4);
    expect_pixels(make_jpeg(JCS_RGB, 3, true, 0), rgb, 4);
    expect_pixels(make_jpeg(JCS_RGB, 3, false, 6), rgb, 4); /* orientation ignored */
    paint(grey, 1);
    for (int i = 0; i < H * W * 3; i++)
        want[i] = grey[i / 3];
    expect_pixels(make_jpeg(JCS_GRAYSCALE, 1, false, 0), want, 2);
}

/* Stored inks are inverted: value v of C, M, Y under K gives v * K / 255. */
static void jpeg_cmyk(void **state)
{
    (void)state;
    uint8_t inks[H * W * 4], want[H * W * 3];

    paint(inks, 4);
    for (int i = 0; i < H * W * 3; i++)
        want[i] = (uint8_t)(inks[i / 3 * 4 + i % 3] * inks[i / 3 * 4 + 3] / 255);
    expect_pixels(make_jpeg(JCS_CMYK, 4, false, 0), want, 4);
    expect_pixels(make_jpeg(JCS_CMYK, 4, true, 0), want, 4);
}

static void png_eight_bits(void **state)
{
    (void)state;
    uint8_t rgb[H * W * 3], pixels[H * W * 4], want[H * W * 3];

    paint(rgb, 3);
    expect_pixels(make_png(rgb, sizeof rgb, SPNG_COLOR_TYPE_TRUECOLOR, 8, false), rgb, 0);
    expect_pixels(make_png(rgb, sizeof rgb, SPNG_COLOR_TYPE_TRUECOLOR, 8, true), rgb, 0);
    for (int i = 0; i < H * W * 4; i++)
        pixels[i] = (uint8_t)(i % 4 == 3 ? i : rgb[i / 4 * 3 + i % 4]);
    expect_pixels(make_png(pixels, sizeof pixels, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 8, false), rgb,
                  0);
    for (int i = 0; i < H * W; i++) {
        pixels[2 * i] = rgb[i];
        pixels[2 * i + 1] = (uint8_t)i; /* alpha */
        for (int c = 0; c < 3; c++)
            want[3 * i + c] = rgb[i];
    }
    expect_pixels(make_png(pixels, 2 * H * W, SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 8, false), want, 0);
    expect_pixels(make_png(rgb, H * W, SPNG_COLOR_TYPE_GRAYSCALE, 8, false), want, 0);
    for (int i = 0; i < H * W; i++) {
        want[3 * i] = rgb[i];
        want[3 * i + 1] = (uint8_t)(255 - rgb[i]);
        want[3 * i + 2] = rgb[i] / 2;
    }
    expect_pixels(make_png(rgb, H * W, SPNG_COLOR_TYPE_INDEXED, 8, false), want, 0);
}

static void png_other_depths(void **state)
{
    (void)state;
    uint16_t deep[H * W * 3];
    uint8_t bits[H * ((W + 7) / 8)], want[H * W * 3];

    for (int i = 0; i < H * W * 3; i++) {
        deep[i] = (uint16_t)(i * 37);
        want[i] = (uint8_t)(deep[i] >> 8);
    }
    expect_pixels(make_png(deep, sizeof deep, SPNG_COLOR_TYPE_TRUECOLOR, 16, false), want, 0);
    for (int i = 0; i < H * W * 3; i++)
        want[i] = (uint8_t)(deep[i / 3] >> 8);
    expect_pixels(make_png(deep, H * W * 2, SPNG_COLOR_TYPE_GRAYSCALE, 16, false), want, 0);
    for (size_t i = 0; i < sizeof bits; i++)
        bits[i] = (uint8_t)(i * 77);
    for (int i = 0; i < H * W; i++) {
        int x = i % W, bit = bits[i / W * ((W + 7) / 8) + x / 8] >> (7 - x % 8) & 1;
        memset(want + 3 * i, bit ? 255 : 0, 3);
    }
    expect_pixels(make_png(bits, sizeof bits, SPNG_COLOR_TYPE_GRAYSCALE, 1, false), want, 0);
}

static void png_round_trip(void **state)
{
    (void)state;
    uint8_t rgb[H * W * 3], want[H * W * 3];
    struct nn_image image = {.h = H, .w = W, .channels = 3, .pixels = rgb}, back;
    struct bytes b;

    paint(rgb, 3);
    memcpy(want, rgb, sizeof want);
    for (int channels = 3; channels >= 1; channels -= 2) {
        image.channels = channels;
        for (int i = 0; channels == 1 && i < H * W * 3; i++)
            want[i] = rgb[i / 3];
        assert_int_equal(nn_image_encode_png(&image, (void **)&b.data, &b.n), CM_OK);
        assert_int_equal(decode(&back, &b), CM_OK);
        assert_memory_equal(back.pixels, want, sizeof want);
        nn_image_release(&back);
        cm_free(&b.data);
    }
    image.channels = 2;
    assert_int_equal(nn_image_encode_png(&image, (void **)&b.data, &b.n), CM_EINVAL);
    assert_null(b.data);
}

static void refuses(const void *data, size_t n, const struct nn_image_limits *limits,
                    const char *word)
{
    struct nn_image image;
    assert_int_equal(nn_image_decode(&image, data, n, limits), CM_EFORMAT);
    assert_null(image.pixels);
    if (!strstr(cm_error_text(), word))
        fail_msg("'%s' does not say '%s'", cm_error_text(), word);
}

static void other_formats(void **state)
{
    (void)state;
    const struct nn_image_limits *limits = &nn_image_limits_default;

    refuses("", 0, limits, "empty");
    refuses("GIF89a..", 8, limits, "GIF");
    refuses("GIF89a..", 8, limits, "47 49 46 38 39 61 2e 2e");
    refuses("<html>", 6, limits, "HTML");
    refuses("\xff", 1, limits, "ff (unknown)");
    refuses("\xff\xd8\xff", 3, limits, "JPEG");
    refuses("\x89PNG\r\n\x1a\n", 8, limits, "PNG");
}

/* Every prefix of a good file is refused, and nothing is read past its end (the copy is exact, for
 * ASan). */
static void truncations(struct bytes b)
{
    for (size_t n = 1; n < b.n; n++) {
        uint8_t *cut = malloc(n);
        struct nn_image image;
        assert_non_null(cut);
        memcpy(cut, b.data, n);
        cm_status st = nn_image_decode(&image, cut, n, &nn_image_limits_default);
        if (st != CM_EFORMAT)
            fail_msg("%zu of %zu bytes (first %02x) give status %d", n, b.n, cut[0], (int)st);
        assert_null(image.pixels);
        free(cut);
    }
    free(b.data);
}

static void truncated_everywhere(void **state)
{
    (void)state;
    truncations(make_jpeg(JCS_RGB, 3, false, 0));
    truncations(make_jpeg(JCS_RGB, 3, true, 0));
    truncations(make_jpeg(JCS_CMYK, 4, false, 0));
    truncations(make_png_rgb());
}

/* One to three damaged bytes: an image or CM_EFORMAT, never anything else. */
static void mutations(struct bytes b, uint32_t seed)
{
    const struct nn_image_limits limits = {.max_nbytes = 1 << 20,
                                           .max_side = 1024,
                                           .max_pixels = 1 << 18,
                                           .max_scans = 20,
                                           .max_scan_pixels = 1 << 20};
    for (uint32_t round = 0; round < 1500; round++) {
        struct cm_rng4 r = cm_rng_block(seed, CM_RNG_SYNTHETIC, 0, round, 0);
        size_t at[3];
        uint8_t was[3];
        struct nn_image image;
        for (uint32_t i = 0; i < 3; i++) {
            at[i] = cm_rng_below(r.v[i], (uint32_t)b.n);
            was[i] = b.data[at[i]];
            if (i <= r.v[3] % 3)
                b.data[at[i]] ^= (uint8_t)(1 + (r.v[3] >> 8 * (i + 1) & 127));
        }
        cm_status st = nn_image_decode(&image, b.data, b.n, &limits);
        assert_true(st == CM_OK || st == CM_EFORMAT);
        assert_int_equal(st == CM_OK, image.pixels != NULL);
        nn_image_release(&image);
        for (int i = 2; i >= 0; i--)
            b.data[at[i]] = was[i];
    }
    free(b.data);
}

static void mutated(void **state)
{
    (void)state;
    mutations(make_jpeg(JCS_RGB, 3, false, 0), 1);
    mutations(make_jpeg(JCS_RGB, 3, true, 0), 2);
    mutations(make_jpeg(JCS_CMYK, 4, false, 0), 3);
    mutations(make_png_rgb(), 4);
}

static uint8_t *find(struct bytes b, const char *pattern, size_t n)
{
    uint8_t *at = memmem(b.data, b.n, pattern, n);
    assert_non_null(at);
    return at;
}

static uint32_t crc32_of(const uint8_t *data, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put_be32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Small files that claim to be huge are refused on the header. */
static void bombs(void **state)
{
    (void)state;
    const struct nn_image_limits *limits = &nn_image_limits_default;
    struct bytes b = make_jpeg(JCS_RGB, 3, false, 0);
    uint8_t *frame = find(b, "\xff\xc0", 2); /* length 2, precision 1, height 2, width 2 */

    frame[5] = frame[7] = 0xff;
    refuses(b.data, b.n, limits, "a side past the limit 16384");
    frame[5] = frame[7] = 0x3f;
    refuses(b.data, b.n, limits, "more than the limit 67108864");
    free(b.data);

    b = make_png_rgb();
    uint8_t *header = find(b, "IHDR", 4);
    put_be32(header + 4, 60000);
    put_be32(header + 17, crc32_of(header, 17));
    refuses(b.data, b.n, limits, "60000 x 19 pixels, a side past the limit 16384");
    put_be32(header + 4, 16000);
    put_be32(header + 8, 16000);
    put_be32(header + 17, crc32_of(header, 17));
    refuses(b.data, b.n, limits, "more than the limit 67108864");
    free(b.data);
}

static void tight_limits(void **state)
{
    (void)state;
    struct nn_image_limits limits = nn_image_limits_default;
    struct bytes b = make_jpeg(JCS_RGB, 3, true, 0), png = make_png_rgb();

    limits.max_scans = 3;
    refuses(b.data, b.n, &limits, "more scans than the limit 3");
    limits = nn_image_limits_default;
    limits.max_scan_pixels = 3 * W * H;
    refuses(b.data, b.n, &limits, "4 scans of 437 pixels, more work than the limit 1311");
    limits.max_nbytes = b.n - 1;
    refuses(b.data, b.n, &limits, "more than the limit");
    limits = nn_image_limits_default;
    limits.max_side = W - 1;
    refuses(b.data, b.n, &limits, "a side past the limit 22");
    refuses(png.data, png.n, &limits, "a side past the limit 22");
    limits.max_side = W;
    limits.max_pixels = H * W - 1;
    refuses(b.data, b.n, &limits, "more than the limit 436");
    refuses(png.data, png.n, &limits, "more than the limit 436");
    free(b.data);
    free(png.data);
}

static void bad_checksum(void **state)
{
    (void)state;
    struct bytes b = make_png_rgb();
    find(b, "IHDR", 4)[17] ^= 1;
    refuses(b.data, b.n, &nn_image_limits_default, "PNG");
    free(b.data);
}

static void no_memory(void **state)
{
    (void)state;
    struct bytes both[] = {make_jpeg(JCS_CMYK, 4, true, 0), make_png_rgb()};

    for (size_t i = 0; i < 2; i++) {
        cm_status st = CM_ENOMEM;
        for (long k = 1; st != CM_OK; k++) {
            struct nn_image image;
            cm_mem_fail_at(k);
            st = decode(&image, &both[i]);
            cm_mem_fail_at(0);
            assert_int_equal(st == CM_OK, image.pixels != NULL);
            assert_true(st == CM_OK || st == CM_ENOMEM);
            nn_image_release(&image);
        }
        free(both[i].data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpeg_modes),
        cmocka_unit_test(jpeg_cmyk),
        cmocka_unit_test(png_eight_bits),
        cmocka_unit_test(png_other_depths),
        cmocka_unit_test(png_round_trip),
        cmocka_unit_test(other_formats),
        cmocka_unit_test(truncated_everywhere),
        cmocka_unit_test(mutated),
        cmocka_unit_test(bombs),
        cmocka_unit_test(tight_limits),
        cmocka_unit_test(bad_checksum),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
