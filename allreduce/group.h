/* A group of ranks that sums. One thread of the group, the reducer, owns every MPI call from
 * MPI_Init to MPI_Finalize; callers hand it jobs and wait with a deadline, so nobody ever blocks
 * inside MPI.
 *
 * The sum is over V virtual shards in one fixed binary tree over shard numbers (tree.h draws it):
 * each rank holds V / W consecutive shards and passes in the sum of its own subtree; the levels
 * above are added between ranks by vector halving with distance doubling, neighbours first, then
 * gathered. IEEE addition is commutative, so W = 1, 2, 4, 8 give the same bits. The field's names:
 * Rabenseifner's algorithm; reduce-scatter and all-gather by recursive halving and doubling. */
#ifndef ALLREDUCE_GROUP_H
#define ALLREDUCE_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allreduce/lost_job.h"
#include "allreduce/sum.h"
#include "common/config.h"
#include "common/lane.h"
#include "common/status.h"

enum ar_order {
    AR_ORDER_FIXED, /* the tree: the same bits at every W */
    AR_ORDER_FAST,  /* MPI's or NCCL's own all-reduce: V = W, any W, same bits for reruns only */
};

/* How a GPU's gradients reach the other ranks; on CPUs it is MPI. */
enum ar_transport_kind {
    AR_TRANSPORT_AUTO, /* NCCL where all ranks have it, else staged; a GPU belongs to one rank */
    AR_TRANSPORT_CUDA_MPI, /* staged through pinned host memory; ranks may share a GPU */
    AR_TRANSPORT_NCCL,     /* from GPU to GPU; MPI keeps start, agreement and the control word */
};

const char *ar_transport_name(enum ar_transport_kind kind); /* as in the config */

/* The config section "allreduce". */
struct ar_config {
    int order;                     /* enum ar_order */
    int64_t bucket_kib;            /* gradient buckets close at this size; 0: see ar_bucket_limit */
    int64_t start_timeout_ms;      /* until all ranks have met */
    int64_t collective_timeout_ms; /* of one collective: after it the job is aborted, the culprit
                                      named */
    int64_t late_ms;               /* of one collective, at least: after it the culprit is shown */
    int64_t heartbeat_ms;          /* between two heartbeats of a rank */
    int transport;                 /* enum ar_transport_kind */
    bool compress; /* every node of the tree rounded to bf16, in memory as on the wire */
};
extern const struct cm_section ar_config_section;

struct ar_group; /* opaque; one caller thread at a time */

/* Collective. A process that no launcher started (no OMPI_*, PMIX_* or Slurm variables) is a group
 * of one without MPI. W must be a power of two under AR_ORDER_FIXED: CM_ECONFIG otherwise, on every
 * rank. On failure *out is NULL; what the ranks could agree on has been reported, by one. */
CM_MUST_CHECK cm_status ar_group_open(struct ar_group **out, const struct ar_config *cfg);
/* Instead, on a rank that failed before (a bad command line or config): meets the others, so that
 * all fail at once, and one of those that fail alike says so. Returns st, or the status that the
 * ranks agreed on. */
CM_MUST_CHECK cm_status ar_group_decline(cm_status st);
/* Collective in good times; after a failure leaves without waiting for peers. NULL is fine. */
void ar_group_close(struct ar_group **g);

int ar_group_rank(const struct ar_group *g);
int ar_group_size(const struct ar_group *g);
int ar_group_local_rank(const struct ar_group *g); /* among the ranks of this host */
int ar_group_local_size(const struct ar_group *g);

/* The one way out of a job for a rank that cannot go on while others may be waiting for it: reports
 * st, tells the peers as far as they can be told, ends this process with st's exit code. Never
 * returns, never waits longer than 3 s. Not for a fault that the ranks share: with that they part
 * by ar_group_close, once the rank that tells it has (cm_error_report), since a launcher ends all
 * when the first has gone. */
_Noreturn void ar_group_abort(struct ar_group *g, cm_status st, const char *doing);

/* fn is told of a loss by the rank that speaks for all (the lowest that is well, or the one that
 * aborts), just before its process ends: on a thread of its own, while the others run on. It has a
 * second, and must not use the group. NULL: nobody. Without peers fn is never called. */
void ar_group_on_loss(struct ar_group *g, ar_loss_fn fn, void *arg);

/* fn is called on every rank whose process ends because the job is lost, before it ends: on a
 * thread of its own, while the others run on. It has a second. NULL: nobody; that call does not
 * return once fn is under way, so that what fn uses may be freed after it. */
void ar_group_on_leave(struct ar_group *g, ar_leave_fn fn, void *arg);

