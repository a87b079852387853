/* The CPU's lanes: one thread per lane behind a ring of entries.
 *
 *   enqueuer  ──▶ [head … tail)  ──▶  lane thread: pop, then run | happen | wait
 *
 * An event hands out a ticket per record; a wait carries the ticket that was newest when it was
 * enqueued, and passes when that very record has happened, whatever lanes other records were made
 * on. Since a wait can only name a record enqueued before it, lanes can not wait for each other in
 * a circle.
 *
 * Locks: a lane's and an event's are never held together, and none while a task runs. */
#include "common/lane.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cond.h"
#include "common/log.h"
#include "common/mem.h"

#define RING  1024 /* a power of two */
#define AHEAD 64   /* records of one event that may be under way at once */

enum kind { KIND_RUN, KIND_RECORD, KIND_WAIT };

struct entry {
    enum kind kind;
    ln_task fn;
    void *ctx;
    int64_t a, b;
    struct event *event;
    uint64_t ticket;
};

struct event {
    struct ln_event base;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t changed;
    uint64_t recorded; /* tickets given out: 1, 2, …; 0: never recorded */
    uint64_t happened; /* every ticket up to here has happened */
    uint64_t ahead;    /* bit i: ticket happened + 1 + i has, too (bit 0 is always 0) */
};

struct lane {
    struct ln_lane base;
    pthread_t thread;
    char name[16];
    void (*on_start)(void *ctx);
    void *on_start_ctx;

    pthread_mutex_t lock;    /* guards the rest */
    pthread_cond_t work;     /* the thread waits: for an entry, or for closing */
    pthread_cond_t progress; /* enqueuers wait: for a place, or until all is done */
    struct entry ring[RING];
    uint64_t head, tail; /* entries done, entries enqueued; the place is the number modulo RING */
    bool closing;
    cm_status fault; /* the first since the last sync */
    struct cm_error record;
};

/* --- events --- */

/* The lock is held. */
static bool has_happened(const struct event *e, uint64_t ticket)
{
    if (ticket <= e->happened)
        return true;
    uint64_t i = ticket - e->happened - 1;
    return i < AHEAD && (e->ahead >> i & 1);
}

static uint64_t take_ticket(struct event *e)
{
    pthread_mutex_lock(&e->lock);
    while (e->recorded - e->happened ==
           AHEAD) /* ends: lanes need nothing of this thread to go on */
        pthread_cond_wait(&e->changed, &e->lock);
    uint64_t ticket = ++e->recorded;
    pthread_mutex_unlock(&e->lock);
    return ticket;
}

static uint64_t newest_ticket(struct event *e)
{
    pthread_mutex_lock(&e->lock);
    uint64_t ticket = e->recorded;
    pthread_mutex_unlock(&e->lock);
    return ticket;
}

static void happen(struct event *e, uint64_t ticket)
{
    pthread_mutex_lock(&e->lock);
    e->ahead |= UINT64_C(1) << (ticket - e->happened - 1);
    while (e->ahead & 1) {
        e->happened++;
        e->ahead >>= 1;
    }
    /* Under the lock: a waiter may close the event as soon as it is let go. */
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static bool wait_ticket(struct event *e, uint64_t ticket, struct cm_deadline deadline)
{
    bool in_time = true;
    struct cm_awake awake = cm_awake_until(deadline);
    pthread_mutex_lock(&e->lock);
    while (!has_happened(e, ticket) && in_time)
        in_time = cm_cond_wait_awake(&e->changed, &e->lock, &awake);
    bool happened = has_happened(e, ticket);
    pthread_mutex_unlock(&e->lock);
    return happened;
}

static struct event *event_of(struct ln_event *e)
{
    return (struct event *)(void *)e; /* base comes first */
}

static cm_status event_sync(struct ln_event *base, struct cm_deadline deadline)
{
    struct event *e = event_of(base);
    if (wait_ticket(e, newest_ticket(e), deadline))
        return CM_OK;
    return CM_FAIL(CM_ETIMEDOUT, "an event has not happened by its deadline");
}

static void event_close(struct ln_event *base)
{
    struct event *e = event_of(base);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    cm_free(&e);
}

static const struct ln_event_kind event_kind = {.sync = event_sync, .close = event_close};

cm_status ln_event_open(struct ln_event **out)
{
    struct event *self;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "an event"));
    cm_cond_init(&self->changed);
    pthread_mutex_init(&self->lock, NULL);
    self->base.kind = &event_kind;
    *out = &self->base;
    return CM_OK;
}

