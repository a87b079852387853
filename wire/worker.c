#include "wire/worker.h"

#include <string.h>

#include "wire/text.h"

#define NUMBERS_NBYTES 16
#define DEVICE_NBYTES  (NUMBERS_NBYTES + WI_WORKER_DEVICE) /* of the numbers with a device */

cm_status wi_worker_encode(struct wi_buffer *body, const struct wi_worker *w)
{
    size_t nname = strnlen(w->name, sizeof(w->name) - 1);
    size_t ndevice = strnlen(w->device, sizeof(w->device) - 1);
    size_t numbers = ndevice ? DEVICE_NBYTES : NUMBERS_NBYTES;
    uint8_t *p;
    CM_TRY(wi_buffer_grow(body, &p, numbers + nname));
    memset(p, 0, numbers);
    wi_put16(p, (uint16_t)numbers);
    wi_put16(p + 2, w->heartbeat_ms);
    wi_put32(p + 4, w->max_batch);
    wi_put32(p + 8, w->pid);
    wi_put16(p + 12, (uint16_t)nname);
    if (ndevice)
        memcpy(p + NUMBERS_NBYTES, w->device, ndevice);
    memcpy(p + numbers, w->name, nname);
    return CM_OK;
}

cm_status wi_worker_decode(struct wi_worker *w, const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t numbers = n >= NUMBERS_NBYTES ? wi_get16(p) : 0;

    *w = (struct wi_worker){0};
    if (numbers < NUMBERS_NBYTES || numbers > n)
        return CM_FAIL(CM_EFORMAT, "a worker's description of %zu bytes", n);
    size_t nname = wi_get16(p + 12);
    if (nname >= WI_WORKER_NAME || numbers + nname != n)
        return CM_FAIL(CM_EFORMAT, "a worker's name of %zu bytes in %zu", nname, n - numbers);
    if (!wi_text_is_plain((const char *)p + numbers, nname))
        return CM_FAIL(CM_EFORMAT, "a worker's name is no text");
    w->heartbeat_ms = wi_get16(p + 2);
    w->max_batch = wi_get32(p + 4);
    w->pid = wi_get32(p + 8);
    if (numbers >= DEVICE_NBYTES) {
        memcpy(w->device, p + NUMBERS_NBYTES, WI_WORKER_DEVICE - 1);
        if (!wi_text_is_plain(w->device, strlen(w->device)))
            return CM_FAIL(CM_EFORMAT, "a worker's device is no text");
    }
    if (w->heartbeat_ms == 0 || w->max_batch == 0 || w->max_batch > INT32_MAX)
        return CM_FAIL(CM_EFORMAT, "a worker with heartbeat %u ms and batches of %u",
                       w->heartbeat_ms, w->max_batch);
    memcpy(w->name, p + numbers, nname);
    return CM_OK;
}
