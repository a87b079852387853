/* Sums of gradients from GPU to GPU (transport "nccl"), for the engine on a device. A bucket goes
 * to a lane of its own, before all other work of the GPU, as soon as backward has finished it:
 *
 *   order fixed   each rank gets its share of the bucket from all others in one exchange, adds
 *                 the W of them as the tree of allreduce/tree.h does, and sends the sum to all in
 *                 a second one: the bits of cuda+mpi and of a CPU's tree, whatever the buckets, the
 *                 ranks' places and the library's version. As many bytes leave a rank as by halves
 *                 (2 (W - 1) / W of the bucket), in 2 exchanges instead of 2 log2 W
 *   order fast    the library's own all-reduce of a bucket; the same bits for reruns only
 *
 * Loss, counts and the control word stay with MPI, in the message that ends a step: the host has
 * them by then. Nothing of this is in a captured graph. */
#ifndef TRAINER_ENGINE_NCCL_H
#define TRAINER_ENGINE_NCCL_H

#include "trainer/engine_private.h"

struct tr_nccl;

/* Collective, on all ranks or on none, but that a rank that fails inside NCCL ends the job. Meets
 * the other ranks and measures what a sum costs, from which rank 0 sets the engine's bucket_limit,
 * unless the config says it or the order is fast. */
CM_MUST_CHECK cm_status tr_nccl_open(struct tr_nccl **out, struct tr_engine *e);
/* On all ranks, or it takes its whole timeout; after the engine's graphs and lanes. NULL is fine.
 */
void tr_nccl_close(struct tr_nccl **nccl);

/* As the row of tr_engine_place. */
void tr_nccl_bucket(struct tr_nccl *nccl, size_t first, size_t n, struct ln_event *ready);
/* Whether this rank has enqueued its part: else the others would wait for it. */
CM_MUST_CHECK cm_status tr_nccl_enqueued(const struct tr_nccl *nccl);
/* Until the step's buckets are summed; watched, so that a rank that is missing has a name. NULL is
 * fine. After a fault, here or in a step on any rank, sums are under way that never end: the job is
 * left by ar_group_abort, which tells of it first and then aborts NCCL, briefly, for that may not
 * come back either. */
CM_MUST_CHECK cm_status tr_nccl_wait(struct tr_nccl *nccl);

#endif
