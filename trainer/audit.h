/* The audit: do all ranks still hold the same bits? They started from the same and added the same
 * sums, so one that differs has a broken memory, processor or library, and spoils everybody's
 * gradients from then on. Weights, running statistics, optimiser and averages are hashed (XXH3-64);
 * only when the hashes differ are the tensors' own compared, which says where. */
#ifndef TRAINER_AUDIT_H
#define TRAINER_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "allreduce/group.h"
#include "common/status.h"
#include "trainer/checkpoint.h"

struct tr_audit; /* one thread at a time */

/* Borrows both for its life. */
CM_MUST_CHECK cm_status tr_audit_open(struct tr_audit **out, struct ar_group *group,
                                      const struct tr_state *state);
void tr_audit_close(struct tr_audit **a);

/* Collective, after so many steps. CM_EMISMATCH on all ranks names the first tensor that is not the
 * same everywhere, and the ranks that differ: the minority; where there is none, as with two ranks,
 * who differs from whom. One rank has nothing to compare, and a step is audited once. */
CM_MUST_CHECK cm_status tr_audit_run(struct tr_audit *a, int64_t step);
/* What the audits of this process cost it. */
int64_t tr_audit_count(const struct tr_audit *a);
double tr_audit_seconds(const struct tr_audit *a);

/* "rank 2 differs from ranks 0, 1, 3"; without a majority "ranks 0, 1 differ from ranks 2, 3: no
 * majority says who is right". hash: one of each rank, not all the same. Cut to size. */
void tr_audit_explain(char *text, size_t size, const uint64_t *hash, int ranks);

/* Fault points train.flip.weights, train.flip.optimizer, train.flip.statistics: the number of this
 * rank's state in which an injected error is to turn a bit; NULL: none was injected. */
float *tr_audit_fault(const struct tr_state *state);
void tr_audit_flip(float *number);

#endif
