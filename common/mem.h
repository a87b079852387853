/* Allocation, with failures that tests can inject at every call in turn. */
#ifndef COMMON_MEM_H
#define COMMON_MEM_H

#include <stddef.h>

#include "common/status.h"

/* Zeroed; *out is NULL on failure (CM_ENOMEM) and for n * size == 0 a unique pointer. what names it
 * in the message. */
CM_MUST_CHECK cm_status cm_alloc(void *out, size_t n, size_t size, const char *what);
/* The same, at 64-byte alignment (a cache line, an AVX-512 register); 2 MiB alignment and huge
 * pages where large. */
CM_MUST_CHECK cm_status cm_alloc_aligned(void *out, size_t n, size_t size, const char *what);
/* Grows *p (from cm_alloc, or NULL) to n * size bytes; new bytes are not zeroed; on failure *p is
 * as before. */
CM_MUST_CHECK cm_status cm_realloc(void *p, size_t n, size_t size, const char *what);
CM_MUST_CHECK cm_status cm_strdup(char **out, const char *s);
/* Releases what any of the above gave; p is the address of the pointer, which becomes NULL; NULL is
 * fine. */
void cm_free(void *p);

/* Tests: the k-th allocation of this thread from now on (1 = the next) fails; 0 turns it off.
 * Returns how many allocations this thread made since the last call. */
long cm_mem_fail_at(long k);

#endif