/* --- the lane's thread --- */

static void keep_fault(struct lane *lane, cm_status st)
{
    pthread_mutex_lock(&lane->lock);
    lane->fault = st;
    cm_error_save(&lane->record);
    pthread_mutex_unlock(&lane->lock);
}

static void execute(struct lane *lane, const struct entry *entry, bool faulty)
{
    cm_status st = CM_OK;
    switch (entry->kind) {
    case KIND_RUN:
        if (!faulty)
            st = entry->fn(entry->ctx, entry->a, entry->b);
        if (st != CM_OK)
            keep_fault(lane, st);
        return;
    case KIND_RECORD:
        happen(entry->event, entry->ticket);
        return;
    case KIND_WAIT:
        /* Without a deadline: what it waits for was enqueued earlier and always happens, faults or
         * not. */
        (void)wait_ticket(entry->event, entry->ticket, cm_deadline_in_ms(-1));
        return;
    }
}

static void *lane_main(void *arg)
{
    struct lane *lane = arg;
    if (lane->on_start)
        lane->on_start(lane->on_start_ctx);
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        while (lane->head == lane->tail && !lane->closing)
            pthread_cond_wait(&lane->work, &lane->lock);
        if (lane->head == lane->tail)
            break;
        struct entry entry = lane->ring[lane->head % RING];
        bool faulty = lane->fault != CM_OK;
        pthread_mutex_unlock(&lane->lock);
        execute(lane, &entry, faulty);
        pthread_mutex_lock(&lane->lock);
        bool was_full = lane->tail - lane->head == RING;
        lane->head++;
        if (was_full || lane->head == lane->tail)
            pthread_cond_broadcast(&lane->progress);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

/* --- lanes --- */

static cm_status start_thread(struct lane *lane, int core)
{
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0)
        return CM_FAIL(CM_ENOMEM, "no memory for a thread");
    int error = 0;
    if (core >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        if (core < CPU_SETSIZE)
            CPU_SET(core, &cores);
        error = pthread_attr_setaffinity_np(&attr, sizeof cores, &cores);
    }
    if (!error)
        error = pthread_create(&lane->thread, &attr, lane_main, lane);
    pthread_attr_destroy(&attr);
    if (error)
        return CM_FAIL(CM_EINVAL, "cannot start lane '%s' on core %d (-1: any): %s", lane->name,
                       core, strerrordesc_np(error));
    pthread_setname_np(lane->thread, lane->name);
    return CM_OK;
}

static struct lane *lane_of(struct ln_lane *lane)
{
    return (struct lane *)(void *)lane; /* base comes first */
}

static void release(struct lane *self)
{
    pthread_cond_destroy(&self->progress);
    pthread_cond_destroy(&self->work);
    pthread_mutex_destroy(&self->lock);
    cm_free(&self);
}

static void lane_close(struct ln_lane *lane)
{
    struct lane *self = lane_of(lane);
    pthread_mutex_lock(&self->lock);
    self->closing = true;
    pthread_cond_signal(&self->work);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    if (self->fault != CM_OK)
        cm_log_error("lane %s: %s (%s at %s)", self->name, self->record.text,
                     cm_status_name(self->fault), self->record.where);
    release(self);
}

