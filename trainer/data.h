/* The config section "data", and what it opens: the data set as the network takes it, with its
 * holdout. */
#ifndef TRAINER_DATA_H
#define TRAINER_DATA_H

#include <stdint.h>

#include "common/config.h"
#include "model/spec.h"
#include "trainer/dataset.h"
#include "trainer/split.h"

struct tr_data_config {
    char dataset[CM_CONFIG_STRING]; /* "cifar10", "fashion-mnist", "synthetic:CLASSES:N:HxWxC" */
    char dir[CM_CONFIG_STRING];
    int64_t holdout;    /* training images that are never trained on */
    int64_t limit;      /* at most so many of the rest are trained on; 0: all */
    int64_t test_limit; /* at most so many test images; 0: all */
    int64_t
        seed; /* of the holdout and of synthetic images: not the run's, so seeds share a holdout */
};
extern const struct cm_section tr_data_section;

struct tr_data { /* read-only once open, so any thread */
    struct tr_dataset set;
    struct tr_split split; /* rows of set, below set.n_train */
    int64_t n_test;        /* the test images are rows set.n_train … set.n_train + n_test - 1 */
};

/* The data set as published, not converted. */
CM_MUST_CHECK cm_status tr_data_open_set(struct tr_dataset *ds, const struct tr_data_config *cfg);

/* Its training images, parted; source is the set as published. */
CM_MUST_CHECK cm_status tr_data_split(struct tr_split *split, const struct tr_dataset *source,
                                      const struct tr_data_config *cfg);

/* Opens, splits (by the published pixels, so every network holds out the same images), converts by
 * the spec's preprocessing. CM_EMISMATCH when the spec has another number of classes. A function of
 * cfg and the files alone: each rank may call it by itself. spec is borrowed for the call. */
CM_MUST_CHECK cm_status tr_data_open(struct tr_data *data, const struct tr_data_config *cfg,
                                     const struct nn_spec *spec);
void tr_data_release(struct tr_data *data); /* zeroed is fine */

#endif
