/* What the best champion so far said about the holdout. The gate holds candidates against it as
 * well as against the present champion, so that the losses which a margin allows do not add up. A
 * person who moves the alias chooses anew: then it begins with that champion. One thread at a time.
 */
#ifndef ONLINE_ANCHOR_H
#define ONLINE_ANCHOR_H

#include <stdint.h>

#include "common/status.h"
#include "parameter/store.h"

struct ol_anchor {    /* zeroed is none */
    int32_t *answer;  /* owned: (n) classes */
    int64_t n;        /* images of the holdout; 0: none yet */
    uint64_t holdout; /* hash of the holdout's images and labels: of another one it says nothing */
};
void ol_anchor_release(struct ol_anchor *a);
/* Copies the answers. */
CM_MUST_CHECK
cm_status ol_anchor_set(struct ol_anchor *a, const int32_t *answer, int64_t n, uint64_t holdout);

/* As a file of a state; none is no file. */
CM_MUST_CHECK
cm_status ol_anchor_put(const struct ol_anchor *a, struct ps_draft *draft);
/* a was zeroed or set. */
CM_MUST_CHECK
cm_status ol_anchor_get(struct ol_anchor *a, const struct ps_version *version);

#endif
