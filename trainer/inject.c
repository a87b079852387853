#include "trainer/inject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"

#define SPECS_NBYTES 1024
static const char variable[] = "FLYWHEEL_INJECT";

/* The fault without its rank in front; *rank -1: every rank's. */
static const char *split(const char *fault, long *rank)
{
    char *end;
    *rank = strtol(fault, &end, 10);
    if (end > fault && *end == ':')
        return end + 1;
    *rank = -1;
    return fault;
}

static cm_status collect(char specs[SPECS_NBYTES], const struct cm_opt_list *faults, int me,
                         int size)
{
    const char *before = getenv(variable);
    size_t at = (size_t)snprintf(specs, SPECS_NBYTES, "%s", before ? before : "");
    for (size_t i = 0; i < faults->n; i++) {
        long rank;
        const char *spec = split(faults->item[i], &rank);
        if (rank >= size || rank < -1)
            return CM_FAIL(CM_EUSAGE, "--inject %s: there are %d ranks, from 0", faults->item[i],
                           size);
        if ((rank == -1 || rank == me) && at < SPECS_NBYTES)
            at += (size_t)snprintf(specs + at, SPECS_NBYTES - at, "%s%s", at ? "," : "", spec);
    }
    return CM_OK; /* too long a text is cut, and refused for its length */
}

cm_status tr_inject(struct ar_group *g, const struct cm_opt_list *faults)
{
    char specs[SPECS_NBYTES];
    if (faults->n == 0)
        return CM_OK;
    cm_status st = collect(specs, faults, ar_group_rank(g), ar_group_size(g));
    if (st == CM_OK && setenv(variable, specs, 1))
        st = CM_FAIL_ERRNO("--inject");
    if (st == CM_OK)
        st = cm_fault("train.inject"); /* where a text that is none is told */
    return ar_group_agree(g, st, "--inject");
}
