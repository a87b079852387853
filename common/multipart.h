/* multipart/form-data (RFC 7578) in a body that lies in memory. Pure: no state, no copy, any
 * thread. */
#ifndef COMMON_MULTIPART_H
#define COMMON_MULTIPART_H

#include <stddef.h>

/* The content of the first part with this field name, inside body; its length in *nfield (which may
 * be 0). NULL when content_type is no multipart/form-data with a boundary, when no part has the
 * name, or when the body ends before the delimiter that closes the part. content_type may be NULL.
 */
const void *cm_multipart_field(const char *content_type, const void *body, size_t n,
                               const char *name, size_t *nfield);

#endif
