/* What to do when a role has ended. Pure: no clock, no process. */
#ifndef LAUNCHER_RESTART_H
#define LAUNCHER_RESTART_H

#include <stdbool.h>
#include <stdint.h>

struct la_backoff {
    int64_t initial_ms,
        max_ms;         /* the first wait, doubled with each failure in a row up to max_ms */
    int64_t healthy_ms; /* a life at least this long ends the row */
};

enum la_verdict {
    LA_DONE,   /* ended as it should */
    LA_FAILED, /* ended, and another try would be no better or is not allowed */
    LA_AGAIN,
};

struct la_life {
    bool once; /* ending with 0 or 75 (preempted) is what the role is for; else it never should */
    int exit_code;
    int64_t ms;
    int failures_in_a_row; /* before it, and */
    bool has_worked;       /* as the last verdict of this role says, 0 for its first life */
};

struct la_restart {
    enum la_verdict verdict;
    int64_t delay_ms; /* LA_AGAIN: until the next start */
    int failures_in_a_row;
    bool has_worked; /* a life was healthy: what it needs was there, and fitted */
};

/* What la_exit_is_final is not tried again, but of a role that has worked: a disk or GPU that it
 * found then, and does not find now, may come back. restarts_left < 0: no limit. */
struct la_restart la_restart_decide(const struct la_backoff *backoff, const struct la_life *life,
                                    int64_t restarts_left);

#define LA_EXIT_USAGE     2
#define LA_EXIT_PREEMPTED 75
#define LA_EXIT_UNFIT     78  /* what it found does not fit (cm_status_exit_code) */
#define LA_EXIT_NOT_RUN   126 /* it could not be started */
#define LA_EXIT_ABSENT    127 /* there is no such program, or none of a library that it needs */

/* Another first life would end in the same way: usage, configuration, unfit, absent. */
bool la_exit_is_final(int exit_code);
/* A wait status as shells number it: the exit code, or 128 + the signal. */
int la_exit_code(int wait_status);

#endif
