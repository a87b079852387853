/* Which versions stay: pure arithmetic over a list. */
#ifndef PARAMETER_RETENTION_H
#define PARAMETER_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ps_retention {
    int64_t keep_last;  /* the newest so many; at least 1 is kept whatever this says */
    int64_t keep_every; /* each whose number is a multiple; 0: none */
    int64_t keep_best;  /* so many with the best metric; 0: none */
    bool best_is_low;   /* of a loss rather than an accuracy */
};

struct ps_candidate {
    int64_t version, parent;
    bool valid;      /* its manifest reads; broken ones are removed once a newer one is valid */
    bool unjudged;   /* cannot be read here and now, which does not make it broken: kept */
    bool aliased;    /* an alias names it */
    double metric;   /* NaN: has none, never among the best */
    const char *why; /* out: the first rule that keeps it, a constant; NULL: remove */
};

/* Sets why of each of the n candidates, which are sorted by version ascending. Kept: the newest,
 * keep_last, aliased, unjudged, multiples, the best (ties: the older); of valid ones the parent of
 * each aliased one, and of the newest parent and grandparent, to which its run may roll back. The
 * highest number always stays, valid or not, so that no number is ever used twice. */
void ps_retention_choose(const struct ps_retention *rule, struct ps_candidate *c, size_t n);

#endif
