/* JPEG by libjpeg-turbo. Its errors arrive by longjmp; so do its warnings here, because a warning
 * means pixels that nobody sent. Everything that must survive the jump lives in struct jpeg_reader,
 * not in locals. The orientation that EXIF may ask for is ignored, as PIL and torchvision ignore
 * it. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include "common/mem.h"
#include "model/image_formats.h"

struct jpeg_reader {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    char fault[JMSG_LENGTH_MAX + 64];
    const struct nn_image_limits *limits;
    uint8_t *pixels;  /* (h, w, 3) */
    uint8_t *ink_row; /* (w, 4), CMYK only */
};

static _Noreturn void on_error(j_common_ptr info)
{
    struct jpeg_reader *r = info->client_data;
    info->err->format_message(info, r->fault);
    longjmp(r->escape, 1);
}

static void on_message(j_common_ptr info, int level)
{
    if (level < 0)
        on_error(info);
}

/* Each scan of a progressive file walks the whole image, and may be a few bytes of "nothing new":
 * scans times pixels is the time that a small file can cost. */
static void on_progress(j_common_ptr info)
{
    struct jpeg_reader *r = info->client_data;
    int scans = r->info.input_scan_number;
    int64_t pixels = (int64_t)r->info.image_width * r->info.image_height;
    if (scans <= r->limits->max_scans && scans * pixels <= r->limits->max_scan_pixels)
        return;
    if (scans > r->limits->max_scans)
        snprintf(r->fault, sizeof r->fault, "more scans than the limit %d", r->limits->max_scans);
    else
        snprintf(r->fault, sizeof r->fault,
                 "%d scans of %" PRId64 " pixels, more work than the limit %" PRId64, scans, pixels,
                 r->limits->max_scan_pixels);
    longjmp(r->escape, 1);
}

static void reader_init(struct jpeg_reader *r, const struct nn_image_limits *limits)
{
    r->info.err = jpeg_std_error(&r->errors);
    r->errors.error_exit = on_error;
    r->errors.emit_message = on_message;
    r->info.client_data = r;
    r->progress.progress_monitor = on_progress;
    r->limits = limits;
}

static uint8_t multiply_255(uint8_t a, uint8_t b)
{
    int t = a * b + 128;
    return (uint8_t)((t + (t >> 8)) >> 8);
}

/* PIL's CMYK to RGB, behind Adobe's convention that a CMYK JPEG stores inverted inks: ink = 255 -
 * stored. */
static void inks_to_rgb(uint8_t *rgb, const uint8_t *stored, size_t w)
{
    for (size_t x = 0; x < w; x++) {
        uint8_t light = stored[4 * x + 3];
        for (size_t c = 0; c < 3; c++) {
            uint8_t ink = (uint8_t)(255 - stored[4 * x + c]);
            rgb[3 * x + c] = (uint8_t)(light - multiply_255(ink, light));
        }
    }
}

static void read_rows(struct jpeg_reader *r)
{
    size_t w = r->info.output_width;
    while (r->info.output_scanline < r->info.output_height) {
        uint8_t *row = r->pixels + r->info.output_scanline * w * 3;
        JSAMPROW into = r->ink_row ? r->ink_row : row;
        jpeg_read_scanlines(&r->info, &into,
                            1); /* one row or a jump: a memory source never waits */
        if (r->ink_row)
            inks_to_rgb(row, r->ink_row, w);
    }
}

/* The jump lands here: no local may change between setjmp and the calls into the library. */
static cm_status decode(struct jpeg_reader *r, const void *data, size_t nbytes,
                        const struct nn_image_limits *limits)
{
    if (setjmp(r->escape))
        return CM_FAIL(CM_EFORMAT, "JPEG: %s", r->fault);
    jpeg_create_decompress(&r->info);
    r->info.progress = &r->progress;
    /* Coefficients of a progressive file: up to 4 components of 2 bytes. */
    r->info.mem->max_memory_to_use = (long)limits->max_pixels * 8 + (1 << 20);
    jpeg_mem_src(&r->info, data, (unsigned long)nbytes);
    (void)jpeg_read_header(&r->info, TRUE);
    CM_TRY(nn_image_check_size(limits, "JPEG", r->info.image_width, r->info.image_height));
    size_t w = r->info.image_width, h = r->info.image_height;

    bool inks = r->info.jpeg_color_space == JCS_CMYK || r->info.jpeg_color_space == JCS_YCCK;
    r->info.out_color_space = inks ? JCS_CMYK : JCS_RGB;
    if (inks)
        CM_TRY(cm_alloc(&r->ink_row, w, 4, "a CMYK row"));
    (void)jpeg_start_decompress(&r->info);
    CM_TRY(cm_alloc(&r->pixels, h * w, 3, "pixels of a JPEG"));
    read_rows(r);
    (void)jpeg_finish_decompress(&r->info); /* reads up to the end marker */
    return CM_OK;
}

cm_status nn_jpeg_decode(struct nn_image *out, const void *data, size_t nbytes,
                         const struct nn_image_limits *limits)
{
    struct jpeg_reader *r = NULL;
    CM_TRY(cm_alloc(&r, 1, sizeof *r, "a JPEG reader"));
    reader_init(r, limits);
    cm_status st = decode(r, data, nbytes, limits);
    if (st == CM_OK) {
        *out = (struct nn_image){.h = (int)r->info.output_height,
                                 .w = (int)r->info.output_width,
                                 .channels = 3,
                                 .pixels = r->pixels};
        r->pixels = NULL;
    }
    jpeg_destroy_decompress(&r->info);
    cm_free(&r->pixels);
    cm_free(&r->ink_row);
    cm_free(&r);
    return st;
}
