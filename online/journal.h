/* The folder of logged batches, RUN/online/log. What is written there is what is trained on, so
 * only the holder of the lease writes. Rank 0's; one thread at a time. */
#ifndef ONLINE_JOURNAL_H
#define ONLINE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/file.h"
#include "common/status.h"
#include "model/spec.h"
#include "online/feedback_batch.h"
#include "parameter/lease.h"

struct ol_journal {
    char dir[CM_PATH];
    const struct nn_spec *spec;   /* borrowed: of the network that batches are for */
    const struct ps_lease *lease; /* borrowed */
};

/* dir: RUN/online, made when missing. What other writers left half written is removed, which also
 * fences them off: a log that one of them is about to rename into place is gone. So after taking
 * the lease. */
CM_MUST_CHECK
cm_status ol_journal_open(struct ol_journal *j, const char *dir, const struct nn_spec *spec,
                          const struct ps_lease *lease);

/* Batch `number` as it was logged; *there false: it was not, or what there is is damaged or another
 * network's (which is warned about). CM_EVERSION: logged by a newer build, which may have decided
 * it. b is the caller's. */
CM_MUST_CHECK
cm_status ol_journal_recover(const struct ol_journal *j, struct ol_batch *b, int64_t number,
                             bool *there);
/* Durable; CM_EFENCED: another loop has taken over, and nothing is written. */
CM_MUST_CHECK
cm_status ol_journal_save(const struct ol_journal *j, struct ol_batch *b);
/* The bytes of a logged batch, from cm_alloc: what every rank parses. */
CM_MUST_CHECK
cm_status ol_journal_read(const struct ol_journal *j, char **bytes, size_t *n, int64_t number);
/* Removes what writers that died left half written, and batches up to `last`. */
CM_MUST_CHECK
cm_status ol_journal_clean(const struct ol_journal *j, int64_t last);

#endif
