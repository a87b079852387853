/* A growing, NULL-terminated list of owned strings: an argv or an environment being built. A
 * failure to grow is kept and told once, by la_argv_end, so that building reads as a list. One
 * thread at a time. */
#ifndef LAUNCHER_ARGV_H
#define LAUNCHER_ARGV_H

#include <stddef.h>

#include "common/status.h"

struct la_argv {
    char **item; /* n strings, then NULL; NULL while empty */
    size_t n, capacity;
    cm_status st;
};

void la_argv_add(struct la_argv *a, const char *text);
void la_argv_addf(struct la_argv *a, const char *fmt, ...) CM_PRINTF(2, 3);
void la_argv_add_all(struct la_argv *a, char *const *items, size_t n);
/* CM_OK when every addition succeeded. */
CM_MUST_CHECK
cm_status la_argv_end(const struct la_argv *a);
void la_argv_release(struct la_argv *a);

#endif
