/* One writer per run directory. The lease is the highest folder RUN/gen-NNNNNN/, made whole (with
 * owner.json) by one rename to a name not taken: of two that race exactly one succeeds, also on
 * NFS.
 *
 * Taking over fences the old owner off in two ways: it sees the higher generation when it checks,
 * and its drafts are gone (ps_store_open_writer renames them away), so that a rename it had already
 * begun fails. */
#ifndef PARAMETER_LEASE_H
#define PARAMETER_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"

struct ps_lease; /* check may be called from any thread; the rest by one */

#define PS_LEASE_JOB 64

struct ps_lease_owner {
    int64_t generation;
    char host[256];
    int64_t pid;
    char boot[CM_UUID_TEXT]; /* this boot of the kernel: after another one all its processes are
                                dead */
    int64_t
        pid_space; /* inode of the pid namespace: in another container a pid means nothing here */
    int64_t
        start_ticks; /* start of the process since boot: a pid may be used again; -1: no /proc */
    char run[CM_UUID_TEXT];
    char job[PS_LEASE_JOB]; /* of the supervisor or of Slurm, that starts one life of a run after
                               another; "": none */
    int64_t life;           /* in that job: when a later one starts, its predecessors are over */
    double since_utc_s;
    bool released;
};

/* Takes the lease of run_dir (made when missing) for the calling process. run: the run's UUID as
 * text, "" for none. CM_EBUSY: it has a live owner, or one on another host, in another container or
 * behind a /proc that hides it, that cannot be looked at from here; the message has host, pid,
 * since when, and what to do. An owner that is dead or has released is succeeded, and so is one out
 * of sight that was an earlier life of the same job (FLYWHEEL_JOB and FLYWHEEL_LIFE, set by whoever
 * starts lives again): its host is gone or cut off, and what runs on there is fenced off. steal:
 * take it from any owner, for when a person knows that the other is gone or wants it stopped. */
CM_MUST_CHECK cm_status ps_lease_acquire(struct ps_lease **out, const char *run_dir,
                                         const char *run, bool steal);
/* CM_EFENCED when another has taken over (names it): stop writing. One listing of the run
 * directory. */
CM_MUST_CHECK cm_status ps_lease_check(const struct ps_lease *lease);
int64_t ps_lease_generation(const struct ps_lease *lease);
/* Marks it released, so that a successor anywhere need not ask, and closes. NULL is fine. A failure
 * is only warned about: the process ends, and a successor finds it dead. */
void ps_lease_release(struct ps_lease **lease);
/* The current owner, released or not; CM_ENOTFOUND when there never was one. */
CM_MUST_CHECK cm_status ps_lease_show(struct ps_lease_owner *out, const char *run_dir);

#endif
