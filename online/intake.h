/* Reading feedback, on rank 0 alone: per-operator streams in, one resolved batch out. Redis is read
 * in turns, each short, so that a caller with ranks to keep informed never waits long; what Redis
 * holds is never changed but for dead letters, the epoch key, and trimming behind committed
 * offsets.
 *
 * A batch is a function of the offsets in the state and of what Redis holds: streams by name, 16
 * entries of each by turns, until it is full; what was read but did not fit is read again. One
 * thread at a time. */
#ifndef ONLINE_INTAKE_H
#define ONLINE_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/events.h"
#include "common/status.h"
#include "model/spec.h"
#include "online/feedback_batch.h"
#include "online/online_config.h"
#include "online/online_state.h"

struct ol_intake;

/* Borrows all of it. Does not connect yet. */
CM_MUST_CHECK
cm_status ol_intake_open(struct ol_intake **out, const struct ol_config *cfg,
                         const struct nn_spec *spec, struct cm_events *events);
void ol_intake_close(struct ol_intake **in); /* NULL is fine */

/* Begins batch state->batch + 1; borrows state until the batch is taken. */
CM_MUST_CHECK
cm_status ol_intake_begin(struct ol_intake *in, const struct ol_state *state);

enum ol_intake_said {
    OL_INTAKE_MORE, /* call again */
    OL_INTAKE_FULL, /* take the batch */
    OL_INTAKE_DRY,  /* drain only: nothing is left to read, and the batch is empty */
};
/* One turn: at most about poll_ms and a time-out of Redis. drain: close the batch once nothing is
 * left. */
CM_MUST_CHECK
cm_status ol_intake_turn(struct ol_intake *in, bool drain, enum ol_intake_said *said);
/* The batch, without champion; the caller owns it. */
void ol_intake_take(struct ol_intake *in, struct ol_batch *out);
/* Entries read into the batch so far. */
size_t ol_intake_pending(const struct ol_intake *in);

/* Adds the dead letters of b to fw:dlq; *done false: Redis was away, call again. After a crash some
 * may be there twice: readers go by 'source'. */
CM_MUST_CHECK
cm_status ol_intake_letters(struct ol_intake *in, const struct ol_batch *b, bool *done);
/* After a commit: trims the streams up to its offsets and shows the lag by a consumer group. What
 * fails is done after the next commit. */
void ol_intake_tidy(struct ol_intake *in, const struct ol_ledger *ledger);

#endif
