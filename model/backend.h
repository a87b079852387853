/* What the rest of Flywheel asks about this machine's CPU backend beside its ops. */
#ifndef MODEL_BACKEND_H
#define MODEL_BACKEND_H

#include <stddef.h>

#include "common/status.h"
#include "model/op.h"

/* For struct ln_config's on_start: one OpenMP thread in ops that run on this lane. */
void nn_cpu_lane_start(void *unused);

/* "oneDNN 2.6.3 isa avx2, kernels x86-64-v3": what the bits of the cpu backend depend on. */
void nn_cpu_describe(char *text, size_t n);

/* Operations per second that one thread reaches here in a large matrix product of this dtype,
 * measured (about 0.2 s): the limit that per-op times are held against. Bytes per second of a large
 * copy, read plus write. */
CM_MUST_CHECK cm_status nn_cpu_measure_limits(enum nn_dtype dtype, double *flops_per_s,
                                              double *bytes_per_s);

#endif
