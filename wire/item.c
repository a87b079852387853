#include "wire/item.h"

#include <string.h>

#include "wire/frame.h"

#define ITEM_NBYTES 32

static size_t padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

cm_status wi_item_add(struct wi_buffer *body, const struct wi_item *item)
{
    uint8_t *p;
    if (item->n > WI_BODY_MAX)
        return CM_FAIL(CM_EINVAL, "an item of %zu bytes", item->n);
    CM_TRY(wi_buffer_grow(body, &p, ITEM_NBYTES + padded(item->n)));
    memset(p, 0, ITEM_NBYTES);
    wi_put16(p, ITEM_NBYTES);
    wi_put16(p + 2, item->body);
    wi_put32(p + 4, item->slot);
    wi_put32(p + 8, item->deadline_us);
    wi_put32(p + 12, (uint32_t)item->n);
    wi_put16(p + 16, item->status);
    wi_put16(p + 18, item->top_k);
    wi_put16(p + 20, item->height);
    wi_put16(p + 22, item->width);
    p[24] = item->channels;
    if (item->n)
        memcpy(p + ITEM_NBYTES, item->data, item->n);
    memset(p + ITEM_NBYTES + item->n, 0, padded(item->n) - item->n);
    return CM_OK;
}

cm_status wi_item_add_image(struct wi_buffer *body, struct wi_item item,
                            const struct wi_image *image)
{
    item.body = (uint16_t)image->kind;
    item.height = image->height;
    item.width = image->width;
    item.channels = image->channels;
    item.data = image->data;
    item.n = image->n;
    return wi_item_add(body, &item);
}

struct wi_image wi_item_image(const struct wi_item *item)
{
    bool is_image = item->body == WI_BODY_FILE || item->body == WI_BODY_PIXELS;
    return (struct wi_image){.kind = is_image ? (enum wi_image_kind)item->body : WI_IMAGE_NONE,
                             .height = item->height,
                             .width = item->width,
                             .channels = item->channels,
                             .data = item->data,
                             .n = item->n};
}

cm_status wi_item_next(struct wi_items *items, struct wi_item *out)
{
    const uint8_t *p = items->data;
    size_t header, n, whole;

    *out = (struct wi_item){0};
    if (items->n < ITEM_NBYTES)
        return CM_FAIL(CM_EFORMAT, "%u items are missing at the end of a body", items->left);
    header = wi_get16(p);
    n = wi_get32(p + 12);
    whole = header + padded(n);
    if (header < ITEM_NBYTES || header % 8 != 0 || whole > items->n)
        return CM_FAIL(CM_EFORMAT, "an item of %zu + %zu bytes, %zu bytes are left", header, n,
                       items->n);
    *out = (struct wi_item){.slot = wi_get32(p + 4),
                            .deadline_us = wi_get32(p + 8),
                            .status = wi_get16(p + 16),
                            .body = wi_get16(p + 2),
                            .top_k = wi_get16(p + 18),
                            .height = wi_get16(p + 20),
                            .width = wi_get16(p + 22),
                            .channels = p[24],
                            .data = p + header,
                            .n = n};
    items->data += whole;
    items->n -= whole;
    if (--items->left == 0 && items->n != 0)
        return CM_FAIL(CM_EFORMAT, "%zu bytes follow the last item", items->n);
    return CM_OK;
}
