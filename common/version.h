/* Which build this is, and of which format a file or message is. */
#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

#include <stdbool.h>
#include <stddef.h>

/* "0.1.0 (1a2b3c4)": version and the commit it was configured from ("unknown" outside a checkout).
 * Static. */
const char *cm_version(void);

/* "major.minor", 1 to 4 digits each, major from 1; false: s is none. A minor only adds what others
 * may ignore; what to say of another major is the caller's. */
bool cm_format_parse(int *major, int *minor, const char *s, size_t n);

#endif
