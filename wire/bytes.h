/* Little-endian numbers at any address, and a buffer that grows: what every codec here is made of.
 * No struct is ever copied to or from the wire. Any thread. */
#ifndef WIRE_BYTES_H
#define WIRE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/status.h"

static inline void wi_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void wi_put32(uint8_t *p, uint32_t v)
{
    wi_put16(p, (uint16_t)v);
    wi_put16(p + 2, (uint16_t)(v >> 16));
}

static inline void wi_put64(uint8_t *p, uint64_t v)
{
    wi_put32(p, (uint32_t)v);
    wi_put32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t wi_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t wi_get32(const uint8_t *p)
{
    return wi_get16(p) | (uint32_t)wi_get16(p + 2) << 16;
}

static inline uint64_t wi_get64(const uint8_t *p)
{
    return wi_get32(p) | (uint64_t)wi_get32(p + 4) << 32;
}

/* IEEE single precision, by its bits. */
static inline void wi_put_f32(uint8_t *p, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    wi_put32(p, bits);
}

static inline float wi_get_f32(const uint8_t *p)
{
    uint32_t bits = wi_get32(p);
    float v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* Bytes being put together. Zeroed is empty; emptied by n = 0 it keeps its memory, so that a loop
 * stops allocating once it has seen its largest message. */
struct wi_buffer {
    uint8_t *data; /* owned */
    size_t n, capacity;
};
/* n more bytes, undefined, at *p (valid until the next call). On failure the buffer is as before.
 */
CM_MUST_CHECK cm_status wi_buffer_grow(struct wi_buffer *b, uint8_t **p, size_t n);
void wi_buffer_release(struct wi_buffer *b);

#endif
