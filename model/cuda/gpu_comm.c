/* Communicators of a GPU over its driver's table: deadlines, the names of failures, and an abort
 * that may come from another thread. NCCL's own advice: nothing blocks, the state is asked for
 * until the call is through, and whoever sees a failure aborts. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#include "common/log.h"
#include "common/mem.h"
#include "model/cuda/gpu.h"
#include "model/device_comm.h"

#define SPINS     2000 /* of asking before the first sleep */
#define PAUSE_US  20
#define ASK_EVERY 64  /* questions to the GPU for one to the library */
#define WITHIN_MS 100 /* for another thread to come out of a call before comm is taken away */
#define MEET_HINT                                                                                  \
    "did a rank fail before it got here, or do hosts not reach each other "                        \
    "(NCCL_SOCKET_IFNAME)?"

struct nn_device_comm {
    struct nn_device *gpu;
    const struct nn_comm_driver *driver;
    void *handle;
    int64_t timeout_ms;
    bool finished;
    atomic_int inside;   /* calls under way: abort waits for them, briefly */
    atomic_bool aborted; /* handle is gone, or about to go */
    char name[64];       /* "cuda:0: NCCL 2.28.9: rank 1 of 4" */
};

cm_status nn_device_comm_check(const struct nn_device *gpu)
{
    const struct nn_comm_driver *driver = gpu->driver->comm;
    const char *missing = driver ? driver->missing() : "its driver has no library of collectives";
    return missing ? CM_FAIL(CM_EUNSUPPORTED, "cuda:%d: no NCCL: %s", gpu->ordinal, missing)
                   : CM_OK;
}

const char *nn_device_comm_library(const struct nn_device *gpu)
{
    return gpu->driver->comm->library();
}

/* ---- calls ---- */

static bool enter(struct nn_device_comm *comm)
{
    atomic_fetch_add(&comm->inside, 1);
    if (!atomic_load(&comm->aborted))
        return true;
    atomic_fetch_sub(&comm->inside, 1);
    return false;
}

static void leave(struct nn_device_comm *comm)
{
    atomic_fetch_sub(&comm->inside, 1);
}

static cm_status fail_aborted(const struct nn_device_comm *comm)
{
    return CM_FAIL(CM_EPEER, "%s: was aborted", comm->name);
}

static cm_status check(const struct nn_device_comm *comm, int code, const char *what)
{
    return code ? CM_FAIL(CM_EIO, "%s: %s: %s", comm->name, what, comm->driver->text_of(code))
                : CM_OK;
}

/* *busy: with what was begun last. */
static cm_status ask(struct nn_device_comm *comm, const char *what, bool *busy)
{
    char why[NN_COMM_WHY] = "";
    if (!enter(comm))
        return fail_aborted(comm);
    enum nn_comm_state state = comm->driver->state(comm->handle, why);
    leave(comm);
    *busy = state == NN_COMM_BUSY;
    if (state == NN_COMM_FAILED || state == NN_COMM_PEER_FAILED)
        return CM_FAIL(state == NN_COMM_FAILED ? CM_EIO : CM_EPEER, "%s: %s: %s", comm->name, what,
                       why);
    return CM_OK;
}

/* Until the library has done on the host what was begun last. */
static cm_status settle(struct nn_device_comm *comm, const char *what, const char *hint)
{
    bool busy = true;
    struct cm_awake awake = cm_awake_until(cm_deadline_in_ms(comm->timeout_ms));
    for (int i = 0; busy; i++) {
        CM_TRY(ask(comm, what, &busy));
        if (busy && cm_awake_passed(&awake))
            return CM_FAIL(CM_ETIMEDOUT, "%s: %s: not done after %.1f s%s%s", comm->name, what,
                           (double)comm->timeout_ms / 1e3, *hint ? ": " : "", hint);
        if (busy && i >= SPINS)
            cm_sleep_us(PAUSE_US);
    }
    return CM_OK;
}

/* ---- life ---- */

cm_status nn_device_comm_id(struct nn_device *gpu, unsigned char id[NN_COMM_ID])
{
    const struct nn_comm_driver *driver = gpu->driver->comm;
    int code = driver->make_id(id);
    return code ? CM_FAIL(CM_EIO, "cuda:%d: %s: an id for the ranks: %s", gpu->ordinal,
                          driver->library(), driver->text_of(code))
                : CM_OK;
}

