/* Which of its ways a library computes each product in: data, so that one rank chooses and all
 * others compute alike, a fingerprint can hold it, and a timed search need not be made twice.
 *
 *   "conv1 forward n250 3x32x32 to 24x31x31 k2 s1 p0 bf16<TAB>12 3=1<TAB>65536<NEWLINE>"
 *
 * A plan that is opened with a table takes the ways that it names and adds those that it chose: the
 * library's first, or in a search the fastest. "narrower" is none: a search found a filter gradient
 * slower in fp32 than in the op's dtype, which then is another product of the table. */
#ifndef MODEL_ENGINES_H
#define MODEL_ENGINES_H

#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"

#define NN_ENGINE_KEY  160
#define NN_ENGINE_TEXT 160

struct nn_engine {
    char key[NN_ENGINE_KEY];   /* the product: op, pass, shapes, dtype */
    char name[NN_ENGINE_TEXT]; /* the way, as the library's wrapper writes it */
    uint64_t workspace;        /* bytes */
};

struct nn_engine_search;

/* One thread at a time. Zero-initialised: empty. */
struct nn_engines {
    size_t n, room;
    struct nn_engine *engine; /* in the order of adding: the plan's */
    /* How a plan chooses what is not here, borrowed; NULL: the library's first way, never timed. */
    struct nn_engine_search *search;
};
void nn_engines_release(struct nn_engines *e);

/* NULL when there is none of that key. Valid until the next add. */
const struct nn_engine *nn_engines_find(const struct nn_engines *e, const char *key);
/* Replaces one of the same key. */
CM_MUST_CHECK cm_status nn_engines_add(struct nn_engines *e, const struct nn_engine *engine);

/* A search times a product's ways on the device, one after the other, until its deadline; which one
 * is the fastest then depends on the moment, hence the bits, too. */
struct nn_engine_search {
    /* What this search and others found, whatever op it was for: in a key "conv" or "linear" stands
     * for the op's name. A way that the library no longer has is searched anew. */
    struct nn_engines found;
    struct cm_deadline deadline;  /* what is not timed by then takes the library's first way */
    size_t ntimed, nknown, nleft; /* products: timed now, found before, not timed */
};

/* *text: from cm_alloc, the caller's. */
CM_MUST_CHECK cm_status nn_engines_write(char **text, const struct nn_engines *e);
/* Adds what text holds. CM_EFORMAT names the line. */
CM_MUST_CHECK cm_status nn_engines_read(struct nn_engines *e, const char *text);

#endif
