/* The config sections "model" and "train". (Section "data" is dataset.h's, "allreduce" group.h's,
 * "store" the store's.) */
#ifndef TRAINER_TRAIN_CONFIG_H
#define TRAINER_TRAIN_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"

#define TR_AHEAD 2 /* steps under way at once, at most */

struct tr_model_config {
    char network[CM_CONFIG_STRING]; /* "zoo:speednet" or a path */
    char device[CM_CONFIG_STRING];  /* rank_device.h */
    int precision;                  /* enum nn_precision */
    bool graphs;                    /* on a GPU: a step is captured and launched as one */
    int64_t ahead;                  /* on a GPU: steps under way at once */
    int64_t engine_search_s;        /* on a GPU, allreduce.order fast; 0: none */
};
extern const struct cm_section tr_model_section;

enum tr_optimizer_kind { TR_SGD, TR_ADAM, TR_RMSPROP, TR_ADAGRAD, TR_MUON };
enum tr_decay_kind { TR_DECAY_L2, TR_DECAY_DECOUPLED };
enum tr_schedule_kind {
    TR_CONSTANT,
    TR_STEP,
    TR_TIME,
    TR_EXPONENTIAL,
    TR_COSINE,
    TR_LINEAR,
    TR_PLATEAU
};
enum tr_flip { TR_FLIP_NONE, TR_FLIP_RANDOM, TR_FLIP_ALTERNATE };

struct tr_train_config {
    int64_t seed;
    double epochs; /* may have a fraction: 9.9 */
    int64_t batch; /* images of a global step */
    int64_t shards;
    int64_t threads; /* lanes per rank; 0: the cores given to this rank */
    bool drop_last;

    int loss;      /* enum nn_loss_kind */
    int reduction; /* 0 mean over the batch, 1 sum */
    double label_smoothing;

    int optimizer; /* enum tr_optimizer_kind */
    double lr, momentum;
    bool nesterov;
    double beta1, beta2, alpha, eps;
    double weight_decay, l1;
    int decay;                    /* enum tr_decay_kind */
    double clip_norm;             /* 0: none */
    const struct cm_json *groups; /* see optimizer.h; NULL: none */

    int schedule;        /* enum tr_schedule_kind */
    double warmup;       /* epochs */
    double warmup_from;  /* factor at step 0 */
    double final_factor; /* cosine, linear: factor at the end */
    double gamma;        /* step, exponential, plateau: factor per fall */
    double step_epochs;  /* step: epochs between falls */
    double time_decay;   /* time: k in lr / (1 + k t), t in epochs */
    int64_t patience;    /* plateau: evaluations without a better holdout loss before a fall */

    double average_decay; /* look-ahead averaging; 0: off */
    int64_t average_every;

    int flip; /* enum tr_flip */
    int64_t crop_pad;
    int pad_mode; /* enum nn_pad_mode */
    int64_t cutout;

    double eval_epochs; /* epochs between evaluations; 0: only at the end */
    bool eval_views;    /* the last one of six views, too */
    int64_t early_stop; /* evaluations without a better holdout accuracy before the run stops; 0:
                           never */

    int on_spike;        /* enum tr_on_spike */
    double spike_mads;   /* k of spike.h; 0: only what is not finite is a spike */
    int64_t audit_every; /* steps; 0: never */
};
enum tr_on_spike { TR_SPIKE_STOP, TR_SPIKE_ROLLBACK };
extern const struct cm_section tr_train_section;

#endif
