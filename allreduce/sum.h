/* The sums between ranks in the order of the tree (tree.h): log2 W exchanges of halves, then log2 W
 * exchanges back for long vectors; log2 W exchanges of the whole for short ones, which gives the
 * same bits. Owner: the reducer thread. Internal. */
#ifndef ALLREDUCE_SUM_H
#define ALLREDUCE_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allreduce/transport.h"
#include "common/status.h"

/* What rides behind the last bucket: sums of doubles over the same tree, and control bits, or-ed.
 */
#define AR_TAIL_SUMS 8
struct ar_tail {
    double sum[AR_TAIL_SUMS];
    uint32_t bits;
};

#define AR_SUM_F64_MAX 64 /* doubles in one sum */

struct ar_summer {
    struct ar_transport *transport; /* borrowed; its size is a power of two */
    bool compress;                  /* every node is rounded to bf16, what comes in included */
    void *scratch;                  /* owned: received pieces, and packed ones when compressing */
};

CM_MUST_CHECK cm_status ar_summer_init(struct ar_summer *s, struct ar_transport *transport,
                                       bool compress);
void ar_summer_release(struct ar_summer *s); /* zeroed is fine */

/* In place; same n on all ranks. */
CM_MUST_CHECK cm_status ar_sum_f32(struct ar_summer *s, float *buf, size_t n);
CM_MUST_CHECK cm_status ar_sum_f64(struct ar_summer *s, double *buf, size_t n);
CM_MUST_CHECK cm_status ar_sum_tail(struct ar_summer *s, struct ar_tail *tail);

#endif
