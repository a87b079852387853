/* Allocation on top of malloc, zeroed, with a per-thread fault injector. */
#include "common/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LINE_NBYTES      64
#define HUGE_PAGE_NBYTES ((size_t)2 << 20)

static _Thread_local struct {
    long made;
    long fail_at; /* the number of made that fails; 0: none */
} count;

long cm_mem_fail_at(long k)
{
    long made = count.made;
    count.made = 0;
    count.fail_at = k;
    return made;
}

static bool injected(void)
{
    return ++count.made == count.fail_at;
}

static cm_status no_memory(size_t n, size_t size, const char *what)
{
    return CM_FAIL(CM_ENOMEM, "no memory for %s: %zu x %zu bytes", what, n, size);
}

/* false when n * size overflows; 0 becomes 1, so that the pointer is unique. */
static bool total_nbytes(size_t *nbytes, size_t n, size_t size)
{
    if (__builtin_mul_overflow(n, size, nbytes) || *nbytes > PTRDIFF_MAX)
        return false;
    if (*nbytes == 0)
        *nbytes = 1;
    return true;
}

/* out and p are addresses of pointers of any type: copied bytewise, because C has no generic
 * pointer to pointer. */
cm_status cm_alloc(void *out, size_t n, size_t size, const char *what)
{
    size_t nbytes;
    void *p = NULL;
    memcpy(out, &p, sizeof p);
    if (total_nbytes(&nbytes, n, size) && !injected())
        p = calloc(1, nbytes);
    if (!p)
        return no_memory(n, size, what);
    memcpy(out, &p, sizeof p);
    return CM_OK;
}

cm_status cm_alloc_aligned(void *out, size_t n, size_t size, const char *what)
{
    size_t nbytes;
    void *p = NULL;
    memcpy(out, &p, sizeof p);
    if (!total_nbytes(&nbytes, n, size) || injected())
        return no_memory(n, size, what);
    bool large = nbytes >= 2 * HUGE_PAGE_NBYTES;
    if (posix_memalign(&p, large ? HUGE_PAGE_NBYTES : LINE_NBYTES, nbytes) != 0)
        return no_memory(n, size, what);
    if (large) /* a hint: without huge pages only the speed differs */
        (void)madvise(p, nbytes / HUGE_PAGE_NBYTES * HUGE_PAGE_NBYTES, MADV_HUGEPAGE);
    memset(p, 0, nbytes);
    memcpy(out, &p, sizeof p);
    return CM_OK;
}

cm_status cm_realloc(void *p, size_t n, size_t size, const char *what)
{
    size_t nbytes;
    void *old, *grown = NULL;
    memcpy(&old, p, sizeof old);
    if (total_nbytes(&nbytes, n, size) && !injected())
        grown = realloc(old, nbytes);
    if (!grown)
        return no_memory(n, size, what);
    memcpy(p, &grown, sizeof grown);
    return CM_OK;
}

cm_status cm_strdup(char **out, const char *s)
{
    size_t n = strlen(s) + 1;
    CM_TRY(cm_alloc(out, n, 1, "a string"));
    memcpy(*out, s, n);
    return CM_OK;
}

void cm_free(void *p)
{
    void *old, *null = NULL;
    memcpy(&old, p, sizeof old);
    free(old);
    memcpy(p, &null, sizeof null);
}
