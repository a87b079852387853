/* Ranks' devices that reach each other without the host: a communicator over the driver's library
 * (comm_driver.h). Calls enqueue on a lane and come back, in the same order on all ranks; lanes
 * and what they copy are waited for with deadlines, since a peer that is gone leaves work on the
 * GPU that never ends. Then abort is the way out: it ends that work, and after it the job can only
 * be left. */
#ifndef MODEL_DEVICE_COMM_H
#define MODEL_DEVICE_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/lane.h"
#include "common/status.h"
#include "model/comm_driver.h"
#include "model/device.h"

struct nn_device_comm; /* one thread at a time; abort: any */

/* CM_EUNSUPPORTED says what this device's library of collectives lacks. */
CM_MUST_CHECK cm_status nn_device_comm_check(const struct nn_device *device);
/* "NCCL 2.28.9", after a check. */
const char *nn_device_comm_library(const struct nn_device *device);

CM_MUST_CHECK cm_status nn_device_comm_id(struct nn_device *device, unsigned char id[NN_COMM_ID]);
/* Begins to meet the other ranks, who open with the same id. timeout_ms: of whatever the library
 * does on the host: of finding the others in open's wait, of connecting with them at the first
 * call. */
CM_MUST_CHECK cm_status nn_device_comm_open(struct nn_device_comm **out, struct nn_device *device,
                                            const unsigned char id[NN_COMM_ID], int rank, int size,
                                            int64_t timeout_ms);
/* Until all have met. CM_ETIMEDOUT: not by then. */
CM_MUST_CHECK cm_status nn_device_comm_meet(struct nn_device_comm *comm);
/* From now on. */
void nn_device_comm_set_timeout(struct nn_device_comm *comm, int64_t timeout_ms);

/* All n parts at once: with each peer at most one. */
CM_MUST_CHECK cm_status nn_device_comm_swap(struct nn_device_comm *comm, struct ln_lane *lane,
                                            const struct nn_comm_part *parts, int n);
/* In place, the sum over the ranks in an order of the library's own: the same bits on all of them,
 * and in a rerun. */
CM_MUST_CHECK cm_status nn_device_comm_sum(struct nn_device_comm *comm, struct ln_lane *lane,
                                           float *buf, size_t n);
/* Until the event has happened, asking after the communicator all the while. CM_EPEER: another rank
 * failed; CM_EIO: this one; CM_ETIMEDOUT: some rank did not come. All three name this rank, and
 * leave work before the event that only an abort ends. */
CM_MUST_CHECK cm_status nn_device_comm_wait(struct nn_device_comm *comm, struct ln_event *event,
                                            struct cm_deadline deadline);

/* Any thread, more than once; NULL is fine. From now on every call fails. */
void nn_device_comm_abort(struct nn_device_comm *comm);
/* Collective: until all ranks are done with what they began, within the timeout. Only close is
 * left then; after a fault, abort. */
CM_MUST_CHECK cm_status nn_device_comm_finish(struct nn_device_comm *comm);
/* Waits for nobody: aborts what is not finished. NULL is fine. */
void nn_device_comm_close(struct nn_device_comm **comm);

#endif
