/* PNG by libspng, both ways. */
#include <stdlib.h>
#include <string.h>

#include <spng.h>

#include "common/mem.h"
#include "model/image_formats.h"

static cm_status png_fault(int code, const char *doing)
{
    return CM_FAIL(code == SPNG_EMEM ? CM_ENOMEM : CM_EFORMAT, "PNG: %s (while %s)",
                   spng_strerror(code), doing);
}

static cm_status read_header(spng_ctx *ctx, struct spng_ihdr *header, const void *data,
                             size_t nbytes, const struct nn_image_limits *limits)
{
    uint32_t side = (uint32_t)limits->max_side;
    int rc = spng_set_png_buffer(ctx, data, nbytes);
    if (rc == 0)
        rc = spng_set_crc_action(ctx, SPNG_CRC_ERROR, SPNG_CRC_ERROR);
    /* Chunks beside the pixels are compressed too: a colour profile may be a bomb. */
    if (rc == 0)
        rc = spng_set_chunk_limits(ctx, limits->max_nbytes, limits->max_nbytes);
    if (rc == 0)
        rc = spng_get_ihdr(ctx, header);
    if (rc)
        return png_fault(rc, "reading the header");
    CM_TRY(nn_image_check_size(limits, "PNG", header->width, header->height));
    rc = spng_set_image_limits(ctx, side, side);
    return rc ? png_fault(rc, "setting limits") : CM_OK;
}

/* RGB8 is what convert("RGB") of PIL gives: alpha and transparency dropped, no gamma; of 16 bits
 * the upper 8. */
static cm_status read_pixels(spng_ctx *ctx, uint8_t **pixels, const struct spng_ihdr *header)
{
    size_t nbytes = 0, npixels = (size_t)header->width * header->height;
    int rc = spng_decoded_image_size(ctx, SPNG_FMT_RGB8, &nbytes);
    if (rc)
        return png_fault(rc, "sizing the image");
    if (nbytes != npixels * 3)
        return CM_FAIL(CM_EINTERNAL, "PNG: %zu bytes for %zu pixels", nbytes, npixels);
    CM_TRY(cm_alloc(pixels, npixels, 3, "pixels of a PNG"));
    rc = spng_decode_image(ctx, *pixels, nbytes, SPNG_FMT_RGB8, 0);
    if (rc)
        return png_fault(rc, "reading the pixels");
    rc = spng_decode_chunks(ctx); /* up to IEND: checks the last checksum, finds a cut tail */
    return rc ? png_fault(rc, "reading the end") : CM_OK;
}

/* libspng stops at IEND's name; a file cut behind it is cut all the same. */
static cm_status check_end(const void *data, size_t nbytes)
{
    static const char end[] = "IEND\xae\x42\x60\x82";
    if (!memmem(data, nbytes, end, sizeof end - 1))
        return CM_FAIL(CM_EFORMAT, "PNG: the end chunk is cut or damaged");
    return CM_OK;
}

cm_status nn_png_decode(struct nn_image *out, const void *data, size_t nbytes,
                        const struct nn_image_limits *limits)
{
    struct spng_ihdr header = {0};
    uint8_t *pixels = NULL;
    cm_status st = CM_OK;

    spng_ctx *ctx = spng_ctx_new(0);
    if (!ctx)
        return CM_FAIL(CM_ENOMEM, "a PNG reader");
    CM_GOTO(st, read_header(ctx, &header, data, nbytes, limits), out);
    CM_GOTO(st, read_pixels(ctx, &pixels, &header), out);
    CM_GOTO(st, check_end(data, nbytes), out);
    *out = (struct nn_image){
        .h = (int)header.height, .w = (int)header.width, .channels = 3, .pixels = pixels};
    pixels = NULL;
out:
    cm_free(&pixels);
    spng_ctx_free(ctx);
    return st;
}

static int encode(spng_ctx *ctx, const struct nn_image *image)
{
    struct spng_ihdr header = {
        .width = (uint32_t)image->w,
        .height = (uint32_t)image->h,
        .bit_depth = 8,
        .color_type = image->channels == 1 ? SPNG_COLOR_TYPE_GRAYSCALE : SPNG_COLOR_TYPE_TRUECOLOR,
    };
    size_t nbytes = (size_t)image->h * (size_t)image->w * (size_t)image->channels;
    int rc = spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    if (rc == 0)
        rc = spng_set_ihdr(ctx, &header);
    if (rc == 0)
        rc = spng_encode_image(ctx, image->pixels, nbytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    return rc;
}

cm_status nn_image_encode_png(const struct nn_image *image, void **data, size_t *nbytes)
{
    void *encoded = NULL; /* from the library's malloc */
    cm_status st = CM_OK;
    int rc = 0;

    *data = NULL;
    *nbytes = 0;
    if (image->h < 1 || image->w < 1 || (image->channels != 1 && image->channels != 3))
        return CM_FAIL(CM_EINVAL, "cannot encode an image of %d x %d x %d (h, w, channels)",
                       image->h, image->w, image->channels);
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    if (!ctx)
        return CM_FAIL(CM_ENOMEM, "a PNG writer");
    rc = encode(ctx, image);
    if (rc == 0)
        encoded = spng_get_png_buffer(ctx, nbytes, &rc);
    if (rc)
        CM_GOTO(st, png_fault(rc, "encoding"), out);
    CM_GOTO(st, cm_alloc(data, *nbytes, 1, "an encoded PNG"), out);
    memcpy(*data, encoded, *nbytes);
out:
    if (st != CM_OK)
        *nbytes = 0;
    free(encoded);
    spng_ctx_free(ctx);
    return st;
}
