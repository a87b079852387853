/* The reducer: the one thread that owns the transport, from its start to its end, and works off
 * jobs in order. Internal to allreduce. */
#ifndef ALLREDUCE_REDUCER_H
#define ALLREDUCE_REDUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allreduce/watchdog.h"
#include "common/clock.h"
#include "common/lane.h"
#include "common/status.h"

enum ar_job_kind {
    AR_JOB_START,     /* opens the transport */
    AR_JOB_BUCKET,    /* buf: n floats, once ready has happened */
    AR_JOB_SUM_F32,   /* buf: n floats */
    AR_JOB_SUM_F64,   /* buf: n doubles */
    AR_JOB_TAIL,      /* buf: struct ar_tail */
    AR_JOB_BROADCAST, /* buf: n bytes, from rank number */
    AR_JOB_GATHER,    /* buf: n bytes, to all */
    AR_JOB_NATIVE,    /* buf: n floats, number times, MPI's own */
    AR_JOB_FINISH,    /* collective: shuts the transport down */
};

struct ar_job {
    enum ar_job_kind kind;
    int number;
    size_t n;
    void *buf, *all;
    struct ln_event *ready; /* NULL: at once */
    /* On the reducer's thread, when it is done without a fault; NULL: nothing. */
    void (*then)(void *ctx, void *buf, size_t n);
    void *ctx;
};

#define AR_JOBS 1024 /* waiting at most */

struct ar_reducer; /* push and wait from one thread at a time */

CM_MUST_CHECK cm_status ar_reducer_open(struct ar_reducer **out, bool fast, bool compress,
                                        int64_t ready_timeout_ms);
/* Jobs not begun are dropped, waiting ones abandoned. A thread that a library does not let go is
 * left behind, with all that it uses: the process is about to end. NULL is fine. */
void ar_reducer_close(struct ar_reducer **r);

/* Copies the job. With AR_JOBS waiting, waits for a place. */
void ar_reducer_push(struct ar_reducer *r, const struct ar_job *job);
/* Until all that was pushed is done. The first fault is every later wait's too, and later jobs are
 * skipped. */
CM_MUST_CHECK cm_status ar_reducer_wait(struct ar_reducer *r, struct cm_awake *deadline);

/* After a wait: */
int ar_reducer_rank(const struct ar_reducer *r);
int ar_reducer_size(const struct ar_reducer *r);
uint64_t ar_reducer_nbytes_sent(const struct ar_reducer *r);
double ar_reducer_busy_s(const struct ar_reducer *r); /* in jobs, waiting for lanes left out */
bool ar_reducer_failed(const struct ar_reducer *r);
/* From now on every job is a collective that w watches. Borrowed until close. */
void ar_reducer_set_watch(struct ar_reducer *r, struct ar_watch *w);

#endif
