#include "allreduce/phases.h"

#include <stddef.h>
#include <string.h>

#define LATE_MEDIANS 5

/* The kind of this name, or the free one to make it; NULL when all are taken. */
static const struct ar_phase_kind *find(const struct ar_phases *p, const char *name)
{
    for (int k = 0; k < AR_PHASE_KINDS; k++)
        if (!p->kinds[k].name || strcmp(p->kinds[k].name, name) == 0)
            return &p->kinds[k];
    return NULL;
}

void ar_phases_enter(struct ar_phases *p, const char *name, int64_t now_ns)
{
    const struct ar_phase_kind *found = p->now ? find(p, p->now) : NULL;
    if (found) {
        struct ar_phase_kind *kind = &p->kinds[found - p->kinds];
        kind->name = p->now;
        kind->ns[kind->next] = now_ns - p->since_ns;
        kind->next = (kind->next + 1) % AR_PHASE_VISITS;
        kind->n += kind->n < AR_PHASE_VISITS;
    }
    p->now = name;
    p->since_ns = now_ns;
}

int64_t ar_phases_median_ns(const struct ar_phases *p, const char *name)
{
    const struct ar_phase_kind *kind = find(p, name);
    if (!kind || kind->n == 0)
        return 0;
    int64_t sorted[AR_PHASE_VISITS];
    for (int i = 0; i < kind->n; i++) {
        int at = i;
        for (; at > 0 && sorted[at - 1] > kind->ns[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = kind->ns[i];
    }
    return sorted[kind->n / 2];
}

int64_t ar_phases_late_ms(const struct ar_phases *p, const char *name, int64_t floor_ms)
{
    int64_t ms = LATE_MEDIANS * ar_phases_median_ns(p, name) / 1000000;
    return ms > floor_ms ? ms : floor_ms;
}
