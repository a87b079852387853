/* UTF-8 as RFC 3629 has it. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stddef.h>

/* Bytes (1 to 4) of the well-formed character at s, of which n bytes may be read; 0 when there is
 * none: overlong forms, surrogates, numbers past U+10FFFF and cut characters are malformed. */
size_t cm_utf8_length(const char *s, size_t n);

#endif
