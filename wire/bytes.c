#include "wire/bytes.h"

#include "common/mem.h"

#define FIRST_NBYTES 1024

cm_status wi_buffer_grow(struct wi_buffer *b, uint8_t **p, size_t n)
{
    size_t want = b->capacity ? b->capacity : FIRST_NBYTES;
    if (n > SIZE_MAX / 4 - b->n)
        return CM_FAIL(CM_EINVAL, "a message of %zu bytes and %zu more", b->n, n);
    while (want < b->n + n)
        want *= 2;
    if (want > b->capacity) {
        CM_TRY(cm_realloc(&b->data, want, 1, "message"));
        b->capacity = want;
    }
    *p = b->data + b->n;
    b->n += n;
    return CM_OK;
}

void wi_buffer_release(struct wi_buffer *b)
{
    cm_free(&b->data);
    b->n = b->capacity = 0;
}
