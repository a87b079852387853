#include "allreduce/reducer.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "allreduce/join.h"
#include "allreduce/sum.h"
#include "allreduce/transport.h"
#include "common/cond.h"
#include "common/mem.h"

#define LEAVE_S        1 /* for a thread inside MPI to come back from it */
#define TIMER_SLACK_NS 1000
#define SPIN_NS        30000 /* about what it costs to sleep and be woken */

struct ar_reducer {
    bool fast, compress;
    int64_t ready_timeout_ms;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* monotonic clock; both directions */
    /* Guarded by lock: */
    struct ar_job jobs[AR_JOBS]; /* ring: number i is at i % AR_JOBS */
    atomic_ullong pushed, done;  /* read without it to spin */
    bool quit;
    cm_status st; /* the first fault */
    char where[64], text[512];

    /* Owner: the reducer thread; others read after a wait. */
    struct ar_transport *_Atomic transport;
    struct ar_summer summer;
    struct ar_watch *watch;
    int64_t busy_ns;
};

static cm_status start(struct ar_reducer *r)
{
    struct ar_transport *t;
    CM_TRY(ar_transport_open(&t));
    atomic_store(&r->transport, t);
    return ar_summer_init(&r->summer, t, r->compress);
}

static cm_status native(struct ar_transport *t, const struct ar_job *job)
{
    for (int i = 0; i < job->number; i++)
        CM_TRY(t->ops->native_sum(t, job->buf, job->n));
    return CM_OK;
}

static cm_status sum_tail(struct ar_reducer *r, struct ar_tail *tail)
{
    struct ar_transport *t = r->transport;
    if (!r->fast)
        return ar_sum_tail(&r->summer, tail);
    CM_TRY(t->ops->sum(t, AR_KIND_F64, tail->sum, AR_TAIL_SUMS));
    return t->ops->sum(t, AR_KIND_BITS, &tail->bits, 1);
}

static cm_status run(struct ar_reducer *r, const struct ar_job *job)
{
    struct ar_transport *t = r->transport;
    switch (job->kind) {
    case AR_JOB_START:
        return start(r);
    case AR_JOB_BUCKET:
    case AR_JOB_SUM_F32:
        return r->fast ? t->ops->sum(t, AR_KIND_F32, job->buf, job->n)
                       : ar_sum_f32(&r->summer, job->buf, job->n);
    case AR_JOB_SUM_F64:
        return r->fast ? t->ops->sum(t, AR_KIND_F64, job->buf, job->n)
                       : ar_sum_f64(&r->summer, job->buf, job->n);
    case AR_JOB_TAIL:
        return sum_tail(r, job->buf);
    case AR_JOB_BROADCAST:
        return t->ops->broadcast(t, job->buf, job->n, job->number);
    case AR_JOB_GATHER:
        return t->ops->gather(t, job->buf, job->n, job->all);
    case AR_JOB_NATIVE:
        return native(t, job);
    case AR_JOB_FINISH:
        return t->ops->finish(t);
    }
    return CM_FAIL(CM_EINTERNAL, "job %d", (int)job->kind);
}

static const char *doing(enum ar_job_kind kind)
{
    switch (kind) {
    case AR_JOB_START:
        return "start";
    case AR_JOB_BUCKET:
        return "sum of a gradient bucket";
    case AR_JOB_SUM_F32:
    case AR_JOB_SUM_F64:
        return "sum";
    case AR_JOB_TAIL:
        return "end of a step";
    case AR_JOB_BROADCAST:
        return "broadcast";
    case AR_JOB_GATHER:
        return "gather";
    case AR_JOB_NATIVE:
        return "MPI's own sum";
    case AR_JOB_FINISH:
        return "end of the job";
    }
    return "";
}

static cm_status run_watched(struct ar_reducer *r, const struct ar_job *job)
{
    if (job->ready)
        CM_TRY(ln_event_sync(job->ready, cm_deadline_in_ms(r->ready_timeout_ms)));
    int64_t begin_ns = cm_now_ns();
    if (job->kind == AR_JOB_FINISH)
        ar_watch_part(r->watch);
    ar_watch_enter(r->watch, doing(job->kind));
    cm_status st = run(r, job);
    ar_watch_leave(r->watch);
    r->busy_ns += cm_now_ns() - begin_ns;
    if (st == CM_OK && job->then)
        job->then(job->ctx, job->buf, job->n);
    return st == CM_OK ? st : CM_CONTEXT(st, "%s", doing(job->kind));
}

