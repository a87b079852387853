#include "common/utf8.h"

#include <stdint.h>

size_t cm_utf8_length(const char *s, size_t n)
{
    if (n == 0)
        return 0;
    uint8_t lead = (uint8_t)s[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (n < length)
        return 0;
    /* Only the second byte has a narrower range, for the leads at which an overlong form, a
     * surrogate or a number that is too large would begin. */
    uint8_t lo = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < length; i++, lo = 0x80, hi = 0xbf) {
        if ((uint8_t)s[i] < lo || (uint8_t)s[i] > hi)
            return 0;
    }
    return length;
}

bool cm_utf8_is_control(const char *s, size_t length)
{
    uint8_t lead = (uint8_t)s[0];
    return length == 1 ? lead < 0x20 || lead == 0x7f : lead == 0xc2 && (uint8_t)s[1] < 0xa0;
}
