/* rename(2) as durable files need it. */
#ifndef COMMON_RENAME_H
#define COMMON_RENAME_H

#include <stdbool.h>

/* 0, or an errno. replace: an existing `to` is replaced atomically; otherwise it gives EEXIST, also
 * where it is an empty folder, which rename(2) would replace. */
int cm_rename(const char *from, const char *to, bool replace);

#endif
