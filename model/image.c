/* Which decoder, and the limits that both share. */
#include "model/image.h"

#include <inttypes.h>
#include <string.h>

#include "common/mem.h"
#include "model/image_formats.h"

const struct nn_image_limits nn_image_limits_default = {
    .max_nbytes = (size_t)16 << 20,
    .max_side = 16384,
    .max_pixels = (int64_t)64 << 20,
    .max_scans = 100,
    .max_scan_pixels = (int64_t)1 << 30,
};

static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
static const uint8_t jpeg_signature[3] = {0xff, 0xd8, 0xff};

static bool starts_with(const void *data, size_t nbytes, const uint8_t *signature, size_t n)
{
    return nbytes >= n && memcmp(data, signature, n) == 0;
}

/* What a person most often sends by mistake. */
static const char *guess_kind(const void *data, size_t nbytes)
{
    static const struct {
        const char *start, *kind;
    } kinds[] = {{"GIF8", "GIF"},         {"RIFF", "WebP"},        {"BM", "BMP"},
                 {"II*", "TIFF"},         {"MM", "TIFF"},          {"%PDF", "PDF"},
                 {"<", "HTML or SVG"},    {"{", "JSON"},           {"data:", "a data URL"},
                 {"/9j/", "base64 text"}, {"iVBOR", "base64 text"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (starts_with(data, nbytes, (const uint8_t *)kinds[i].start, strlen(kinds[i].start)))
            return kinds[i].kind;
    return "unknown";
}

static cm_status fail_unknown(const void *data, size_t nbytes)
{
    const uint8_t *byte = data;
    char hex[8 * 3 + 1] = "";
    for (size_t i = 0; i < nbytes && i < 8; i++) {
        static const char digits[] = "0123456789abcdef";
        hex[3 * i] = ' ';
        hex[3 * i + 1] = digits[byte[i] >> 4];
        hex[3 * i + 2] = digits[byte[i] & 15];
    }
    return CM_FAIL(CM_EFORMAT, "neither JPEG nor PNG: %zu bytes that start with%s (%s)", nbytes,
                   hex, guess_kind(data, nbytes));
}

cm_status nn_image_check_size(const struct nn_image_limits *limits, const char *kind, uint64_t w,
                              uint64_t h)
{
    uint64_t max_side = (uint64_t)limits->max_side, max_pixels = (uint64_t)limits->max_pixels;

    if (w == 0 || h == 0)
        return CM_FAIL(CM_EFORMAT, "%s: %" PRIu64 " x %" PRIu64 " pixels", kind, w, h);
    if (w > max_side || h > max_side)
        return CM_FAIL(CM_EFORMAT, "%s: %" PRIu64 " x %" PRIu64 " pixels, a side past the limit %d",
                       kind, w, h, limits->max_side);
    if (w > max_pixels / h)
        return CM_FAIL(CM_EFORMAT,
                       "%s: %" PRIu64 " x %" PRIu64 " pixels, more than the limit %" PRIu64, kind,
                       w, h, max_pixels);
    return CM_OK;
}

cm_status nn_image_decode(struct nn_image *out, const void *data, size_t nbytes,
                          const struct nn_image_limits *limits)
{
    memset(out, 0, sizeof *out);
    if (nbytes == 0)
        return CM_FAIL(CM_EFORMAT, "the image is empty (0 bytes)");
    if (nbytes > limits->max_nbytes)
        return CM_FAIL(CM_EFORMAT, "the encoded image is %zu bytes, more than the limit %zu",
                       nbytes, limits->max_nbytes);
    if (starts_with(data, nbytes, jpeg_signature, sizeof jpeg_signature))
        return nn_jpeg_decode(out, data, nbytes, limits);
    if (starts_with(data, nbytes, png_signature, sizeof png_signature))
        return nn_png_decode(out, data, nbytes, limits);
    return fail_unknown(data, nbytes);
}

void nn_image_release(struct nn_image *image)
{
    if (!image)
        return;
    cm_free(&image->pixels);
    memset(image, 0, sizeof *image);
}
