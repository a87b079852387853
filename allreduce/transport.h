/* What moves bytes between ranks. MPI is one, a group of one another; a GPU plug-in brings its own.
 * Internal to allreduce.
 *
 * Every function belongs to the reducer thread. None has a deadline of its own: they come back when
 * the peers have done their part, on a fault, or with CM_ECLOSED once abandoned; the watchdog ends
 * the process when that takes too long. */
#ifndef ALLREDUCE_TRANSPORT_H
#define ALLREDUCE_TRANSPORT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

enum ar_kind { AR_KIND_F32, AR_KIND_F64, AR_KIND_BITS }; /* sums, and the "or" of uint32_t */

#define AR_SLOTS 4 /* exchanges in flight */

struct ar_transport {
    const struct ar_transport_ops *ops;
    int rank, size;
    atomic_bool abandoned; /* set by any thread: give up waiting */
    uint64_t nbytes_sent;
};

struct ar_transport_ops {
    const char *name;
    /* Starts sending to and receiving from one peer; either size may be 0. The slot is free;
     * buffers stay untouched until wait. Between two ranks messages keep their order, so both must
     * post the same sizes in the same order. */
    CM_MUST_CHECK cm_status (*post)(struct ar_transport *t, int slot, int peer, const void *send,
                                    size_t nsend, void *recv, size_t nrecv);
    CM_MUST_CHECK cm_status (*wait)(struct ar_transport *t, int slot);
    CM_MUST_CHECK cm_status (*broadcast)(struct ar_transport *t, void *buf, size_t nbytes,
                                         int root);
    /* all: size * nbytes, in rank order. */
    CM_MUST_CHECK cm_status (*gather)(struct ar_transport *t, const void *mine, size_t nbytes,
                                      void *all);
    /* In place, in whatever order is fastest. */
    CM_MUST_CHECK cm_status (*sum)(struct ar_transport *t, enum ar_kind kind, void *buf, size_t n);
    /* The yardstick of bench: the library's own blocking all-reduce, which burns a core; never in a
     * run. */
    CM_MUST_CHECK cm_status (*native_sum)(struct ar_transport *t, float *buf, size_t n);
    /* Collective: waits for all peers, then shuts the library down. */
    CM_MUST_CHECK cm_status (*finish)(struct ar_transport *t);
};

/* MPI when a launcher started this process, else a group of one. MPI can be started once per
 * process. */
CM_MUST_CHECK cm_status ar_transport_open(struct ar_transport **out);
CM_MUST_CHECK cm_status ar_transport_mpi_open(struct ar_transport **out);
CM_MUST_CHECK cm_status ar_transport_self_open(struct ar_transport **out);
/* Frees; no peer is asked. NULL is fine. */
void ar_transport_close(struct ar_transport **t);

#endif
