/* What the bits of a run depend on beside its config and data: build, compiler, CPU and caches,
 * oneDNN and its ISA, precision. Ranks must agree on it; versions carry it; a resume elsewhere
 * warns. */
#ifndef TRAINER_FINGERPRINT_H
#define TRAINER_FINGERPRINT_H

#include "common/status.h"
#include "model/op.h"

/* Lines "item value\n"; from cm_alloc. */
CM_MUST_CHECK cm_status tr_fingerprint(char **text, const struct nn_backend *backend,
                                       enum nn_dtype dtype);

#endif
