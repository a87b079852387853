/* A libnccl.so.2 that tells what it is asked, for test_nccl. VERSION: its own; LAME: without
 * ncclCommAbort. The types are as wide as NCCL's; results are its numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS, SYSTEM_ERROR = 2, INVALID_USAGE = 5, REMOTE_ERROR, IN_PROGRESS };

struct id {
    char bytes[128];
};

int ncclGetVersion(int *version);
const char *ncclGetErrorString(int result);
const char *ncclGetLastError(void *comm);
int ncclGetUniqueId(struct id *id);
int ncclCommInitRankConfig(void **comm, int size, struct id id, int rank, int *config);
int ncclCommGetAsyncError(void *comm, int *result);
int ncclCommFinalize(void *comm);
int ncclCommDestroy(void *comm);
int ncclCommAbort(void *comm);
int ncclGroupStart(void);
int ncclGroupEnd(void);
int ncclSend(const void *from, size_t n, int type, int peer, void *comm, void *stream);
int ncclRecv(void *to, size_t n, int type, int peer, void *comm, void *stream);
int ncclAllReduce(const void *from, void *to, size_t n, int type, int op, void *comm, void *stream);

int ncclGetVersion(int *version)
{
    *version = VERSION;
    return SUCCESS;
}

const char *ncclGetErrorString(int result)
{
    return result == SYSTEM_ERROR ? "system error" : result == REMOTE_ERROR ? "remote" : "usage";
}

const char *ncclGetLastError(void *comm)
{
    return comm ? NULL : "cable is out";
}

int ncclGetUniqueId(struct id *id)
{
    memset(id->bytes, 'i', sizeof id->bytes);
    return SUCCESS;
}

/* The config's words are its size, then a number that marks it, then version and blocking. */
int ncclCommInitRankConfig(void **comm, int size, struct id id, int rank, int *config)
{
    if (rank >= size)
        return INVALID_USAGE;
    *comm = malloc(1);
    printf("init rank %d of %d, id %c%c, blocking %d\n", rank, size, id.bytes[0], id.bytes[127],
           config[4]);
    return IN_PROGRESS;
}

int ncclCommGetAsyncError(void *comm, int *result)
{
    static const int script[] = {IN_PROGRESS, SUCCESS, SYSTEM_ERROR, REMOTE_ERROR};
    static size_t at;
    (void)comm;
    *result = script[at++ % 4];
    return SUCCESS;
}

int ncclCommFinalize(void *comm)
{
    (void)comm;
    puts("finalize");
    return IN_PROGRESS;
}

int ncclCommDestroy(void *comm)
{
    puts("destroy");
    free(comm);
    return SUCCESS;
}

#ifndef LAME
int ncclCommAbort(void *comm)
{
    puts("abort");
    free(comm);
    return SUCCESS;
}
#endif

int ncclGroupStart(void)
{
    puts("group");
    return SUCCESS;
}

int ncclGroupEnd(void)
{
    puts("end");
    return IN_PROGRESS;
}

int ncclSend(const void *from, size_t n, int type, int peer, void *comm, void *stream)
{
    (void)from;
    (void)comm;
    (void)stream;
    printf("send %zu of type %d to %d\n", n, type, peer);
    return peer < 8 ? SUCCESS : INVALID_USAGE;
}

int ncclRecv(void *to, size_t n, int type, int peer, void *comm, void *stream)
{
    (void)to;
    (void)comm;
    (void)stream;
    printf("receive %zu of type %d from %d\n", n, type, peer);
    return SUCCESS;
}

int ncclAllReduce(const void *from, void *to, size_t n, int type, int op, void *comm, void *stream)
{
    (void)comm;
    (void)stream;
    printf("%s %zu of type %d by %d\n", from == to ? "sum in place" : "sum", n, type, op);
    return SUCCESS;
}
