/* The log: one line per event on stderr, "2026-11-22T04:10:03Z info train[0]: text"; on a terminal
 * "train: text". Any thread may log; a line is written whole. The sink is one of the two mutable
 * globals of Flywheel. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

#include "common/lines.h"
#include "common/status.h"

enum cm_log_level { CM_LOG_ERROR, CM_LOG_WARN, CM_LOG_INFO, CM_LOG_DEBUG };

/* Once, early in main, before threads. who ("train", "gateway") is copied.
 * FLYWHEEL_LOG=debug|info|warn|error sets the level; info otherwise. */
void cm_log_init(const char *who);
/* Whether a person watches stderr: it is a terminal, or CM_ENV_TERMINAL says that one is at the
 * other end of mpirun's pipe. */
bool cm_terminal(void);
#define CM_ENV_TERMINAL "FLYWHEEL_TERMINAL" /* "1": yes */
/* Shown in brackets after who from now on; -1 hides it (the default). */
void cm_log_set_rank(int rank);
void cm_log_set_level(enum cm_log_level level);
enum cm_log_level cm_log_get_level(void);

#define cm_log_error(...) cm_log_line(CM_LOG_ERROR, __VA_ARGS__)
#define cm_log_warn(...)  cm_log_line(CM_LOG_WARN, __VA_ARGS__)
#define cm_log_info(...)  cm_log_line(CM_LOG_INFO, __VA_ARGS__)
#define cm_log_debug(...) cm_log_line(CM_LOG_DEBUG, __VA_ARGS__)
void cm_log_line(enum cm_log_level level, const char *fmt, ...) CM_PRINTF(2, 3);

/* From now on lines are written by a thread, so that no disk stalls who logs; a signal that ends
 * the process because of a fault (SIGSEGV, SIGABRT, …) waits up to 200 ms for those under way, and
 * cm_main_end up to 2.2 s, even where nobody reads the log any more. Once, after signals were
 * blocked and before other threads. *out: for events, too; it stays the log's. */
CM_MUST_CHECK cm_status cm_log_detach(struct cm_lines **out);

/* Logs this thread's recorded fault at the given level: "what: message (CM_EIO at file.c:12)". what
 * may be NULL. At debug level if it has been reported as an error, or another process does so
 * (status.h). */
void cm_error_report(enum cm_log_level level, cm_status st, const char *what);

/* The end of main (before any _exit, too): reports st if it is a failure (not CM_EPREEMPTED) that
 * has not been reported, and returns the exit code. */
int cm_main_end(cm_status st);

#endif
