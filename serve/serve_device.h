/* The GPU of a worker, with a lane for the batches and one, which goes after it, for the version
 * that is being loaded: neither waits for the other. A worker on the host has none: NULL. */
#ifndef SERVE_SERVE_DEVICE_H
#define SERVE_SERVE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/lane.h"
#include "common/status.h"
#include "model/device.h"

struct sv_device; /* any thread; a lane's calls from one thread at a time */

/* which: of sv_config_device. *out NULL: the host, which "auto" comes to where there is no GPU, and
 * says why. turn: of the worker's, among those that "cuda" and "auto" deal GPUs to. Waits for a
 * batch end with CM_ETIMEDOUT after timeout_ms. CM_EUNSUPPORTED names the missing piece. */
CM_MUST_CHECK
cm_status sv_device_open(struct sv_device **out, const char *which, int64_t turn,
                         int64_t timeout_ms);
/* The same on *gpu, which it takes, even when it fails. */
CM_MUST_CHECK
cm_status sv_device_take(struct sv_device **out, struct nn_device **gpu, int64_t timeout_ms);
void sv_device_close(struct sv_device **d); /* NULL is fine */

struct nn_device *sv_device_gpu(const struct sv_device *d);
const char *sv_device_name(const struct sv_device *d);     /* "cuda:1"; "cpu" */
const char *sv_device_describe(const struct sv_device *d); /* with model and libraries */

/* For batches; for a version that is being loaded. */
enum sv_work { SV_WORK_BATCH, SV_WORK_LOAD };
struct ln_lane *sv_device_lane(const struct sv_device *d, enum sv_work work);
/* Waits for all that the lane was given. */
CM_MUST_CHECK
cm_status sv_device_wait(struct sv_device *d, enum sv_work work);

/* Passes st on, the outcome of calls to the device. CM_EIO and CM_ETIMEDOUT say that it is gone for
 * this process: a fault stays with all that the process has there, and what hangs cannot be
 * recalled. Other faults (no memory) harm nobody else. */
cm_status sv_device_watch(struct sv_device *d, cm_status st);
/* The first such fault, as this thread's own; CM_OK: none. Nothing of the device may be closed or
 * used after it: that may wait for ever. */
CM_MUST_CHECK
cm_status sv_device_check(const struct sv_device *d);

#endif
