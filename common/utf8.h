/* UTF-8 as RFC 3629 has it. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes (1 to 4) of the well-formed character at s, of which n bytes may be read; 0 when there is
 * none: overlong forms, surrogates, numbers past U+10FFFF and cut characters are malformed. */
size_t cm_utf8_length(const char *s, size_t n);
/* Is this character of so many bytes one of U+0000 to U+001F and U+007F to U+009F? A terminal obeys
 * those: U+009B begins an escape sequence as ESC [ does. */
bool cm_utf8_is_control(const char *s, size_t length);

#endif
