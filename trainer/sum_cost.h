/* What a sum of gradients over ranks costs, measured at the start, and the size of bucket that it
 * asks for (ar_bucket_limit). */
#ifndef TRAINER_SUM_COST_H
#define TRAINER_SUM_COST_H

#include <stddef.h>

#include "allreduce/group.h"
#include "model/device.h"

struct tr_sum_cost {
    double least_s, all_s; /* of few numbers, of all */
    double rate;           /* floats per second beyond that */
};

/* Median seconds on this rank of sums of few and of n numbers, each made by add and through when it
 * returns; all ranks are at it. */
CM_MUST_CHECK cm_status tr_sum_cost_measure(struct tr_sum_cost *out, size_t n,
                                            cm_status (*add)(void *ctx, size_t n), void *ctx);

/* Collective: floats of a bucket of n, by rank 0's cost, or 0 where the config decides: it says a
 * size, or wants an order whose bits a bucket's size changes, which no clock may do. Rank 0 logs
 * the cost of sums that were made so ("by MPI"). */
CM_MUST_CHECK cm_status tr_sum_cost_bucket(size_t *bucket, const struct tr_sum_cost *cost, size_t n,
                                           struct ar_group *group, const struct ar_config *cfg,
                                           const char *how);

/* Collective: the cost of sums of n floats on GPUs that go through the hosts' memory ("cuda+mpi"),
 * where it decides about the bucket; what fails on one rank ends the job. */
CM_MUST_CHECK cm_status tr_sum_cost_staged(size_t *bucket, size_t n, struct nn_device *device,
                                           struct ar_group *group, const struct ar_config *cfg);

#endif
