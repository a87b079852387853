/* Drift of what is served, from one error bit per entry: ADWIN (Bifet and Gavalda, "Learning from
 * time-changing data with adaptive windowing", SDM 2007). It keeps a window of the last W bits as
 * buckets of 1, 2, 4, … bits, at most 5 of a size, and drops the oldest ones for as long as the
 * window can be cut in two whose means differ beyond chance:
 *
 *   |p0 - p1| > sqrt(2 m v d) + 2/3 d m     d = ln(2 ln(W) / delta)   v = p (1 - p) of the window
 *                                           m = 1 / (n0 - 4) + 1 / (n1 - 4)
 *
 * Cuts are tried every 32 bits, so it costs next to nothing. A rise of the rate is drift; a fall
 * only shortens the window. Pure. */
#ifndef ONLINE_DRIFT_H
#define ONLINE_DRIFT_H

#include <stdbool.h>
#include <stdint.h>

#define OL_DRIFT_ROWS    32 /* sizes of buckets: 2^0 … 2^31 bits */
#define OL_DRIFT_BUCKETS 5

struct ol_drift {      /* zeroed: nothing seen */
    int64_t seen;      /* bits, ever */
    int64_t n, errors; /* in the window */
    int32_t count[OL_DRIFT_ROWS];
    int64_t sum[OL_DRIFT_ROWS][OL_DRIFT_BUCKETS + 1]; /* errors of each bucket, oldest first */
};

/* True when, with this bit, the error rate has risen. delta: how unlikely that is by chance. */
bool ol_drift_observe(struct ol_drift *d, double delta, bool error);

#endif
