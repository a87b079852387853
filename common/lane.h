/* Lanes: in-order queues of work. On a CPU a lane is a thread; on a GPU a stream. Whoever enqueues
 * never waits for the work; lanes wait for each other by events.
 *
 *   ln_lane_run(a, fn, ctx, i, j);   fn(ctx, i, j) runs on a, after all that a was given before
 *   ln_lane_record(a, e);            e happens when a gets here
 *   ln_lane_wait(b, e);              b goes no further until e has happened
 *
 * A task that fails stops its lane: later tasks are skipped (events still happen, so that nobody
 * waits for ever), and the fault is told by ln_lane_sync. A backend whose lanes are streams runs fn
 * at once on the calling thread: fn then only enqueues kernels. So fn touches its buffers through
 * the lane it was given, and nothing else. */
#ifndef COMMON_LANE_H
#define COMMON_LANE_H

#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"

struct ln_lane;  /* enqueue from one thread at a time */
struct ln_event; /* any thread */

typedef cm_status (*ln_task)(void *ctx, int64_t a, int64_t b);

/* A kind of lane: threads are lane.c's; a device brings its own (model/device.h), whose lanes and
 * events are made by it and begin with these structs. A lane records and waits for events of its
 * own kind; any thread may ln_event_sync any event. */
struct ln_lane_kind {
    void (*run)(struct ln_lane *lane, ln_task fn, void *ctx, int64_t a, int64_t b);
    void (*record)(struct ln_lane *lane, struct ln_event *e);
    void (*wait)(struct ln_lane *lane, struct ln_event *e);
    cm_status (*sync)(struct ln_lane *lane, struct cm_deadline deadline);
    void (*close)(struct ln_lane *lane);
};
struct ln_event_kind {
    cm_status (*sync)(struct ln_event *e, struct cm_deadline deadline);
    void (*close)(struct ln_event *e);
};
struct ln_lane {
    const struct ln_lane_kind *kind;
};
struct ln_event {
    const struct ln_event_kind *kind;
};

struct ln_config {
    const char *name; /* thread name, at most 15 characters */
    int core;         /* pin to this core; -1: do not pin: two jobs pinned to one core crawl */
    /* Called first on the lane's thread, e.g. to set its OpenMP thread count. May be NULL. */
    void (*on_start)(void *ctx);
    void *on_start_ctx;
};

/* A lane that is a thread. */
CM_MUST_CHECK cm_status ln_lane_open(struct ln_lane **out, const struct ln_config *cfg);
/* Runs what is enqueued to its end, joins the thread. NULL is fine. */
void ln_lane_close(struct ln_lane **lane);

/* Never allocates; when the queue (1,024 entries) is full, the caller waits for a place. */
void ln_lane_run(struct ln_lane *lane, ln_task fn, void *ctx, int64_t a, int64_t b);
/* e must outlive the lane's getting here. Recording again makes e not-yet-happened until then: a
 * wait enqueued after a record (on any lane, by the same thread) waits for that very record. At
 * most 64 records of one event may be under way; the caller waits before it makes another. */
void ln_lane_record(struct ln_lane *lane, struct ln_event *e);
void ln_lane_wait(struct ln_lane *lane, struct ln_event *e);
/* Waits until the lane is empty; returns its first fault since the last sync (adopted as this
 * thread's own), after which the lane works again. CM_ETIMEDOUT leaves it running. Time in which
 * the process is stopped does not count here, nor for an event (struct cm_awake). */
CM_MUST_CHECK cm_status ln_lane_sync(struct ln_lane *lane, struct cm_deadline deadline);

/* An event for such lanes. */
CM_MUST_CHECK cm_status ln_event_open(struct ln_event **out);
void ln_event_close(struct ln_event **e);
/* The calling thread waits for the newest record. An event never recorded has happened. */
CM_MUST_CHECK cm_status ln_event_sync(struct ln_event *e, struct cm_deadline deadline);

#endif
