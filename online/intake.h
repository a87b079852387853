/* Reading feedback, on rank 0 alone: per-operator streams in, one resolved batch out. Redis is read
 * in turns, each bounded in time, so that a caller with ranks to keep informed never waits long;
 * what Redis holds is never changed but for dead letters, the epoch and owner keys, and trimming
 * behind committed offsets.
 *
 * A batch is a function of the offsets in the state and of what Redis holds: 16 entries of each
 * stream by turns, by name from the stream that the batch's number picks, until it is full; what
 * was read but did not fit is read again. One thread at a time. */
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

/* owner: this loop's name (queue_identity.h). barred: hashes of images that are dead-lettered
 * (resolve.h); NULL: none. Borrows all of it. Does not connect yet. */
CM_MUST_CHECK
cm_status ol_intake_open(struct ol_intake **out, const struct ol_config *cfg,
                         const struct nn_spec *spec, const char *owner,
                         const struct ol_dedup *barred, struct cm_events *events);
void ol_intake_close(struct ol_intake **in); /* NULL is fine */

/* Begins batch state->batch + 1; borrows state until the batch is taken. */
CM_MUST_CHECK
cm_status ol_intake_begin(struct ol_intake *in, const struct ol_state *state);

enum ol_intake_said {
    OL_INTAKE_MORE, /* call again */
    OL_INTAKE_FULL, /* take the batch */
    OL_INTAKE_DRY,  /* drain only: nothing is left to read, and the batch is empty, or has too few
                       good entries (online.min_entries), which stay in Redis */
};
/* One turn: at most about three times poll_ms, a time-out of Redis, and the decoding of an image.
 * drain: close the batch once nothing is left, and fail when Redis is away for longer than
 * drain_wait_s. */
CM_MUST_CHECK
cm_status ol_intake_turn(struct ol_intake *in, bool drain, enum ol_intake_said *said);
/* The batch, without champion; the caller owns it. */
void ol_intake_take(struct ol_intake *in, struct ol_batch *out);
/* Entries read into the batch so far. */
size_t ol_intake_pending(const struct ol_intake *in);

/* Adds the dead letters of b to fw:dlq; *done false: not all yet, or Redis was away: call again.
 * After a crash some may be there twice: readers go by 'source'. A Redis too full for them gets
 * them when b is committed and trimmed. */
CM_MUST_CHECK
cm_status ol_intake_letters(struct ol_intake *in, const struct ol_batch *b, bool drain, bool *done);
/* After the commit of b: trims (stream_trim.h), and sends what letters there was no room for. What
 * fails is told; trimming is done at the next look around, letters are in b's log. */
void ol_intake_tidy(struct ol_intake *in, const struct ol_state *state, const struct ol_batch *b);

#endif
