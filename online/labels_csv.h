/* "path,label" lines: which image is what. Pure. */
#ifndef ONLINE_LABELS_CSV_H
#define ONLINE_LABELS_CSV_H

#include <stddef.h>

#include "common/status.h"

struct ol_labelled {
    const char *path, *label; /* borrowed from the text */
};

/* Splits text (NUL-terminated, changed in place) into lines of a path, the last comma, and a label:
 * so a path may hold commas, a label may not. Blank lines and lines beginning with '#' are passed
 * over; "\r\n" is read too. *out from cm_alloc. CM_EFORMAT names what and the line. */
CM_MUST_CHECK
cm_status ol_labels_parse(struct ol_labelled **out, size_t *n, char *text, const char *what);

#endif
