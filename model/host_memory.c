#include "model/host_memory.h"

#include <string.h>

#include "common/mem.h"

cm_status nn_host_alloc(const struct nn_backend *self, void *out, size_t nbytes, const char *what)
{
    (void)self;
    return cm_alloc_aligned(out, nbytes, 1, what);
}

void nn_host_release(const struct nn_backend *self, void *p)
{
    (void)self;
    cm_free(p);
}

cm_status nn_host_zero(const struct nn_backend *self, struct ln_lane *lane, void *p, size_t nbytes)
{
    (void)self;
    (void)lane;
    memset(p, 0, nbytes);
    return CM_OK;
}

cm_status nn_host_copy(const struct nn_backend *self, struct ln_lane *lane, void *dst,
                       const void *src, size_t nbytes)
{
    (void)self;
    (void)lane;
    memcpy(dst, src, nbytes);
    return CM_OK;
}
