/* From a candidate that passed to the new champion: the version, then the alias. Each step first
 * looks whether it was done already, so that after a crash between any two the same batch ends in
 * the same version, and moves the alias once in its life. Rank 0 only. */
#ifndef ONLINE_PROMOTE_H
#define ONLINE_PROMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "online/feedback_batch.h"
#include "online/trial.h"
#include "trainer/publish.h"

/* The version that this very batch, as logged, has made and that the alias has named at some time;
 * 0: none. Then the batch is decided, whatever the alias names now: a later batch or a person has
 * moved it on. */
CM_MUST_CHECK
cm_status ol_promote_decided(int64_t *version, const struct ps_store *store,
                             const struct ol_batch *b, const char *alias);
/* What the gate had said of it, as far as its manifest tells. */
CM_MUST_CHECK
cm_status ol_promote_verdict(struct ol_gate_verdict *v, const struct ps_store *store,
                             int64_t version);

struct ol_promotion {
    int64_t version;
    bool moved; /* the alias names something else meanwhile: nothing was changed */
};
/* alias: from b->champion to the version of the candidate in trial, which is written unless one of
 * the same batch, config and fingerprint is there and whole. champion: the manifest of b->champion.
 * CM_EFENCED: another loop has taken over; the alias is as it was. */
CM_MUST_CHECK
cm_status ol_promote(struct ol_promotion *out, struct tr_publisher *publisher,
                     const struct ol_trial *trial, const struct ol_batch *b,
                     const struct ps_manifest *champion, const char *alias);

#endif
