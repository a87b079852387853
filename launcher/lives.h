/* The lives of a supervised run: what each left behind, whether the next can do better, and a line
 * in RUN/events.jsonl for each of the two. A life that ends badly says where in its summary
 * ("failure"): RUN/summary.json of a training, RUN/online/summary.json of a loop. A step that fails
 * three times will fail again; so will a run that ends by a fault of its own three times without a
 * newer version, in whichever step that is. One thread at a time. */
#ifndef LAUNCHER_LIVES_H
#define LAUNCHER_LIVES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/file.h"
#include "common/status.h"

#define LA_LIVES_TRIES 3

struct la_lives; /* functions below take NULL: nothing is remembered, everything is tried again */

/* run_dir need not exist yet. tier: "train" or "online"; any other leaves nothing behind: *out is
 * NULL. */
CM_MUST_CHECK cm_status la_lives_open(struct la_lives **out, const char *run_dir, const char *tier);
void la_lives_close(struct la_lives **lives);

/* Life `number` of a job begins; both are in the summaries of its ranks ("job", "life"), so that
 * one which a life that was cut off writes late is not taken for its successor's. */
void la_lives_begin(struct la_lives *lives, const char *job, int64_t number);
/* Whether the life that runs has said that it is lost: its ranks leave. Looks at one file. */
bool la_lives_is_lost(struct la_lives *lives);
/* It has ended with this code; before the two below. A signal (128 and more) leaves a life no word:
 * then what happened and when is put into the summary for it, as "failure" without a step, and into
 * an event. */
void la_lives_end(struct la_lives *lives, int exit_code);
/* It has failed. False, with the reason logged and in an event: another would fail in the same
 * step, or (ended by a signal such as SIGSEGV, not by a kill) get no further than this one. */
bool la_lives_try_again(struct la_lives *lives, int exit_code);
/* It has failed in a way that is the same each time (la_exit_is_final): an event says so. */
void la_lives_give_up(struct la_lives *lives, int exit_code);
/* Another begins after a wait. */
void la_lives_restart(struct la_lives *lives, int64_t number, int exit_code, int64_t delay_ms);

/* For who starts each life from a process of its own, as Slurm does: whether life `number` of job,
 * a training, that has just ended, is to be followed by another. So it is when a rank was lost
 * (gone, silent, cut off or stuck; not failed by itself), but not in the same step for the third
 * time, which is counted in RUN/lives.json. Once for each life. what: what its summary says of its
 * end. */
bool la_lives_go_on(const char *run_dir, const char *job, int64_t number, char what[512]);

#endif
