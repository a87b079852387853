/* The engine's part on a device, for its own files. engine_device_open.c builds it, engine_device.c
 * runs a step. */
#ifndef TRAINER_ENGINE_DEVICE_H
#define TRAINER_ENGINE_DEVICE_H

#include "model/cuda/arena_kernel.h"
#include "model/cuda/input_kernel.h"
#include "trainer/engine_nccl.h"
#include "trainer/engine_private.h"

/* What a step exchanges with the host. */
struct tr_exchange {
    struct nn_step_values values; /* in: to the device; all of it: back */
    double sum[3];                /* loss, correct, images: of this rank, then of all */
};

/* What a step under way has of its own. Pinned: the host writes it before the step begins, and
 * reads it when `ended` has happened. */
struct tr_device_turn {
    struct tr_exchange *exchange;
    struct nn_coefficients *coefficients; /* by span */
    /* where the caller draws: the rank's samples, a shard's at multiples of `largest` */
    uint32_t *rows;
    int32_t *row_labels;
    struct nn_augment *augment;
    struct ln_event *ended;
    cm_status failed; /* to be enqueued, and why */
    struct cm_error why;
};

/* A step that was captured, for slices of n images. */
#define TR_CAPTURED 2 /* an epoch's last batch may be smaller */
struct tr_captured {
    uint32_t n; /* 0: not seen yet */
    struct nn_graph *graph;
};

struct tr_device_part {
    /* the data set, on the device */
    uint8_t *images;
    int32_t *labels; /* nrows */
    uint32_t *id;    /* samples.n; NULL where the caller draws */
    /* a step's numbers, on the device */
    struct nn_step_values *values;
    double *sum;     /* 3 for each shard; the first 3 are the step's */
    double *squares; /* of the gradients, of the statistics */
    double *space;
    /* the update, on the device */
    float *slot[TR_OPTIMIZER_SLOTS]; /* layout->nparam floats; NULL: none */
    struct nn_span *spans, *statistics;
    struct nn_coefficients *coefficients; /* by span, of the step */
    double *momentum;                     /* by statistic */
    int nspans, nstatistics;
    struct nn_muon_work *muon; /* NULL: no span is Muon's */
    float *average;            /* look-ahead: layout->ntotal floats; NULL: none */

    struct tr_device_turn turn[TR_AHEAD], *now; /* now: that is being enqueued */
    size_t largest;                             /* images of a shard */

    struct tr_nccl *nccl;      /* sums between ranks; NULL: one rank, or through the host … */
    struct ln_lane *down, *up; /* … to which gradients go beside backward, and sums come back */
    struct ln_event *begun;    /* a step's numbers are there */
    enum tr_graphs graphs;
    struct tr_captured captured[TR_CAPTURED];
    bool fetched; /* the host's arenas are the device's */
};

/* Rows of tr_engine_device. Collective. */
CM_MUST_CHECK cm_status tr_device_open(struct tr_engine *e);
void tr_device_close(struct tr_engine *e);
CM_MUST_CHECK cm_status tr_device_plan(struct tr_engine *e, struct nn_plan_config *cfg);

#endif
