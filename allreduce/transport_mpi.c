/* MPI, the only file that knows it. Every call is non-blocking and tested in a loop that naps an
 * eighth of the time that it has waited, 5 ms at most: a message in flight is noticed at most 12 %
 * late, and a rank that waits for a slow peer burns well under 2 % of a core (a blocking MPI call
 * burns all of it). MPI_Init and MPI_Finalize block; the caller of ar_group_open and the watchdog
 * hold the deadline over them. */
#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>

#include "allreduce/transport.h"
#include "common/clock.h"
#include "common/mem.h"

#define TAG          1
#define PIECE_NBYTES ((size_t)64 << 20) /* of one MPI call: its counts are int */
#define SPIN_NS      100000             /* a message of a MiB within a host takes less */
#define NAP_MAX_US   5000

struct ar_transport_mpi {
    struct ar_transport base; /* first: the cast in self_of */
    MPI_Comm comm;
    MPI_Request slot[AR_SLOTS][2]; /* receive, send */
};

static struct ar_transport_mpi *self_of(struct ar_transport *t)
{
    return (struct ar_transport_mpi *)t;
}

static cm_status fail(int rc, const char *call)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(rc, text, &n);
    return CM_FAIL(CM_EPEER, "%s: %s (MPI error %d)", call, text, rc);
}

#define TRY_MPI(call, name)                                                                        \
    do {                                                                                           \
        int try_mpi_rc_ = (call);                                                                  \
        if (try_mpi_rc_ != MPI_SUCCESS)                                                            \
            return fail(try_mpi_rc_, (name));                                                      \
    } while (0)

static void nap(int64_t waited_ns)
{
    int64_t us = waited_ns / 8 / 1000;
    if (waited_ns < SPIN_NS)
        sched_yield(); /* with more threads than cores: let the one that we wait for run */
    else
        cm_sleep_us(us < NAP_MAX_US ? us : NAP_MAX_US);
}

static cm_status wait_all(struct ar_transport *t, int n, MPI_Request *requests, const char *call)
{
    int64_t start_ns = 0;
    for (;;) {
        int done = 0;
        TRY_MPI(MPI_Testall(n, requests, &done, MPI_STATUSES_IGNORE), call);
        if (done)
            return CM_OK;
        if (atomic_load_explicit(&t->abandoned, memory_order_relaxed))
            return CM_FAIL(CM_ECLOSED, "%s: the group is being left", call);
        int64_t now_ns = cm_now_ns();
        if (start_ns == 0)
            start_ns = now_ns;
        nap(now_ns - start_ns);
    }
}

static cm_status mpi_post(struct ar_transport *t, int slot, int peer, const void *send,
                          size_t nsend, void *recv, size_t nrecv)
{
    struct ar_transport_mpi *self = self_of(t);
    if (nsend > INT_MAX || nrecv > INT_MAX)
        return CM_FAIL(CM_EINVAL, "exchange of %zu and %zu bytes, at most %d", nsend, nrecv,
                       INT_MAX);
    if (nrecv > 0)
        TRY_MPI(MPI_Irecv(recv, (int)nrecv, MPI_BYTE, peer, TAG, self->comm, &self->slot[slot][0]),
                "MPI_Irecv");
    if (nsend > 0)
        TRY_MPI(MPI_Isend(send, (int)nsend, MPI_BYTE, peer, TAG, self->comm, &self->slot[slot][1]),
                "MPI_Isend");
    t->nbytes_sent += nsend;
    return CM_OK;
}

static cm_status mpi_wait(struct ar_transport *t, int slot)
{
    return wait_all(t, 2, self_of(t)->slot[slot], "exchange");
}

static size_t piece(size_t nbytes, size_t done)
{
    return nbytes - done < PIECE_NBYTES ? nbytes - done : PIECE_NBYTES;
}

static cm_status mpi_broadcast(struct ar_transport *t, void *buf, size_t nbytes, int root)
{
    for (size_t done = 0; done < nbytes; done += piece(nbytes, done)) {
        MPI_Request request;
        TRY_MPI(MPI_Ibcast((char *)buf + done, (int)piece(nbytes, done), MPI_BYTE, root,
                           self_of(t)->comm, &request),
                "MPI_Ibcast");
        CM_TRY(wait_all(t, 1, &request, "MPI_Ibcast"));
    }
    return CM_OK;
}