static void enqueue(struct lane *lane, const struct entry *entry)
{
    pthread_mutex_lock(&lane->lock);
    while (lane->tail - lane->head == RING)
        pthread_cond_wait(&lane->progress, &lane->lock);
    bool was_empty = lane->head == lane->tail;
    lane->ring[lane->tail % RING] = *entry;
    lane->tail++;
    if (was_empty) /* only then may the thread be asleep */
        pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
}

static void lane_run(struct ln_lane *lane, ln_task fn, void *ctx, int64_t a, int64_t b)
{
    enqueue(lane_of(lane), &(struct entry){.kind = KIND_RUN, .fn = fn, .ctx = ctx, .a = a, .b = b});
}

static void lane_record(struct ln_lane *lane, struct ln_event *e)
{
    enqueue(lane_of(lane), &(struct entry){.kind = KIND_RECORD,
                                           .event = event_of(e),
                                           .ticket = take_ticket(event_of(e))});
}

static void lane_wait(struct ln_lane *lane, struct ln_event *e)
{
    enqueue(lane_of(lane), &(struct entry){.kind = KIND_WAIT,
                                           .event = event_of(e),
                                           .ticket = newest_ticket(event_of(e))});
}

static cm_status lane_sync(struct ln_lane *base, struct cm_deadline deadline)
{
    struct lane *lane = lane_of(base);
    bool in_time = true;
    struct cm_awake awake = cm_awake_until(deadline);
    pthread_mutex_lock(&lane->lock);
    while (lane->head != lane->tail && in_time)
        in_time = cm_cond_wait_awake(&lane->progress, &lane->lock, &awake);
    uint64_t left = lane->tail - lane->head;
    cm_status st = left == 0 ? lane->fault : CM_ETIMEDOUT;
    if (left == 0 && st != CM_OK) {
        cm_error_restore(&lane->record);
        lane->fault = CM_OK;
    }
    pthread_mutex_unlock(&lane->lock);
    if (left > 0)
        return CM_FAIL(CM_ETIMEDOUT, "lane %s: %llu entries not done by the deadline", lane->name,
                       (unsigned long long)left);
    return st;
}

static const struct ln_lane_kind lane_kind = {.run = lane_run,
                                              .record = lane_record,
                                              .wait = lane_wait,
                                              .sync = lane_sync,
                                              .close = lane_close};

cm_status ln_lane_open(struct ln_lane **out, const struct ln_config *cfg)
{
    cm_status st;
    struct lane *self;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "a lane"));
    snprintf(self->name, sizeof self->name, "%s", cfg->name ? cfg->name : "lane");
    self->on_start = cfg->on_start;
    self->on_start_ctx = cfg->on_start_ctx;
    pthread_mutex_init(&self->lock, NULL);
    cm_cond_init(&self->work);
    cm_cond_init(&self->progress);
    CM_GOTO(st, start_thread(self, cfg->core), no_thread);
    self->base.kind = &lane_kind;
    *out = &self->base;
    return CM_OK;
no_thread:
    release(self);
    return st;
}

/* --- of any kind --- */

void ln_lane_close(struct ln_lane **lane)
{
    if (*lane)
        (*lane)->kind->close(*lane);
    *lane = NULL;
}

void ln_lane_run(struct ln_lane *lane, ln_task fn, void *ctx, int64_t a, int64_t b)
{
    lane->kind->run(lane, fn, ctx, a, b);
}

void ln_lane_record(struct ln_lane *lane, struct ln_event *e)
{
    lane->kind->record(lane, e);
}

void ln_lane_wait(struct ln_lane *lane, struct ln_event *e)
{
    lane->kind->wait(lane, e);
}

cm_status ln_lane_sync(struct ln_lane *lane, struct cm_deadline deadline)
{
    return lane->kind->sync(lane, deadline);
}

cm_status ln_event_sync(struct ln_event *e, struct cm_deadline deadline)
{
    return e->kind->sync(e, deadline);
}

void ln_event_close(struct ln_event **e)
{
    if (*e)
        (*e)->kind->close(*e);
    *e = NULL;
}