/* Around a wait for all ranks that something else than the group carries out, while none of the
 * group's own is under way: a collective like any other, which the watchdog judges. doing: static
 * text. */
void ar_group_wait_begin(struct ar_group *g, const char *doing);
void ar_group_wait_end(struct ar_group *g);

/* ---- collectives at start-up and between steps; every rank calls the same ones in the same order
 * ---- */

/* The way for ranks to fail together: CM_OK only if all passed CM_OK, else, on every rank, the
 * status of the lowest that failed. The fault is shared then (status.h): ranks that failed in the
 * same words leave it to the lowest of them to tell; a rank that passed CM_OK has the lowest one's
 * message in its record, and tells nothing. */
CM_MUST_CHECK cm_status ar_group_agree(struct ar_group *g, cm_status mine, const char *doing);
/* For a fault that every rank finds in what all of them have (a sum that is no number): shared, and
 * rank 0's to tell. No collective; without a group (NULL) or peers nothing. Returns st. */
cm_status ar_group_alike(const struct ar_group *g, cm_status st);
CM_MUST_CHECK cm_status ar_group_broadcast(struct ar_group *g, void *buf, size_t nbytes, int root);
/* all: W * nbytes on every rank, in rank order. */
CM_MUST_CHECK cm_status ar_group_gather(struct ar_group *g, const void *mine, size_t nbytes,
                                        void *all);
/* Checks that text is the same on all ranks; CM_EMISMATCH names the first rank that differs, its
 * text and ours, and ends in the advice. That rank tells it. */
CM_MUST_CHECK cm_status ar_group_same(struct ar_group *g, const char *what, const char *text,
                                      const char *advice);

/* In place on every rank: buf[i] = sum over shards, 0 <= i < n, in the fixed tree. n counts fp32
 * elements, is the same on all ranks, and may be 0. After a failure buf is undefined. */
CM_MUST_CHECK cm_status ar_group_sum_f32(struct ar_group *g, float *buf, size_t n);
/* The same for doubles (loss, counts, norms): recursive doubling of the whole vector, the same
 * tree. n <= 64. */
CM_MUST_CHECK cm_status ar_group_sum_f64(struct ar_group *g, double *buf, size_t n);

/* MPI's own blocking all-reduce, in place, `times` times: the yardstick of flywheel-allreduce
 * bench, in no run. seconds: on this rank, without the hand-over between threads. */
CM_MUST_CHECK cm_status ar_group_time_native(struct ar_group *g, float *buf, size_t n, int times,
                                             double *seconds);

/* ---- a step's reduction, overlapped with backward ----
 * ar_step_begin; ar_step_bucket for every bucket in the same order on all ranks, as backward passes
 * them; ar_step_end. At W = 1 the same happens without peers: the sum is the rank's own, once it is
 * ready.
 *
 * With compress every node of the tree is rounded to bf16: what a rank passes in is rounded here,
 * at W = 1 too, and so is every sum above it; the nodes below, the rank's own shards, are the
 * trainer's to round (cm_vec_round_bf16). */

/* What rides behind the last bucket is a struct ar_tail (sum.h): sums of doubles over the same
 * tree, and control bits, or-ed (design: control word). */

void ar_step_begin(struct ar_group *g, int64_t step);
/* Enqueues the in-place sum of buf[0, n) to start when ready (recorded by a lane after the last
 * task that writes buf) has happened. buf stays untouched by the caller until ar_step_end. Never
 * waits. */
void ar_step_bucket(struct ar_group *g, float *buf, size_t n, struct ln_event *ready);
/* As ar_step_bucket; then is called, on a thread of the group, once the sum is there, and before
 * ar_step_end comes back; not after a failure. */
void ar_step_bucket_then(struct ar_group *g, float *buf, size_t n, struct ln_event *ready,
                         void (*then)(void *ctx, void *buf, size_t n), void *ctx);
/* Enqueues the tail and waits for all. On CM_OK every rank has the same *tail and the same sums. */
CM_MUST_CHECK cm_status ar_step_end(struct ar_group *g, struct ar_tail *tail);

/* Where the last step's time went, on this rank, seconds: moving and adding, and how long
 * ar_step_end waited. */
struct ar_step_times {
    double busy_s, exposed_s;
    uint64_t nbytes; /* sent by this rank */
};
struct ar_step_times ar_step_times(const struct ar_group *g);

/* The phase of this rank, shown by the heartbeats ("step", "evaluate", "checkpoint", "start"); a
 * static string. */
void ar_group_set_phase(struct ar_group *g, const char *phase, int64_t step);

#endif
