/* Which of its ways a library computes each product in: data, so that one rank chooses and all
 * others compute alike, a fingerprint can hold it, and a timed search need not be made twice.
 *
 *   "conv1 forward n250 3x32x32 to 24x31x31 k2 s1 p0 bf16<TAB>12 3=1<TAB>65536<NEWLINE>"
 *
 * A plan that is opened with a table takes the ways that it names and adds those that it chose. */
#ifndef MODEL_ENGINES_H
#define MODEL_ENGINES_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define NN_ENGINE_KEY  160
#define NN_ENGINE_TEXT 160

struct nn_engine {
    char key[NN_ENGINE_KEY];   /* the product: op, pass, shapes, dtype */
    char name[NN_ENGINE_TEXT]; /* the way, as the library's wrapper writes it */
    uint64_t workspace;        /* bytes */
};

/* One thread at a time. Zero-initialised: empty. */
struct nn_engines {
    size_t n, room;
    struct nn_engine *engine; /* in the order of adding: the plan's */
};
void nn_engines_release(struct nn_engines *e);

/* NULL when there is none of that key. Valid until the next add. */
const struct nn_engine *nn_engines_find(const struct nn_engines *e, const char *key);
/* Replaces one of the same key. */
CM_MUST_CHECK cm_status nn_engines_add(struct nn_engines *e, const struct nn_engine *engine);

/* *text: from cm_alloc, the caller's. */
CM_MUST_CHECK cm_status nn_engines_write(char **text, const struct nn_engines *e);
/* Adds what text holds. CM_EFORMAT names the line. */
CM_MUST_CHECK cm_status nn_engines_read(struct nn_engines *e, const char *text);

#endif
