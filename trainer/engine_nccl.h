/* A step's sums of gradients from GPU to GPU, for the engine on a device: a bucket goes to the lane
 * of device_sum.h as soon as backward has finished it. Loss, counts and the control word stay with
 * MPI, in the message that ends a step: the host has them by then. Nothing of this is in a captured
 * graph. */
#ifndef TRAINER_ENGINE_NCCL_H
#define TRAINER_ENGINE_NCCL_H

#include "trainer/engine_private.h"

struct tr_nccl;

/* Over the config's sum, whose measurement becomes the engine's bucket_limit. */
CM_MUST_CHECK cm_status tr_nccl_open(struct tr_nccl **out, struct tr_engine *e);
/* After the engine's graphs and lanes; NULL is fine. */
void tr_nccl_close(struct tr_nccl **nccl);

/* As the row of tr_engine_place. */
void tr_nccl_bucket(struct tr_nccl *nccl, size_t first, size_t n, struct ln_event *ready);
/* Whether this rank has enqueued its part: else the others would wait for it. */
CM_MUST_CHECK cm_status tr_nccl_enqueued(const struct tr_nccl *nccl);
/* Until the step's buckets are summed, as tr_device_sum_wait. */
CM_MUST_CHECK cm_status tr_nccl_wait(struct tr_nccl *nccl);

#endif