/* The other side often needs less than a sleep costs. */
static void spin_while(atomic_ullong *counter, unsigned long long value)
{
    int64_t begin_ns = cm_now_ns();
    while (atomic_load(counter) == value && cm_now_ns() - begin_ns < SPIN_NS)
        sched_yield();
}

static void *reduce(void *arg)
{
    struct ar_reducer *r = arg;
    prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS); /* the default of 50 us would triple the short naps */
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (r->done == r->pushed && !r->quit)
            pthread_cond_wait(&r->changed, &r->lock);
        if (r->quit)
            break;
        struct ar_job job = r->jobs[r->done % AR_JOBS];
        cm_status st = r->st;
        pthread_mutex_unlock(&r->lock);

        if (st == CM_OK)
            st = run_watched(r, &job);

        pthread_mutex_lock(&r->lock);
        if (st != CM_OK && r->st == CM_OK) {
            r->st = st;
            snprintf(r->where, sizeof r->where, "%s", cm_error_where());
            snprintf(r->text, sizeof r->text, "%s", cm_error_text());
        }
        r->done++;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        spin_while(&r->pushed, r->done);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

cm_status ar_reducer_open(struct ar_reducer **out, bool fast, bool compress,
                          int64_t ready_timeout_ms)
{
    *out = NULL;
    struct ar_reducer *r;
    CM_TRY(cm_alloc(&r, 1, sizeof *r, "reducer"));
    r->fast = fast;
    r->compress = compress;
    r->ready_timeout_ms = ready_timeout_ms;
    pthread_mutex_init(&r->lock, NULL);
    cm_cond_init(&r->changed);

    sigset_t all, before; /* signals are main's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->thread, NULL, reduce, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        cm_free(&r);
        return CM_FAIL(CM_EINTERNAL, "reducer thread: %s", strerror(rc));
    }
    pthread_setname_np(r->thread, "fw-reduce");
    *out = r;
    return CM_OK;
}

void ar_reducer_close(struct ar_reducer **reducer)
{
    struct ar_reducer *r = *reducer;
    if (!r)
        return;
    *reducer = NULL;
    pthread_mutex_lock(&r->lock);
    r->quit = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    struct ar_transport *t = atomic_load(&r->transport);
    if (t)
        atomic_store(&t->abandoned, true);

    if (!ar_join(r->thread, LEAVE_S * 1000))
        return;
    ar_summer_release(&r->summer);
    t = atomic_load(&r->transport);
    ar_transport_close(&t);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    cm_free(&r);
}

void ar_reducer_push(struct ar_reducer *r, const struct ar_job *job)
{
    pthread_mutex_lock(&r->lock);
    while (r->pushed - r->done == AR_JOBS)
        pthread_cond_wait(&r->changed, &r->lock);
    r->jobs[r->pushed++ % AR_JOBS] = *job;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

cm_status ar_reducer_wait(struct ar_reducer *r, struct cm_awake *deadline)
{
    bool in_time = true;
    spin_while(&r->done, r->pushed - 1); /* only the last job counts */
    pthread_mutex_lock(&r->lock);
    while (r->done < r->pushed && in_time)
        in_time = cm_cond_wait_awake(&r->changed, &r->lock, deadline);
    bool finished = r->done == r->pushed;
    cm_status st = r->st;
    pthread_mutex_unlock(&r->lock);
    if (st != CM_OK)
        return cm_error_adopt(st, r->where, r->text); /* written once, before st */
    return finished ? CM_OK : CM_FAIL(CM_ETIMEDOUT, "the other ranks did not come");
}

int ar_reducer_rank(const struct ar_reducer *r)
{
    return r->transport->rank;
}

int ar_reducer_size(const struct ar_reducer *r)
{
    return r->transport->size;
}

uint64_t ar_reducer_nbytes_sent(const struct ar_reducer *r)
{
    return r->transport->nbytes_sent;
}

double ar_reducer_busy_s(const struct ar_reducer *r)
{
    return (double)r->busy_ns / 1e9;
}

bool ar_reducer_failed(const struct ar_reducer *r)
{
    return r->st != CM_OK;
}

void ar_reducer_set_watch(struct ar_reducer *r, struct ar_watch *w)
{
    r->watch = w;
}
