/* What intake.c, which reads, and intake_look.c, which finds what there is to read, share; nobody
 * else includes this. */
#ifndef ONLINE_INTAKE_PRIVATE_H
#define ONLINE_INTAKE_PRIVATE_H

#include "common/clock.h"
#include "online/intake.h"
#include "online/redis_link.h"
#include "online/resolve.h"
#include "online/stream_facts.h"
#include "online/stream_trim.h"

struct source { /* a stream being read */
    char name[WI_OPERATOR];
    char key[WI_KEY];
    struct ol_id cursor; /* of the last entry in the batch */
    int64_t taken;       /* entries in the batch */
};

/* Looking around, a piece at a time: known streams first, then new ones. A thorough look tells what
 * Redis holds of each stream and scans all keys. It is the first of a batch, and then one in 31:
 * the others ask for each stream's group, and scan a page, so what captures lie there costs
 * nothing. */
struct look {
    int64_t done_ns; /* monotonic, of the last complete one; 0: none since the batch began */
    bool under_way, thorough;
    int cheap;              /* looks since the last thorough one */
    size_t next;            /* stream of the ledger */
    char cursor[OL_CURSOR]; /* of the scan */
    int64_t lost;           /* entries, as far as it came */
};

/* A round over all streams, which may take several turns. */
struct round {
    size_t at;    /* stream, counted from the round's first */
    size_t taken; /* entries of it in this round */
    size_t nread; /* entries of all of them */
};

struct ol_intake {
    const struct ol_config *cfg;
    struct cm_events *events;
    const char *owner;
    struct nn_shape shape;
    struct ol_link link;
    struct cm_redis *captures;
    struct ol_resolver resolver;
    uint8_t *pixels;        /* of one image */
    struct source *sources; /* by name */
    size_t nsources;
    struct ol_dedup in_batch;
    struct ol_trim trim;
    bool server_checked, streams_told;
    int64_t lost_told; /* entries */

    const struct ol_state *state; /* borrowed while a batch is read */
    struct ol_batch batch;
    int64_t first_ns; /* monotonic; 0: no entry yet */
    struct look look;
    struct round round;
    size_t fetch;  /* entries to ask for at once, 1 … 16: fewer when they come slowly or not */
    bool idle;     /* the last round brought nothing: the next one waits */
    size_t waited; /* stream that the next wait begins with */
    size_t letter; /* the entry whose dead letter is next */
    bool owed;     /* letters wait for the room that trimming makes */
    bool untidy;   /* what is accounted for may not all be trimmed */
};

/* ---- intake_look.c ---- */

/* An empty batch, every stream where the state left it, or at its beginning. */
CM_MUST_CHECK
cm_status ol_intake_reset(struct ol_intake *self, const char *epoch, bool from_start);
/* When it is time: is it the Redis that we know, and which streams are there? *due: not all was
 * looked at yet; reading waits for it. */
CM_MUST_CHECK
cm_status ol_intake_look(struct ol_intake *self, struct cm_deadline deadline, bool *due);
/* False: a fault, which was told; what is left over is trimmed after a later look. */
bool ol_intake_trim(struct ol_intake *self, const struct ol_state *state);

#endif
