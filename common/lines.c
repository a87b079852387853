/* Two buffers of lines, each struct head, the line, struct head, …: one is filled while the thread
 * writes the other; they change places when the thread is done. So the lock is held for the copy of
 * a line, or for the exchange of two pointers. */
#include "common/lines.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/mem.h"

#define AWAIT_NS 1000000 /* between two looks of cm_lines_await */

struct head {
    uint32_t n;
    int32_t id;
};

struct cm_lines {
    pthread_t thread;
    bool joined;
    atomic_size_t pending; /* bytes put and not yet written; changed under the lock */
    char *back;            /* (CM_LINES_NBYTES): the thread's */

    pthread_mutex_t lock;         /* guards the rest; held for a copy, never for a write */
    pthread_cond_t wake, drained; /* drained: the thread got on */
    char *front;                  /* (CM_LINES_NBYTES) */
    size_t n;                     /* bytes in it */
    bool owed;                    /* a loss is to be told */
    bool asleep, stop, ended;
    struct {
        struct cm_line_sink to;
        bool used;
        int64_t pending; /* lines, and calls under way: its ctx is in use */
        int64_t lost;
    } sink[CM_LINES_SINKS];
};

/* ---- the thread ---- */

/* With the lock held, which it gives up meanwhile. */
static void tell_lost(struct cm_lines *l)
{
    for (int i = 0; i < CM_LINES_SINKS; i++) {
        int64_t lost = l->sink[i].lost;
        struct cm_line_sink to = l->sink[i].to;
        if (lost == 0 || !l->sink[i].used)
            continue;
        l->sink[i].lost = 0;
        l->sink[i].pending++;
        pthread_mutex_unlock(&l->lock);
        to.lost(to.ctx, lost);
        pthread_mutex_lock(&l->lock);
        l->sink[i].pending--;
    }
}

/* With the lock held, which it gives up meanwhile, as tell_lost. */
static void write_one(struct cm_lines *l, struct head head, const char *line)
{
    struct cm_line_sink to = l->sink[head.id].to;
    pthread_mutex_unlock(&l->lock);
    to.write(to.ctx, line, head.n);
    pthread_mutex_lock(&l->lock);
    l->sink[head.id].pending--;
}

static void write_back(struct cm_lines *l)
{
    char *full = l->front;
    size_t n = l->n;
    struct head head;
    l->front = l->back;
    l->back = full;
    l->n = 0;
    l->owed = false;
    for (size_t at = 0; at < n; at += sizeof head + head.n) {
        memcpy(&head, full + at, sizeof head);
        write_one(l, head, full + at + sizeof head);
    }
    tell_lost(l);
    atomic_fetch_sub(&l->pending, n);
    pthread_cond_broadcast(&l->drained);
}

static void *write_all(void *ctx)
{
    struct cm_lines *l = ctx;
    const struct sched_param none = {0};
    pthread_setschedparam(pthread_self(), SCHED_BATCH, &none); /* who wakes it goes on first */
    pthread_mutex_lock(&l->lock);
    for (;;) {
        l->asleep = true;
        while (!l->stop && l->n == 0 && !l->owed)
            pthread_cond_wait(&l->wake, &l->lock);
        l->asleep = false;
        if (l->n == 0 && !l->owed)
            break;
        write_back(l);
    }
    l->ended = true;
    pthread_cond_broadcast(&l->drained);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- the others ---- */

static void release(struct cm_lines *l)
{
    pthread_cond_destroy(&l->wake);
    pthread_cond_destroy(&l->drained);
    pthread_mutex_destroy(&l->lock);
    cm_free(&l->front);
    cm_free(&l->back);
    cm_free(&l);
}

cm_status cm_lines_start(struct cm_lines **out)
{
    struct cm_lines *l;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&l, 1, sizeof *l, "a writer of lines"));
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, NULL);
    cm_cond_init(&l->drained);
    CM_GOTO(st, cm_alloc(&l->front, CM_LINES_NBYTES, 1, "lines"), out);
    CM_GOTO(st, cm_alloc(&l->back, CM_LINES_NBYTES, 1, "lines"), out);
    int code = pthread_create(&l->thread, NULL, write_all, l);
    if (code) {
        st = CM_FAIL(CM_EIO, "cannot start a thread: %s", strerror(code));
        goto out;
    }
    *out = l;
    return CM_OK;
out:
    release(l);
    return st;
}

bool cm_lines_stop(struct cm_lines *l, int timeout_ms)
{
    struct cm_deadline end = cm_deadline_in_ms(timeout_ms);
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->wake);
    while (!l->ended && cm_cond_wait(&l->drained, &l->lock, end))
        ;
    bool ended = l->ended, join = ended && !l->joined;
    l->joined = l->joined || join;
    pthread_mutex_unlock(&l->lock);
    if (join)
        pthread_join(l->thread, NULL);
    return ended;
}

void cm_lines_close(struct cm_lines **l)
{
    if (*l)
        release(*l);
    *l = NULL;
}

cm_status cm_lines_add_sink(struct cm_lines *l, const struct cm_line_sink *sink, int *id)
{
    int i = 0;
    pthread_mutex_lock(&l->lock);
    while (i < CM_LINES_SINKS && l->sink[i].used)
        i++;
    if (i < CM_LINES_SINKS) {
        l->sink[i].to = *sink;
        l->sink[i].used = true;
        l->sink[i].lost = 0; /* of who had the place before, and left */
    }
    pthread_mutex_unlock(&l->lock);
    *id = i;
    return i < CM_LINES_SINKS
               ? CM_OK
               : CM_FAIL(CM_EINTERNAL, "more than %d files of lines", CM_LINES_SINKS);
}

bool cm_lines_remove_sink(struct cm_lines *l, int id, int timeout_ms)
{
    struct cm_deadline end = cm_deadline_in_ms(timeout_ms);
    pthread_mutex_lock(&l->lock);
    while ((l->sink[id].pending > 0 || l->sink[id].lost > 0) && !l->ended &&
           cm_cond_wait(&l->drained, &l->lock, end))
        ;
    bool free = l->sink[id].pending == 0;
    if (free)
        l->sink[id].used = false;
    pthread_mutex_unlock(&l->lock);
    return free;
}

bool cm_lines_put(struct cm_lines *l, int id, const char *line, size_t n)
{
    struct head head = {.n = (uint32_t)n, .id = id};
    pthread_mutex_lock(&l->lock);
    bool open = !l->stop;
    bool fits = n <= CM_LINE_NBYTES && sizeof head + n <= CM_LINES_NBYTES - l->n;
    bool wake = open && l->asleep;
    if (open && fits) {
        memcpy(l->front + l->n, &head, sizeof head);
        memcpy(l->front + l->n + sizeof head, line, n);
        l->n += sizeof head + n;
        l->sink[id].pending++;
        atomic_fetch_add(&l->pending, sizeof head + n);
    } else if (open) {
        l->sink[id].lost++;
        l->owed = true;
    }
    pthread_mutex_unlock(&l->lock);
    if (wake)
        pthread_cond_signal(&l->wake);
    return open;
}

void cm_lines_await(struct cm_lines *l, int timeout_ms)
{
    const struct timespec pause = {.tv_nsec = AWAIT_NS};
    for (int64_t left_ns = timeout_ms * INT64_C(1000000); left_ns > 0; left_ns -= AWAIT_NS) {
        if (atomic_load(&l->pending) == 0)
            return;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
}
