/* The memory of a backend that computes on the host: a backend's alloc, release, zero and copy
 * (op.h), done before they return. */
#ifndef MODEL_HOST_MEMORY_H
#define MODEL_HOST_MEMORY_H

#include <stddef.h>

#include "model/op.h"

CM_MUST_CHECK cm_status nn_host_alloc(const struct nn_backend *self, void *out, size_t nbytes,
                                      const char *what);
void nn_host_release(const struct nn_backend *self, void *p);
cm_status nn_host_zero(const struct nn_backend *self, struct ln_lane *lane, void *p, size_t nbytes);
cm_status nn_host_copy(const struct nn_backend *self, struct ln_lane *lane, void *dst,
                       const void *src, size_t nbytes);

#endif
