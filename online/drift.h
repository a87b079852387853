/* Drift of what is served, from one error bit per entry (DDM: Gama and others, "Learning with drift
 * detection", SBIA 2004): with error rate p over n entries and s = sqrt(p (1 - p) / n), it keeps
 * the smallest p + s; a rise of p + s above p_min + 2 s_min warns, above 3 s_min it is drift, and
 * the detector starts afresh. Only a rise counts. Pure. */
#ifndef ONLINE_DRIFT_H
#define ONLINE_DRIFT_H

#include <stdbool.h>
#include <stdint.h>

enum ol_drift_level { OL_DRIFT_NONE, OL_DRIFT_WARNING, OL_DRIFT_DRIFT };

struct ol_drift { /* zeroed: nothing seen */
    int64_t n, errors;
    double p_min, s_min; /* at the smallest p + s; meaningless while !judged */
    bool judged;         /* past the warm-up */
};
struct ol_drift_limits {
    int64_t warm_up;
    double warn, level; /* sigma */
};

enum ol_drift_level ol_drift_observe(struct ol_drift *d, const struct ol_drift_limits *limits,
                                     bool error);

#endif
