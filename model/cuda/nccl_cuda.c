/* NCCL as a table of communicators (comm_driver.h); the only file with its types. The library is
 * opened when it is first asked for: a host without it still computes, and sums through MPI.
 *
 * Communicators do not block: a call that returns ncclInProgress goes on in a thread of NCCL's,
 * until ncclCommGetAsyncError gives another word. */
#include <dlfcn.h>
#include <nccl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "model/cuda/stream_cuda.h"

#define OLDEST NCCL_VERSION(2, 18, 0) /* before it a communicator that does not block may */

_Static_assert(sizeof(ncclUniqueId) == NN_COMM_ID, "an id's bytes");

#define CALLS(X)                                                                                   \
    X(ncclGetVersion)                                                                              \
    X(ncclGetErrorString)                                                                          \
    X(ncclGetLastError)                                                                            \
    X(ncclGetUniqueId)                                                                             \
    X(ncclCommInitRankConfig)                                                                      \
    X(ncclCommGetAsyncError)                                                                       \
    X(ncclCommFinalize)                                                                            \
    X(ncclCommDestroy)                                                                             \
    X(ncclCommAbort)                                                                               \
    X(ncclGroupStart)                                                                              \
    X(ncclGroupEnd)                                                                                \
    X(ncclSend)                                                                                    \
    X(ncclRecv)                                                                                    \
    X(ncclAllReduce)

/* Written once; then read by any thread. */
static struct {
    pthread_once_t once;
    char missing[256], library[32];
#define FIELD(name) __typeof__(&(name)) name;
    CALLS(FIELD)
#undef FIELD
} nccl = {.once = PTHREAD_ONCE_INIT};

/* ---- the library ---- */

static bool find_call(void *library, const char *name, void *call)
{
    void *found = dlsym(library, name);
    if (!found)
        snprintf(nccl.missing, sizeof nccl.missing, "libnccl.so.2 has no %s", name);
    memcpy(call, &found, sizeof found);
    return found != NULL;
}

static void find_library(void)
{
    int version = 0;
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(nccl.missing, sizeof nccl.missing, "%s", dlerror());
        return;
    }
#define FIND(name)                                                                                 \
    if (!find_call(library, #name, &nccl.name))                                                    \
        return;
    CALLS(FIND)
#undef FIND
    ncclResult_t st = nccl.ncclGetVersion(&version);
    snprintf(nccl.library, sizeof nccl.library, "NCCL %d.%d.%d", version / 10000,
             version / 100 % 100, version % 100);
    if (st != ncclSuccess || version < OLDEST)
        snprintf(nccl.missing, sizeof nccl.missing, "libnccl.so.2 is %s; 2.18 is needed",
                 nccl.library);
}

static const char *missing(void)
{
    (void)pthread_once(&nccl.once, find_library);
    return nccl.missing[0] ? nccl.missing : NULL;
}

static const char *library(void)
{
    return missing() ? "NCCL" : nccl.library;
}

static const char *text_of(int code)
{
    static _Thread_local char text[NN_COMM_WHY];
    const char *last = nccl.ncclGetLastError(NULL);
    snprintf(text, sizeof text, "%s (%d)%s%s", nccl.ncclGetErrorString((ncclResult_t)code), code,
             last && *last ? ": " : "", last ? last : "");
    return text;
}

/* Begun is not failed. */
static int code_of(ncclResult_t st)
{
    return st == ncclInProgress ? 0 : (int)st;
}

/* ---- communicators ---- */

static int make_id(unsigned char id[NN_COMM_ID])
{
    ncclUniqueId unique;
    int code = code_of(nccl.ncclGetUniqueId(&unique));
    if (code == 0)
        memcpy(id, &unique, sizeof unique);
    return code;
}

static int open_comm(void **out, const unsigned char id[NN_COMM_ID], int rank, int size)
{
    ncclUniqueId unique;
    ncclComm_t comm = NULL;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    memcpy(&unique, id, sizeof unique);
    int code = code_of(nccl.ncclCommInitRankConfig(&comm, size, unique, rank, &config));
    if (code && comm)
        (void)nccl.ncclCommAbort(comm);
    *out = code ? NULL : comm;
    return code;
}

static enum nn_comm_state state_of(void *comm, char why[NN_COMM_WHY])
{
    ncclResult_t st = ncclSuccess;
    ncclResult_t asked = nccl.ncclCommGetAsyncError(comm, &st);
    st = asked == ncclSuccess ? st : asked;
    if (st == ncclSuccess)
        return NN_COMM_READY;
    if (st == ncclInProgress)
        return NN_COMM_BUSY;
    snprintf(why, NN_COMM_WHY, "%s", text_of((int)st));
    return st == ncclRemoteError ? NN_COMM_PEER_FAILED : NN_COMM_FAILED;
}

/* The stream's GPU, whichever the thread used last. */
static cudaStream_t enter(void *stream)
{
    const struct nn_cuda_stream *s = stream;
    (void)cudaSetDevice(s->ordinal);
    return s->stream;
}

static int add_part(void *comm, cudaStream_t to, const struct nn_comm_part *part)
{
    int code = 0;
    if (part->nout > 0)
        code = code_of(nccl.ncclSend(part->out, part->nout, ncclChar, part->peer, comm, to));
    if (part->nin > 0 && code == 0)
        code = code_of(nccl.ncclRecv(part->in, part->nin, ncclChar, part->peer, comm, to));
    return code;
}

/* In one group: nothing in it waits for another. */
static int swap(void *comm, void *stream, const struct nn_comm_part *parts, int n)
{
    cudaStream_t to = enter(stream);
    int code = code_of(nccl.ncclGroupStart());
    if (code)
        return code;
    for (int i = 0; i < n && code == 0; i++)
        code = add_part(comm, to, &parts[i]);
    int end = code_of(nccl.ncclGroupEnd()); /* a group that was begun has to end */
    return code ? code : end;
}

static int sum(void *comm, void *stream, float *buf, size_t n)
{
    return code_of(nccl.ncclAllReduce(buf, buf, n, ncclFloat, ncclSum, comm, enter(stream)));
}

static int finish(void *comm)
{
    return code_of(nccl.ncclCommFinalize(comm));
}

static void close_comm(void *comm)
{
    (void)nccl.ncclCommDestroy(comm);
}

static void abort_comm(void *comm)
{
    (void)nccl.ncclCommAbort(comm);
}

const struct nn_comm_driver nn_cuda_comm = {.missing = missing,
                                            .library = library,
                                            .text_of = text_of,
                                            .make_id = make_id,
                                            .open = open_comm,
                                            .state = state_of,
                                            .swap = swap,
                                            .sum = sum,
                                            .finish = finish,
                                            .close = close_comm,
                                            .abort = abort_comm};
