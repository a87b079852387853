/* The chain of online states, RUN/online/s000045/: how far every stream is accounted for, what came
 * of it, and what the next batch needs. Its rename is the commit of a batch; nothing else is. One
 * thread at a time. */
#ifndef ONLINE_ONLINE_STATE_H
#define ONLINE_ONLINE_STATE_H

#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"
#include "online/anchor.h"
#include "online/dedup.h"
#include "online/drift.h"
#include "online/feedback_batch.h"
#include "online/gate.h"
#include "online/ledger.h"
#include "parameter/store.h"

struct ol_state {
    int64_t batch;            /* the last one that was decided; 0: none yet */
    char epoch[CM_UUID_TEXT]; /* Redis' then; "": none yet */
    struct ol_ledger ledger;
    struct ol_dedup dedup;
    struct ol_drift drift;
    struct ol_anchor anchor; /* set by the caller before commit */

    int64_t champion, weights; /* started from; published, or 0 */
    struct ol_gate_verdict verdict;
};

/* The state before the first batch. dedup: of so many entries each may leave OL_ENTRY_KEYS hashes.
 */
CM_MUST_CHECK
cm_status ol_state_init(struct ol_state *s, size_t dedup);
void ol_state_release(struct ol_state *s); /* zeroed is fine */

/* Accounts for a decided batch: offsets, counts, dedup window, drift. predicted: what the champion
 * said about each image of b, before it was trained on. drifts (may be NULL) gets how often drift
 * was found. A pure function. */
CM_MUST_CHECK
cm_status ol_state_advance(struct ol_state *s, const struct ol_batch *b,
                           const struct ol_gate_verdict *verdict, int64_t weights,
                           const int32_t *predicted, double drift_delta, int64_t *drifts);

/* The newest valid state of the chain into *s, which was initialised; its number to *version, 0
 * when there is none and *s stays as it is. */
CM_MUST_CHECK
cm_status ol_state_load(struct ol_state *s, int64_t *version, struct ps_store *store);
/* The next state of the chain. parent: the number of the state that it followed; run: its UUID. */
CM_MUST_CHECK
cm_status ol_state_commit(const struct ol_state *s, int64_t *version, struct ps_store *store,
                          int64_t parent, const char *run);

/* Right or wrong before training: the answer that was served if it is known, else the champion's.
 * -1: not an entry with an image. */
int ol_entry_was_right(const struct ol_batch *b, const struct ol_entry *e,
                       const int32_t *predicted);

#endif
