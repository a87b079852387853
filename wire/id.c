#include "wire/id.h"

#include <string.h>

struct wi_id wi_prediction_id(double utc_s, struct cm_uuid random)
{
    struct wi_id id;
    uint64_t ms = utc_s > 0 ? (uint64_t)(utc_s * 1000 + 0.5) : 0;
    for (int i = 0; i < 6; i++)
        id.byte[i] = (uint8_t)(ms >> (40 - 8 * i));
    /* A version-4 UUID fixes bits of bytes 6 and 8. */
    memcpy(id.byte + 6, random.byte, 6);
    memcpy(id.byte + 12, random.byte + 12, 4);
    return id;
}

double wi_prediction_utc(struct wi_id id)
{
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.byte[i];
    return (double)ms / 1000;
}

bool wi_id_equal(struct wi_id a, struct wi_id b)
{
    return memcmp(a.byte, b.byte, sizeof(a.byte)) == 0;
}

bool wi_id_is_zero(struct wi_id id)
{
    return wi_id_equal(id, (struct wi_id){{0}});
}

void wi_id_format(char text[WI_ID_TEXT], struct wi_id id)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        text[2 * i] = digits[id.byte[i] >> 4];
        text[2 * i + 1] = digits[id.byte[i] & 15];
    }
    text[WI_ID_TEXT - 1] = '\0';
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool wi_id_parse(struct wi_id *id, const char *text, size_t n)
{
    if (n != WI_ID_TEXT - 1)
        return false;
    for (int i = 0; i < 16; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        id->byte[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
