/* A body of several items: the images of a BATCH, the results of an ANSWER. Pure; any thread.
 * header.count says how many; each is, little-endian, at a multiple of 8 from the body's start:
 *
 *    0  u16 bytes of this item header   2  u16 kind of payload    4  u32 slot
 *    8  u32 deadline us                12  u32 bytes of payload  16  u16 status  18  u16 top_k
 *   20  u16 height  22  u16 width      24  u8 channels           25  zero, to 32
 *   then the payload, padded with zeros to a multiple of 8
 *
 * A later minor may lengthen the item header (in multiples of 8); what lies beyond is ignored. */
#ifndef WIRE_ITEM_H
#define WIRE_ITEM_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "wire/bytes.h"
#include "wire/wire_image.h"

struct wi_item {
    uint32_t slot;        /* the gateway's; the worker echoes it */
    uint32_t deadline_us; /* of an image: left when the batch was sent; 0: none */
    uint16_t status;      /* of a result: enum wi_status */
    uint16_t body;        /* enum wi_body */
    uint16_t top_k;       /* of an image */
    uint16_t height, width;
    uint8_t channels;
    const void *data; /* borrowed */
    size_t n;         /* bytes */
};

/* Appends an item. */
CM_MUST_CHECK cm_status wi_item_add(struct wi_buffer *body, const struct wi_item *item);
/* Appends an image (kind and shape of *image) with the item's slot, deadline and top_k. */
CM_MUST_CHECK cm_status wi_item_add_image(struct wi_buffer *body, struct wi_item item,
                                          const struct wi_image *image);
/* The image of an item; kind WI_IMAGE_NONE when it has none. Not yet checked. */
struct wi_image wi_item_image(const struct wi_item *item);

/* Reading: for (items = {body, nbody, count}; items.left > 0;) CM_TRY(wi_item_next(&items, &item));
 */
struct wi_items {
    const uint8_t *data; /* borrowed: what is still to be read */
    size_t n;
    uint32_t left;
};
/* left > 0. CM_EFORMAT when the body ends early, or goes on after its last item. */
CM_MUST_CHECK cm_status wi_item_next(struct wi_items *items, struct wi_item *out);

#endif
