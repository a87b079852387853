/* Text from outside: is it fit to be kept and shown? Pure; any thread. */
#ifndef WIRE_TEXT_H
#define WIRE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/status.h"

/* UTF-8 without control characters (U+0000 to U+001F, U+007F to U+009F). Empty is fine. */
bool wi_text_is_plain(const char *s, size_t n);
/* 1 to max bytes of letters, digits, '-', '_' and '.', not beginning with '.': what may become a
 * part of a key or a file name. */
bool wi_text_is_name(const char *s, size_t n, size_t max);

/* s in quotes for a message: at most 40 bytes of it, what is not plain ASCII as \xNN. */
#define WI_QUOTED 176
const char *wi_text_quote(char out[WI_QUOTED], const char *s, size_t n);

/* Reads "major.minor" of what (a name for the message). CM_EFORMAT when it is none, CM_EVERSION
 * naming both when its major is not this one. */
CM_MUST_CHECK cm_status wi_text_check_format(const char *s, size_t n, const char *what, int major,
                                             int minor);

#endif
