/* Which GPU a rank computes on: model.device, the rank's number on its host, and nobody else's. */
#ifndef TRAINER_RANK_DEVICE_H
#define TRAINER_RANK_DEVICE_H

#include "allreduce/group.h"
#include "model/device.h"
#include "trainer/train_config.h"

/* Whether model.device is one of "cpu", "ref", "auto", "cuda" and "cuda:N": CM_ECONFIG. */
CM_MUST_CHECK cm_status tr_rank_device_check(const char *which);

/* Collective: on all ranks or on none. *out NULL: on the host; "auto" comes to that where a rank
 * has no GPU, and rank 0 says why. CM_EUNSUPPORTED names the missing piece; CM_ECONFIG the ranks
 * that would share a GPU, unless allreduce.transport is "cuda+mpi". allreduce->transport becomes
 * what ranks on GPUs use: "auto" comes to "cuda+mpi" where a rank has no NCCL, and rank 0 says so;
 * with "nccl" that is CM_EUNSUPPORTED. */
CM_MUST_CHECK cm_status tr_rank_device_open(struct nn_device **out,
                                            const struct tr_model_config *model,
                                            struct ar_config *allreduce, struct ar_group *group);

/* The first two of n ranks that have one GPU, by its UUID; false: none. */
#define TR_UUID 40 /* bytes, with the 0 */
bool tr_rank_device_shared(const char (*uuid)[TR_UUID], int n, int *first, int *second);

#endif
