/* A step's sums from GPU to GPU, for the engine on a device: a bucket goes to the lane of
 * device_sum.h as soon as backward has finished it, loss and counts behind the last one, and lane 0
 * goes on when all are summed. The host only enqueues.
 *
 *   lane 0   … backward ── results ─ own ┐                       ┌► summed ─► decide … prepare
 *   sums        └► bucket … └► bucket    └► statistics ► totals ─┘
 *
 * The control word stays with MPI: at a step's end each rank says whether it has enqueued its part,
 * before it waits for the others' sums. Nothing of this is in a captured graph. */
#ifndef TRAINER_ENGINE_NCCL_H
#define TRAINER_ENGINE_NCCL_H

#include "trainer/engine_private.h"

struct tr_nccl;

/* Over the config's sum. */
CM_MUST_CHECK cm_status tr_nccl_open(struct tr_nccl **out, struct tr_engine *e);
/* After the engine's graphs and lanes; NULL is fine. */
void tr_nccl_close(struct tr_nccl **nccl);

/* The step of that turn is enqueued from now on. */
void tr_nccl_begin(struct tr_nccl *nccl, int turn);
/* As the row of tr_engine_place. */
void tr_nccl_bucket(struct tr_nccl *nccl, size_t first, size_t n, struct ln_event *ready);
/* Behind the buckets: totals, three doubles on the device, which lane 0 has by now; it goes on with
 * all ranks' sums. */
void tr_nccl_totals(struct tr_nccl *nccl, double *totals);
/* Whether this rank has enqueued its part: else the others would wait for it. */
CM_MUST_CHECK cm_status tr_nccl_fault(struct tr_nccl *nccl);
/* Until that turn's step has ended: first what this rank does alone, then with the others, as
 * tr_device_sum_await: who is late in the former is missing in the latter. Fills the engine's
 * sums. */
CM_MUST_CHECK cm_status tr_nccl_wait(struct tr_nccl *nccl, int turn, struct ln_event *ended);

#endif
