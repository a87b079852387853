/* Sums from GPU to GPU over the ranks of a run (transport "nccl"): a communicator, and a lane of
 * its own that goes before all other work of the GPU. It lives as long as the session, whose
 * engines come and go.
 *
 *   order fixed   each rank gets its share of the buffer from all others in one exchange, adds
 *                 the W of them as the tree of allreduce/tree.h does, and sends the sum to all in
 *                 a second one: the bits of cuda+mpi and of a CPU's tree, whatever the buffers, the
 *                 ranks' places and the library's version. As many bytes leave a rank as by halves
 *                 (2 (W - 1) / W of the buffer), in 2 exchanges instead of 2 log2 W
 *   order fast    the library's own all-reduce of a buffer; the same bits for reruns only */
#ifndef TRAINER_DEVICE_SUM_H
#define TRAINER_DEVICE_SUM_H

#include <stddef.h>

#include "allreduce/group.h"
#include "common/lane.h"
#include "common/status.h"
#include "model/device.h"

struct tr_device_sum; /* one thread at a time */

/* Collective, on all ranks or on none, but that a rank that fails inside NCCL ends the job. Meets
 * the other ranks, and measures what a sum of `most` floats costs, which no sum exceeds. Borrows
 * the others for its life. */
CM_MUST_CHECK cm_status tr_device_sum_open(struct tr_device_sum **out, struct nn_device *device,
                                           struct ar_group *group, const struct ar_config *cfg,
                                           size_t most);
/* After the last sum, which all ranks have waited for. Until all of them are through, watched, so
 * that a rank that is missing has a name; but one that is late at the end is no loss: before the
 * watchdog's deadline the others cut NCCL off, with a warning, and go on. NULL is fine. */
void tr_device_sum_close(struct tr_device_sum **s);

struct ln_lane *tr_device_sum_lane(const struct tr_device_sum *s);
/* Floats of a bucket of gradients, of rank 0's measurement; 0: as the config says. */
size_t tr_device_sum_bucket(const struct tr_device_sum *s);

/* Enqueues on the lane: buf (n), in place. In the same order on all ranks. */
CM_MUST_CHECK cm_status tr_device_sum_add(struct tr_device_sum *s, float *buf, size_t n);
/* The same of three doubles on the device, in the tree's order under both orders. */
CM_MUST_CHECK cm_status tr_device_sum_totals(struct tr_device_sum *s, double *totals);
/* Until an event has happened that is behind such sums, on whatever lane; watched. After a fault,
 * here or in an add on any rank, sums are under way that never end: the job is left by
 * ar_group_abort, which tells of it first and then aborts NCCL, briefly, for that may not come back
 * either. */
CM_MUST_CHECK cm_status tr_device_sum_await(struct tr_device_sum *s, struct ln_event *behind);
/* The same for all that was enqueued on the lane. */
CM_MUST_CHECK cm_status tr_device_sum_wait(struct tr_device_sum *s);

#endif
