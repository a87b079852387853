/* Evaluation: every image once, in chunks of a fixed size whatever the number of ranks and lanes,
 * so the numbers are the same bits. Chunk c is computed by rank c % W. */
#ifndef TRAINER_EVALUATE_H
#define TRAINER_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>

#include "allreduce/group.h"
#include "common/status.h"
#include "model/device.h"
#include "model/layout.h"
#include "model/plan.h"
#include "model/spec.h"

#define TR_EVAL_CHUNK 250 /* images; the last chunk is filled up and the filling not counted */

struct tr_evaluator; /* one thread at a time */

struct tr_evaluator_config {
    const struct nn_spec *spec;
    const struct nn_layout *layout;
    const struct nn_backend *backend;
    enum nn_precision precision;
    struct ar_group *group;
    int nlanes;
    struct nn_device *device; /* backend's; NULL: the host */
    /* Images that a device keeps, where tr_evaluate is given these very ones; 0: none. */
    const uint8_t *resident;
    size_t nresident;
};

/* Borrows all of cfg but the struct itself. */
CM_MUST_CHECK cm_status tr_evaluator_open(struct tr_evaluator **out,
                                          const struct tr_evaluator_config *cfg);
void tr_evaluator_close(struct tr_evaluator **e);

struct tr_score {
    double loss;     /* mean cross-entropy of the softmax, without smoothing */
    double accuracy; /* 0 … 1 */
    int64_t correct, count;
};

/* weights: layout->ntotal floats, the host's or the evaluator's device's. images (N, H, W, C) and
 * labels as the engine takes them; rows: n numbers of rows, NULL: 0 … n - 1. predicted (n class
 * numbers on every rank) may be NULL. Collective: a failure on one rank is one on all.
 * CM_EPREEMPTED, on all ranks: one was told to stop (stop.h) and left its remaining chunks out. */
CM_MUST_CHECK cm_status tr_evaluate(struct tr_evaluator *e, const float *weights,
                                    const uint8_t *images, const int32_t *labels,
                                    const uint32_t *rows, uint32_t n, int32_t *predicted,
                                    struct tr_score *score);
/* And of the mean logits of six views, in the same pass (airbench: the image and its mirror 1/4
 * each; both shifted by one pixel up-left and down-right, 1/8 each). */
CM_MUST_CHECK cm_status tr_evaluate_views(struct tr_evaluator *e, const float *weights,
                                          const uint8_t *images, const int32_t *labels, uint32_t n,
                                          struct tr_score *score, struct tr_score *views);

#endif
