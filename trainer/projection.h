/* What sums over ranks would add to a step, on paper (allreduce/overlap.h): for hosts that are not
 * here, from the times of one GPU. */
#ifndef TRAINER_PROJECTION_H
#define TRAINER_PROJECTION_H

#include "allreduce/overlap.h"
#include "common/json.h"

#define TR_PROJECTION_RANKS 8 /* that its links join: more of them have other latencies */

struct tr_projection {
    int ranks;     /* 2 … TR_PROJECTION_RANKS */
    double step_s; /* of one GPU, without any sum */
    const struct ar_piece *pieces;
    size_t npieces;
};

/* A table, and a member "project" of an object:
 * {ranks, step_s, nbytes, pieces: [[nbytes, ready_s], …],
 * LINK: {ORDER: {buckets, busy_s, exposed_s, share}}}; share: of a step with the sums. */
void tr_projection_print(const struct tr_projection *p);
void tr_projection_json(struct cm_jw *w, const struct tr_projection *p);

#endif