static cm_status mpi_gather(struct ar_transport *t, const void *mine, size_t nbytes, void *all)
{
    if (nbytes > INT_MAX)
        return CM_FAIL(CM_EINVAL, "gather of %zu bytes, at most %d", nbytes, INT_MAX);
    MPI_Request request;
    TRY_MPI(MPI_Iallgather(mine, (int)nbytes, MPI_BYTE, all, (int)nbytes, MPI_BYTE,
                           self_of(t)->comm, &request),
            "MPI_Iallgather");
    return wait_all(t, 1, &request, "MPI_Iallgather");
}

static cm_status mpi_sum(struct ar_transport *t, enum ar_kind kind, void *buf, size_t n)
{
    static const struct {
        MPI_Datatype type;
        MPI_Op op;
        size_t size;
    } kinds[] = {
        [AR_KIND_F32] = {MPI_FLOAT, MPI_SUM, sizeof(float)},
        [AR_KIND_F64] = {MPI_DOUBLE, MPI_SUM, sizeof(double)},
        [AR_KIND_BITS] = {MPI_UINT32_T, MPI_BOR, sizeof(uint32_t)},
    };
    size_t nbytes = n * kinds[kind].size;
    for (size_t done = 0; done < nbytes; done += piece(nbytes, done)) {
        MPI_Request request;
        TRY_MPI(MPI_Iallreduce(MPI_IN_PLACE, (char *)buf + done,
                               (int)(piece(nbytes, done) / kinds[kind].size), kinds[kind].type,
                               kinds[kind].op, self_of(t)->comm, &request),
                "MPI_Iallreduce");
        CM_TRY(wait_all(t, 1, &request, "MPI_Iallreduce"));
    }
    t->nbytes_sent += 2 * nbytes * (size_t)(t->size - 1) / (size_t)t->size;
    return CM_OK;
}

static cm_status mpi_native_sum(struct ar_transport *t, float *buf, size_t n)
{
    if (n > INT_MAX)
        return CM_FAIL(CM_EINVAL, "sum of %zu values, at most %d", n, INT_MAX);
    TRY_MPI(MPI_Allreduce(MPI_IN_PLACE, buf, (int)n, MPI_FLOAT, MPI_SUM, self_of(t)->comm),
            "MPI_Allreduce");
    return CM_OK;
}

static cm_status mpi_finish(struct ar_transport *t)
{
    MPI_Request request;
    TRY_MPI(MPI_Ibarrier(self_of(t)->comm, &request), "MPI_Ibarrier");
    CM_TRY(wait_all(t, 1, &request, "MPI_Ibarrier"));
    TRY_MPI(MPI_Finalize(), "MPI_Finalize");
    return CM_OK;
}

static const struct ar_transport_ops mpi_ops = {
    .name = "mpi",
    .post = mpi_post,
    .wait = mpi_wait,
    .broadcast = mpi_broadcast,
    .gather = mpi_gather,
    .sum = mpi_sum,
    .native_sum = mpi_native_sum,
    .finish = mpi_finish,
};

cm_status ar_transport_mpi_open(struct ar_transport **out)
{
    *out = NULL;
    int was_started = 0, provided = 0;
    MPI_Initialized(&was_started);
    if (was_started)
        return CM_FAIL(CM_EUNSUPPORTED, "MPI was started before in this process: one group only");
    /* The thread that calls is not main, and no other thread ever calls. */
    TRY_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    if (provided < MPI_THREAD_SERIALIZED)
        return CM_FAIL(CM_EUNSUPPORTED, "MPI gives thread level %d, needed is %d", provided,
                       MPI_THREAD_SERIALIZED);
    TRY_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");

    struct ar_transport_mpi *self;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "MPI transport"));
    self->base.ops = &mpi_ops;
    self->comm = MPI_COMM_WORLD;
    for (int s = 0; s < AR_SLOTS; s++)
        self->slot[s][0] = self->slot[s][1] = MPI_REQUEST_NULL;
    MPI_Comm_rank(self->comm, &self->base.rank);
    MPI_Comm_size(self->comm, &self->base.size);
    *out = &self->base;
    return CM_OK;
}