cm_status nn_device_comm_open(struct nn_device_comm **out, struct nn_device *gpu,
                              const unsigned char id[NN_COMM_ID], int rank, int size,
                              int64_t timeout_ms)
{
    struct nn_device_comm *self;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "a communicator"));
    self->gpu = gpu;
    self->driver = gpu->driver->comm;
    self->timeout_ms = timeout_ms;
    snprintf(self->name, sizeof self->name, "cuda:%d: %s: rank %d of %d", gpu->ordinal,
             self->driver->library(), rank, size);
    cm_status st = nn_gpu_check(gpu, gpu->driver->use(gpu->ordinal), "cudaSetDevice");
    if (st == CM_OK)
        st = check(self, self->driver->open(&self->handle, id, rank, size), "opening");
    if (st == CM_OK)
        *out = self;
    else
        cm_free(&self);
    return st;
}

cm_status nn_device_comm_meet(struct nn_device_comm *comm)
{
    return settle(comm, "meeting the other ranks", MEET_HINT);
}

void nn_device_comm_set_timeout(struct nn_device_comm *comm, int64_t timeout_ms)
{
    comm->timeout_ms = timeout_ms;
}

void nn_device_comm_abort(struct nn_device_comm *comm)
{
    if (!comm || atomic_exchange(&comm->aborted, true))
        return;
    for (int i = 0; i < WITHIN_MS && atomic_load(&comm->inside) > 0; i++)
        cm_sleep_us(1000);
    (void)comm->gpu->driver->use(comm->gpu->ordinal);
    comm->driver->abort(comm->handle);
}

cm_status nn_device_comm_finish(struct nn_device_comm *comm)
{
    if (!enter(comm))
        return fail_aborted(comm);
    int code = comm->driver->finish(comm->handle);
    leave(comm);
    CM_TRY(check(comm, code, "finishing"));
    CM_TRY(settle(comm, "finishing", ""));
    comm->finished = true;
    return CM_OK;
}

void nn_device_comm_close(struct nn_device_comm **comm_)
{
    struct nn_device_comm *comm = *comm_;
    if (!comm)
        return;
    if (!comm->finished)
        nn_device_comm_abort(comm);
    else if (!atomic_exchange(&comm->aborted, true))
        comm->driver->close(comm->handle);
    cm_free(comm_);
}

/* ---- what is enqueued ---- */

cm_status nn_device_comm_swap(struct nn_device_comm *comm, struct ln_lane *lane,
                              const struct nn_comm_part *parts, int n)
{
    size_t nbytes = 0;
    for (int i = 0; i < n; i++)
        nbytes += parts[i].nout + parts[i].nin;
    if (nbytes == 0)
        return CM_OK;
    if (!enter(comm))
        return fail_aborted(comm);
    void *stream = nn_gpu_stream(&comm->gpu->backend, lane);
    int code = comm->driver->swap(comm->handle, stream, parts, n);
    leave(comm);
    CM_TRY(check(comm, code, "exchanging"));
    return settle(comm, "exchanging", "");
}

cm_status nn_device_comm_sum(struct nn_device_comm *comm, struct ln_lane *lane, float *buf,
                             size_t n)
{
    if (n == 0)
        return CM_OK;
    if (!enter(comm))
        return fail_aborted(comm);
    void *stream = nn_gpu_stream(&comm->gpu->backend, lane);
    int code = comm->driver->sum(comm->handle, stream, buf, n);
    leave(comm);
    CM_TRY(check(comm, code, "all-reduce"));
    return settle(comm, "all-reduce", "");
}

cm_status nn_device_comm_wait(struct nn_device_comm *comm, struct ln_event *event,
                              struct cm_deadline deadline)
{
    const struct nn_driver *driver = comm->gpu->driver;
    bool happened = false, busy;
    struct cm_awake awake = cm_awake_until(deadline);
    CM_TRY(nn_gpu_check(comm->gpu, driver->use(comm->gpu->ordinal), "cudaSetDevice"));
    for (int i = 0; !happened; i++) {
        int code = driver->event_happened(nn_gpu_event(event), &happened);
        CM_TRY(nn_gpu_check(comm->gpu, code, comm->name));
        if (!happened && i % ASK_EVERY == 0)
            CM_TRY(ask(comm, "summing", &busy));
        if (!happened && cm_awake_passed(&awake))
            return CM_FAIL(CM_ETIMEDOUT, "%s: summing: not done by the deadline", comm->name);
        if (!happened && i >= SPINS)
            cm_sleep_us(PAUSE_US);
    }
    return CM_OK;
}
