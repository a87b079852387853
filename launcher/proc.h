/* A command and everything it starts, as one thing that can be ended for certain.
 *
 *   supervisor ──lifeline── guardian ── command ── whatever it starts (mpirun's ranks, …)
 *
 * The guardian is a forked child, in a session of its own, and the subreaper of all below it, so
 * nothing below can get away by forking, setsid or dying in between. It ends what is below it and
 * then itself
 *   - when the command has ended (what it left behind must not meet its successor), or
 *   - when the lifeline closes: the supervisor asked for it, or was killed with SIGKILL.
 * A killed guardian takes its command along (PR_SET_PDEATHSIG), and what is left then falls to the
 * supervisor, a subreaper too. cgroups would do the same where they can be written to, which
 * containers rarely allow.
 *
 * The supervisor is one thread. */
#ifndef LAUNCHER_PROC_H
#define LAUNCHER_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/status.h"

struct la_command {       /* borrowed for la_proc_start, but for scratch */
    char *const *argv;    /* NULL-terminated; argv[0] is searched in PATH */
    char *const *env;     /* "NAME=value" to add or replace, NULL-terminated; NULL: none */
    const char *log_path; /* appended to by stdout and stderr; NULL: the supervisor's own */
    const char *scratch;  /* a folder made new (0700) before and removed after; NULL: none; outlives
                             the la_proc */
    int keep_fd; /* a descriptor that the guardian holds until all are gone (a lock); -1: none */
};

struct la_proc {
    pid_t guardian; /* 0: none */
    pid_t pid;      /* of the command */
    uint64_t ticks; /* start time of pid, to tell it from a successor with the same number */
    int lifeline;
    const char *scratch;
};

/* Once, before the first start: makes the caller a subreaper. */
CM_MUST_CHECK
cm_status la_proc_init(void);
/* On success the command has been exec'd. CM_ENOTFOUND and others name argv[0] and the reason. */
CM_MUST_CHECK
cm_status la_proc_start(struct la_proc *p, const struct la_command *cmd);
/* Sends a signal to the command alone (not to what it started). */
void la_proc_signal(struct la_proc *p, int signal);
/* SIGKILL to everything. la_proc_ended tells when it is done. */
void la_proc_kill(struct la_proc *p);
/* True once, when the command and all below it are gone; *wait_status is the command's. poll()
 * p->lifeline for POLLIN before. guardians: the supervisor's others, that live on. */
bool la_proc_ended(struct la_proc *p, int *wait_status, const pid_t *guardians, size_t n);

/* Start time of a process in clock ticks since boot; 0 when there is no such process. */
uint64_t la_process_ticks(pid_t pid);

#endif
