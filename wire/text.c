#include "wire/text.h"

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"
#include "common/version.h"

#define SHOWN 40

bool wi_text_is_plain(const char *s, size_t n)
{
    size_t length;
    for (; n > 0; s += length, n -= length) {
        length = cm_utf8_length(s, n);
        if (length == 0 || cm_utf8_is_control(s, length))
            return false;
    }
    return true;
}

bool wi_text_is_name(const char *s, size_t n, size_t max)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (n == 0 || n > max || s[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!memchr(allowed, s[i], sizeof(allowed) - 1))
            return false;
    }
    return true;
}

const char *wi_text_quote(char out[WI_QUOTED], const char *s, size_t n)
{
    size_t at = 0;
    out[at++] = '\'';
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        unsigned char c = (unsigned char)s[i];
        bool plain = c >= 0x20 && c < 0x7f;
        at += (size_t)snprintf(out + at, WI_QUOTED - at, plain ? "%c" : "\\x%02x", c);
    }
    snprintf(out + at, WI_QUOTED - at, "%s", n > SHOWN ? "'..." : "'");
    return out;
}

cm_status wi_text_check_format(const char *s, size_t n, const char *what, int major, int minor)
{
    char quoted[WI_QUOTED];
    int their_major, their_minor;

    if (!cm_format_parse(&their_major, &their_minor, s, n))
        return CM_FAIL(CM_EFORMAT, "%s: format %s is not of the form 1.0", what,
                       wi_text_quote(quoted, s, n));
    if (their_major != major)
        return CM_FAIL(CM_EVERSION, "%s: format %d.%d, this program reads %d.%d", what, their_major,
                       their_minor, major, minor);
    return CM_OK;
}
