/* Lines for files, written by a thread of their own, so that whoever logs or tells of an event pays
 * for a copy under a lock and never for a disk.
 *
 *   put --> buffer (128 KiB) --> thread --> the sink's write, in the order of the puts
 *
 * A line that finds no room is dropped and counted; the sink is told how many as soon as it can
 * write again. Nothing is lost at a usual end (cm_lines_stop) or, while the disk is well, when the
 * signal of a fault ends the process (cm_log_detach, log.h); other signals that end it at once, as
 * SIGKILL does, take what was put some microseconds ago. Any thread. */
#ifndef COMMON_LINES_H
#define COMMON_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define CM_LINES_NBYTES 131072
#define CM_LINE_NBYTES  16384 /* a longer line is dropped, too */
#define CM_LINES_SINKS  4

struct cm_lines;
struct cm_line_sink {
    void (*write)(void *ctx, const char *line, size_t n); /* on the thread; may hang */
    void (*lost)(void *ctx, int64_t n);                   /* the same: so many lines are missing */
    void *ctx;
};

CM_MUST_CHECK cm_status cm_lines_start(struct cm_lines **out);
/* Writes what was put and ends the thread. False: it hangs in a file, for longer than that. From
 * the call on, puts are refused; what was opened stays, as threads that nobody waits for may go on
 * putting. May be called again. */
bool cm_lines_stop(struct cm_lines *l, int timeout_ms);
/* Only after a stop that was true, when no other thread is left. NULL is fine. */
void cm_lines_close(struct cm_lines **l);

/* *id names it for cm_lines_put; it is copied, its ctx borrowed until it is removed. */
CM_MUST_CHECK
cm_status cm_lines_add_sink(struct cm_lines *l, const struct cm_line_sink *sink, int *id);
/* Waits until its lines are written. False: the thread hangs, and may use ctx for ever. */
bool cm_lines_remove_sink(struct cm_lines *l, int id, int timeout_ms);

/* True: taken, or counted as dropped. False: stopped, the caller writes it. Never waits. */
bool cm_lines_put(struct cm_lines *l, int id, const char *line, size_t n);

/* Until all that was put is written, for at most that long. Fit for a signal handler. */
void cm_lines_await(struct cm_lines *l, int timeout_ms);

#endif
