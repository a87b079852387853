#include "wire/frame.h"

#include <string.h>

#include "common/hash.h"
#include "wire/bytes.h"

#define ID_END 32 /* what every major keeps */

static const uint8_t magic[4] = {'F', 'W', 'M', 'Q'};

static const struct status_row {
    unsigned number;
    int http;
    const char *text;
} status_rows[] = {
#define ROW(name, number, http, text) {number, http, text},
    WI_STATUS_LIST(ROW)
#undef ROW
};

static const struct status_row *status_row(unsigned status)
{
    static const struct status_row unknown = {0, 500, "unknown status"};
    for (size_t i = 0; i < sizeof(status_rows) / sizeof(status_rows[0]); i++) {
        if (status_rows[i].number == status)
            return &status_rows[i];
    }
    return &unknown;
}

const char *wi_status_text(unsigned status)
{
    return status_row(status)->text;
}

int wi_status_http(unsigned status)
{
    return status_row(status)->http;
}

void wi_header_encode(uint8_t out[WI_HEADER_NBYTES], const struct wi_header *h)
{
    memset(out, 0, WI_HEADER_NBYTES);
    memcpy(out, magic, sizeof(magic));
    out[4] = WI_MAJOR;
    out[5] = WI_MINOR;
    wi_put16(out + 6, WI_HEADER_NBYTES);
    out[8] = h->type;
    out[9] = h->flags;
    wi_put16(out + 10, h->status);
    wi_put16(out + 12, h->body);
    wi_put16(out + 14, h->top_k);
    memcpy(out + 16, h->id.byte, 16);
    memcpy(out + 32, h->prediction_id.byte, 16);
    wi_put64(out + 48, (uint64_t)h->version);
    wi_put64(out + 56, h->manifest_hash);
    wi_put64(out + 64, h->session);
    wi_put32(out + 72, h->deadline_us);
    wi_put32(out + 76, h->retry_us);
    wi_put32(out + 80, h->queue_us);
    wi_put32(out + 84, h->infer_us);
    wi_put32(out + 88, h->count);
    wi_put32(out + 92, h->body_nbytes);
    wi_put16(out + 96, h->height);
    wi_put16(out + 98, h->width);
    out[100] = h->channels;
    wi_put64(out + 104, cm_xxh64(out, 104));
}

/* Is it ours, whole, and undamaged? Fills h->id as soon as it can be trusted to be one. */
static cm_status check_frame(struct wi_header *h, const uint8_t *p, size_t n)
{
    if (n < ID_END)
        return CM_FAIL(CM_EFORMAT, "a message header of %zu bytes, at least %d are expected", n,
                       WI_HEADER_NBYTES);
    if (memcmp(p, magic, sizeof(magic)) != 0)
        return CM_FAIL(CM_EFORMAT, "a message that begins with %02x %02x %02x %02x is none of ours",
                       p[0], p[1], p[2], p[3]);
    if (p[4] != WI_MAJOR) {
        memcpy(h->id.byte, p + 16, 16);
        return CM_FAIL(CM_EVERSION, "message format %d.%d, this program speaks %d.%d", p[4], p[5],
                       WI_MAJOR, WI_MINOR);
    }
    if (n < WI_HEADER_NBYTES || n > WI_HEADER_MAX || wi_get16(p + 6) != n)
        return CM_FAIL(CM_EFORMAT, "a message header of %zu bytes that claims %u", n,
                       wi_get16(p + 6));
    if (wi_get64(p + n - 8) != cm_xxh64(p, n - 8))
        return CM_FAIL(CM_ECORRUPT, "a message header does not match its hash");
    memcpy(h->id.byte, p + 16, 16);
    if (p[9] & WI_FLAGS_CRITICAL)
        return CM_FAIL(CM_EVERSION, "message flags %02x are unknown to format %d.%d, sent by %d.%d",
                       p[9], WI_MAJOR, WI_MINOR, p[4], p[5]);
    return CM_OK;
}

cm_status wi_header_decode(struct wi_header *h, const void *data, size_t n, size_t nbody)
{
    const uint8_t *p = data;

    *h = (struct wi_header){0};
    CM_TRY(check_frame(h, p, n));
    if (wi_get32(p + 92) != nbody || nbody > WI_BODY_MAX)
        return CM_FAIL(CM_EFORMAT, "a message body of %zu bytes, its header says %u", nbody,
                       wi_get32(p + 92));
    if (wi_get16(p + 12) == WI_BODY_ITEMS && (wi_get32(p + 88) == 0) != (nbody == 0))
        return CM_FAIL(CM_EFORMAT, "a message of %u items with a body of %zu bytes",
                       wi_get32(p + 88), nbody);
    if (wi_get64(p + 48) > INT64_MAX)
        return CM_FAIL(CM_EFORMAT, "a model version out of range");
    h->type = p[8];
    h->flags = p[9];
    h->status = wi_get16(p + 10);
    h->body = wi_get16(p + 12);
    h->top_k = wi_get16(p + 14);
    memcpy(h->prediction_id.byte, p + 32, 16);
    h->version = (int64_t)wi_get64(p + 48);
    h->manifest_hash = wi_get64(p + 56);
    h->session = wi_get64(p + 64);
    h->deadline_us = wi_get32(p + 72);
    h->retry_us = wi_get32(p + 76);
    h->queue_us = wi_get32(p + 80);
    h->infer_us = wi_get32(p + 84);
    h->count = wi_get32(p + 88);
    h->body_nbytes = wi_get32(p + 92);
    h->height = wi_get16(p + 96);
    h->width = wi_get16(p + 98);
    h->channels = p[100];
    h->minor = p[5];
    return CM_OK;
}

struct wi_image wi_header_image(const struct wi_header *h, const void *body)
{
    bool is_image = h->body == WI_BODY_FILE || h->body == WI_BODY_PIXELS;
    return (struct wi_image){.kind = is_image ? (enum wi_image_kind)h->body : WI_IMAGE_NONE,
                             .height = h->height,
                             .width = h->width,
                             .channels = h->channels,
                             .data = body,
                             .n = h->body_nbytes};
}

void wi_header_set_image(struct wi_header *h, const struct wi_image *image)
{
    h->body = (uint16_t)image->kind;
    h->height = image->height;
    h->width = image->width;
    h->channels = image->channels;
    h->body_nbytes = (uint32_t)image->n;
}
