#include "tests/parity/comm_host.h"

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/parity/host_streams.h"

enum { MOST_RANKS = 8, BOX = 1 << 16, NO_ID = 5, ABORTED = 6 };

struct box {
    atomic_int full;
    size_t nbytes; /* of this piece; written by who sends, before full */
    char piece[BOX];
};

/* Zeroed memory of all ranks. */
struct shared {
    atomic_int here;                        /* ranks that have opened it */
    atomic_int failed;                      /* 1 + the rank that gave up */
    atomic_int finished;                    /* ranks that have begun to finish */
    struct box box[MOST_RANKS][MOST_RANKS]; /* [from][to] */
};

struct comm {
    struct shared *shared;
    int rank, size;
    bool finishes;
    _Atomic bool aborted;
    _Atomic int users; /* work that names it, and its owner */
};

static const char *missing(void)
{
    return getenv("FLYWHEEL_HOST_NO_COMM") ? "libnccl.so.2: the host is told to have none" : NULL;
}

static const char *library(void)
{
    return "NCCL of the host";
}

static const char *text_of(int code)
{
    return code == ABORTED ? "aborted" : "no such memory";
}

/* ---- life ---- */

static int make_id(unsigned char id[NN_COMM_ID])
{
    int file =
        memfd_create("ranks", 0); /* open for the process's life: others come by its number */
    if (file < 0 || ftruncate(file, sizeof(struct shared)) != 0)
        return NO_ID;
    memset(id, 0, NN_COMM_ID);
    snprintf((char *)id, NN_COMM_ID, "/proc/%ld/fd/%d", (long)getpid(), file);
    return 0;
}

