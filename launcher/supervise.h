/* The supervisor: starts roles, restarts those that end with growing waits, and takes all down in
 * order on TERM, INT, HUP or USR1 (a second one ends everything at once). Used by `up` for the
 * tiers of a machine and by `train --ranks` for one mpirun. One thread; while it runs it owns the
 * process's signals and children. */
#ifndef LAUNCHER_SUPERVISE_H
#define LAUNCHER_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"
#include "launcher/argv.h"
#include "launcher/lives.h"
#include "launcher/proc.h"
#include "launcher/restart.h"

enum la_state {
    LA_STATE_WAITING, /* not started yet */
    LA_STATE_RUNNING,
    LA_STATE_STOPPING,
    LA_STATE_BACKOFF,
    LA_STATE_DONE,
    LA_STATE_FAILED,
    LA_STATE_STOPPED,
    LA_STATE_COUNT
};
extern const char *const la_state_names[]; /* "waiting", … */

/* What a life is told of itself: its job, the same for all lives of a role, and its number. */
#define LA_ENV_JOB  "FLYWHEEL_JOB"
#define LA_ENV_LIFE "FLYWHEEL_LIFE"

#define LA_ROLE_NAME 32
#define LA_ROLES_MAX 80

struct la_role {
    char name[LA_ROLE_NAME];
    struct la_argv argv, env; /* owned */
    char *log_path, *scratch; /* owned; NULL: none */
    int stop_signal;
    int stop_phase; /* roles of phase p are told to stop when all of the phases below are gone */
    bool once; /* see la_restart_decide; another role is tried for ever, whatever its lives say but
                  that another would be no better: a disk that was full may have room again */
    int64_t max_restarts;   /* -1: no limit */
    struct la_lives *lives; /* owned; NULL: lives are not looked at */
    /* The supervisor's: */
    enum la_state state;
    struct la_proc proc;
    int64_t restarts;
    int failures_in_a_row;
    bool has_worked;            /* see la_restart */
    int64_t started_ns, due_ns; /* monotonic */
    struct cm_deadline lost_at; /* when a life that says it is lost is ended; never: it does not */
    double since_utc;           /* of the state */
    int last_exit;              /* exit code of the last life; -1: none yet */
};
void la_role_release(struct la_role *role);

struct la_supervisor {
    struct la_role *roles;
    size_t nroles;
    struct la_backoff backoff;
    int64_t stop_timeout_ms; /* per phase, and for a life that is lost, until it is killed */
    int keep_fd;             /* held by all guardians; -1: none */
    void (*changed)(const struct la_supervisor *s,
                    void *arg); /* a role's state changed; NULL: nobody cares */
    void *arg;
    bool stopping; /* out: it was asked to stop */
};

/* Until no role runs or waits to: all are done, failed, or were stopped. Fails only for want of
 * resources; roles that cannot be started count as ended with LA_EXIT_ABSENT or LA_EXIT_NOT_RUN. */
CM_MUST_CHECK
cm_status la_supervise(struct la_supervisor *s);

#endif
