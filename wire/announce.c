#include "wire/announce.h"

#include <string.h>

#include "common/hash.h"
#include "wire/bytes.h"
#include "wire/text.h"

#define MAJOR      1
#define MINOR      0
#define NBYTES_MAX 1024

void wi_announce_encode(uint8_t out[WI_ANNOUNCE_NBYTES], const struct wi_announce *a)
{
    memset(out, 0, WI_ANNOUNCE_NBYTES);
    memcpy(out, WI_ANNOUNCE_TOPIC, 4);
    out[4] = MAJOR;
    out[5] = MINOR;
    wi_put16(out + 6, WI_ANNOUNCE_NBYTES);
    out[8] = (uint8_t)a->kind;
    wi_put32(out + 12, a->generation);
    memcpy(out + 16, a->run.byte, 16);
    wi_put64(out + 32, (uint64_t)a->version);
    wi_put64(out + 40, a->manifest_hash);
    wi_put64(out + 48, (uint64_t)a->previous);
    memcpy(out + 56, a->alias, strnlen(a->alias, WI_ALIAS - 1));
    wi_put64(out + 120, cm_xxh64(out, 120));
}

static cm_status check_alias(const struct wi_announce *a)
{
    size_t n = strnlen(a->alias, WI_ALIAS);
    bool fits = a->kind == WI_ALIASED ? wi_text_is_name(a->alias, n, WI_ALIAS - 1) : n == 0;
    return fits ? CM_OK : CM_FAIL(CM_EFORMAT, "an announcement with a bad alias");
}

cm_status wi_announce_decode(struct wi_announce *a, const void *data, size_t n)
{
    const uint8_t *p = data;

    *a = (struct wi_announce){0};
    if (n < 8 || memcmp(p, WI_ANNOUNCE_TOPIC, 4) != 0)
        return CM_FAIL(CM_EFORMAT, "%zu bytes are no announcement", n);
    if (p[4] != MAJOR)
        return CM_FAIL(CM_EVERSION, "announcement format %d.%d, this program reads %d.%d", p[4],
                       p[5], MAJOR, MINOR);
    if (n < WI_ANNOUNCE_NBYTES || n > NBYTES_MAX || wi_get16(p + 6) != n)
        return CM_FAIL(CM_EFORMAT, "an announcement of %zu bytes that claims %u", n,
                       wi_get16(p + 6));
    if (wi_get64(p + n - 8) != cm_xxh64(p, n - 8))
        return CM_FAIL(CM_ECORRUPT, "an announcement does not match its hash");
    if (p[8] != WI_PUBLISHED && p[8] != WI_ALIASED)
        return CM_FAIL(CM_EVERSION, "announcement of unknown kind %d, format %d.%d", p[8], p[4],
                       p[5]);
    if (wi_get64(p + 32) > INT64_MAX || wi_get64(p + 48) > INT64_MAX || wi_get64(p + 32) == 0)
        return CM_FAIL(CM_EFORMAT, "an announcement with a version out of range");
    a->kind = (enum wi_announce_kind)p[8];
    a->generation = wi_get32(p + 12);
    memcpy(a->run.byte, p + 16, 16);
    a->version = (int64_t)wi_get64(p + 32);
    a->manifest_hash = wi_get64(p + 40);
    a->previous = (int64_t)wi_get64(p + 48);
    memcpy(a->alias, p + 56, WI_ALIAS);
    return check_alias(a);
}