static int open_comm(void **out, const unsigned char id[NN_COMM_ID], int rank, int size)
{
    struct comm *self = calloc(1, sizeof *self);
    int file = open((const char *)id, O_RDWR);
    *out = NULL;
    if (self && file >= 0 && size <= MOST_RANKS)
        self->shared =
            mmap(NULL, sizeof *self->shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    if (!self || !self->shared || self->shared == MAP_FAILED) {
        free(self);
        return NO_ID;
    }
    self->rank = rank;
    self->size = size;
    self->users = 1;
    atomic_fetch_add(&self->shared->here, 1);
    *out = self;
    return 0;
}

static enum nn_comm_state state(void *comm, char why[NN_COMM_WHY])
{
    struct comm *self = comm;
    int failed = atomic_load(&self->shared->failed);
    if (failed) {
        snprintf(why, NN_COMM_WHY, "rank %d aborted", failed - 1);
        return NN_COMM_PEER_FAILED;
    }
    int come = atomic_load(self->finishes ? &self->shared->finished : &self->shared->here);
    return come < self->size ? NN_COMM_BUSY : NN_COMM_READY;
}

static void let_go(struct comm *self)
{
    if (atomic_fetch_sub(&self->users, 1) > 1)
        return;
    munmap(self->shared, sizeof *self->shared);
    free(self);
}

/* As NCCL's, until all ranks do. */
static int finish(void *comm)
{
    struct comm *self = comm;
    self->finishes = true;
    atomic_fetch_add(&self->shared->finished, 1);
    return 0;
}

static void close_comm(void *comm)
{
    let_go(comm);
}

/* Said on stderr, where a test sees it. */
static void abort_comm(void *comm)
{
    struct comm *self = comm;
    int nobody = 0;
    fprintf(stderr, "host communicator: rank %d aborts\n", self->rank);
    atomic_compare_exchange_strong(&self->shared->failed, &nobody, 1 + self->rank);
    while (getenv("FLYWHEEL_HOST_COMM_STUCK"))
        sleep(1);
    atomic_store(&self->aborted, true);
    let_go(self);
}

/* ---- work ---- */

/* What goes one way; the pieces of a message follow each other through one box. */
struct way {
    struct box *box;
    char *at;
    size_t left;
};

static void push(struct way *w)
{
    while (w->left > 0 && !atomic_load(&w->box->full)) {
        w->box->nbytes = w->left < BOX ? w->left : BOX;
        memcpy(w->box->piece, w->at, w->box->nbytes);
        w->at += w->box->nbytes;
        w->left -= w->box->nbytes;
        atomic_store(&w->box->full, 1);
    }
}

static void pull(struct way *w)
{
    while (w->left > 0 && atomic_load(&w->box->full)) {
        size_t n = w->box->nbytes < w->left ? w->box->nbytes : w->left;
        memcpy(w->at, w->box->piece, n);
        w->at += n;
        w->left -= n;
        atomic_store(&w->box->full, 0);
    }
}

/* Its own, as long as it is not done: a stream copies only the pointer. */
struct work {
    struct comm *comm;
    int nways;
    struct way out[MOST_RANKS], in[MOST_RANKS];
    /* a sum: the vectors of all ranks, and where their sum goes */
    float *all, *buf;
    size_t n;
    int64_t due_ns; /* over a slow link, not before; 0: not begun */
};

static void add_part(struct work *w, const struct nn_comm_part *part)
{
    int me = w->comm->rank;
    union {
        const void *in;
        char *out;
    } from = {.in = part->out}; /* a way has one type of pointer; this one is only read */
    w->out[w->nways] = (struct way){&w->comm->shared->box[me][part->peer], from.out, part->nout};
    w->in[w->nways++] = (struct way){&w->comm->shared->box[part->peer][me], part->in, part->nin};
}

static void drop(struct work *w)
{
    let_go(w->comm);
    free(w->all);
    free(w);
}

static void add_all(struct work *w)
{
    memcpy(w->all + (size_t)w->comm->rank * w->n, w->buf, w->n * sizeof(float));
    for (size_t i = 0; i < w->n; i++) {
        w->buf[i] = w->all[i];
        for (int r = 1; r < w->comm->size; r++)
            w->buf[i] += w->all[(size_t)r * w->n + i];
    }
}

/* comm_host.h: a slow link. */
static bool is_due(struct work *w)
{
    const char *asked = getenv("FLYWHEEL_HOST_COMM_MS");
    if (!asked)
        return true;
    if (w->due_ns == 0)
        w->due_ns = host_now_ns() + strtol(asked, NULL, 10) * 1000000;
    return host_now_ns() >= w->due_ns;
}

/* Aborted work is over, whatever it has done. */
static bool run(const void *args)
{
    struct work *w;
    memcpy(&w, args, sizeof w);
    bool aborted = atomic_load(&w->comm->aborted), done = is_due(w);
    for (int i = 0; i < w->nways; i++) {
        push(&w->out[i]);
        pull(&w->in[i]);
        done = done && w->out[i].left == 0 && w->in[i].left == 0;
    }
    if (!done && !aborted) {
        sched_yield();
        return false;
    }
    if (w->all && !aborted)
        add_all(w);
    drop(w);
    return true;
}

static int put(void *stream, struct work *w)
{
    atomic_fetch_add(&w->comm->users, 1);
    int code = host_stream_put(stream, run, &w, sizeof w);
    if (code)
        drop(w);
    return code;
}

static int swap(void *comm, void *stream, const struct nn_comm_part *parts, int n)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w)
        return HOST_NO_MEMORY;
    w->comm = comm;
    for (int i = 0; i < n; i++)
        add_part(w, &parts[i]);
    return put(stream, w);
}

static int sum(void *comm, void *stream, float *buf, size_t n)
{
    struct comm *self = comm;
    struct work *w = calloc(1, sizeof *w);
    float *all = malloc((size_t)self->size * n * sizeof *all);
    size_t nbytes = n * sizeof *buf;
    if (!w || !all) {
        free(w);
        free(all);
        return HOST_NO_MEMORY;
    }
    *w = (struct work){.comm = self, .all = all, .buf = buf, .n = n};
    for (int r = 0; r < self->size; r++)
        if (r != self->rank)
            add_part(w, &(struct nn_comm_part){.peer = r,
                                               .out = buf,
                                               .in = all + (size_t)r * n,
                                               .nout = nbytes,
                                               .nin = nbytes});
    return put(stream, w);
}

const struct nn_comm_driver comm_host = {.missing = missing,
                                         .library = library,
                                         .text_of = text_of,
                                         .make_id = make_id,
                                         .open = open_comm,
                                         .state = state,
                                         .swap = swap,
                                         .sum = sum,
                                         .finish = finish,
                                         .close = close_comm,
                                         .abort = abort_comm};
