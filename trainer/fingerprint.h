/* What the bits of a run depend on beside its config and data: build, compiler, CPU and caches,
 * oneDNN and its ISA, precision. Ranks must agree on it; versions carry it; a resume elsewhere
 * warns. */
#ifndef TRAINER_FINGERPRINT_H
#define TRAINER_FINGERPRINT_H

#include <stdbool.h>

#include "common/status.h"
#include "model/device.h"
#include "model/engines.h"
#include "model/op.h"

/* Lines "item value\n"; from cm_alloc. */
CM_MUST_CHECK cm_status tr_fingerprint(char **text, const struct nn_backend *backend,
                                       enum nn_dtype dtype);

/* More lines: the GPU without its number, its libraries; the ways in which they compute products
 * (none: no line). */
CM_MUST_CHECK cm_status tr_fingerprint_device(char **text, const struct nn_device *device);
/* One more where ranks sum in the order of the device's library of collectives. */
CM_MUST_CHECK cm_status tr_fingerprint_sums(char **text, const struct nn_device *device);
CM_MUST_CHECK cm_status tr_fingerprint_engines(char **text, const struct nn_engines *engines);

#define TR_FINGERPRINT_LINE 320
/* The first line of each that is not the other's too, cut to size; "" where one has no more.
 * False: they are the same. */
bool tr_fingerprint_differs(const char *a, const char *b, char of_a[TR_FINGERPRINT_LINE],
                            char of_b[TR_FINGERPRINT_LINE]);

#endif
