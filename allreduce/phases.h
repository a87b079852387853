/* How long each phase of a rank usually takes, to tell slow from late. Pure: the caller brings the
 * clock. */
#ifndef ALLREDUCE_PHASES_H
#define ALLREDUCE_PHASES_H

#include <stdint.h>

#define AR_PHASE_KINDS  8  /* "step", "evaluate", …; more are not remembered */
#define AR_PHASE_VISITS 15 /* the newest, of each */

struct ar_phases { /* zeroed: nothing known; one thread at a time */
    struct ar_phase_kind {
        const char *name; /* static text */
        int64_t ns[AR_PHASE_VISITS];
        int n, next;
    } kinds[AR_PHASE_KINDS];
    const char *now; /* NULL: none yet */
    int64_t since_ns;
};

/* The rank leaves the phase that it was in, and enters this one (the same again is a new visit). */
void ar_phases_enter(struct ar_phases *p, const char *name, int64_t now_ns);

/* The median visit's length, 0 when there was none. */
int64_t ar_phases_median_ns(const struct ar_phases *p, const char *name);

/* When a wait in this phase is late: after five times its median, but not before floor_ms. */
int64_t ar_phases_late_ms(const struct ar_phases *p, const char *name, int64_t floor_ms);

#endif
