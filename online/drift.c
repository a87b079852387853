#include "online/drift.h"

#include <math.h>

enum ol_drift_level ol_drift_observe(struct ol_drift *d, const struct ol_drift_limits *limits,
                                     bool error)
{
    d->n++;
    d->errors += error;
    if (d->n < limits->warm_up)
        return OL_DRIFT_NONE;
    double p = (double)d->errors / (double)d->n;
    double s = sqrt(p * (1 - p) / (double)d->n);
    if (!d->judged || p + s < d->p_min + d->s_min) {
        d->judged = true;
        d->p_min = p;
        d->s_min = s;
    }
    if (p + s > d->p_min + limits->level * d->s_min) {
        *d = (struct ol_drift){0};
        return OL_DRIFT_DRIFT;
    }
    return p + s > d->p_min + limits->warn * d->s_min ? OL_DRIFT_WARNING : OL_DRIFT_NONE;
}
