/* A data set in memory: 8-bit images and labels in one block, which is also its file format (the
 * decoded cache), so that a second start maps it instead of unpacking.
 *
 *   file    prefix (64 bytes: "FWDATA01", XXH3-64 of the block, bytes of the block, zeros), block
 *   block   header (128 bytes: name, n_train, n_test, h, w, channels, nclasses, zeros)
 *           class names (nclasses, 64)   labels (n) int32, padded to 64 bytes   images (n, h, w,
 * channels) uint8
 *
 * n = n_train + n_test, training images first; numbers are little-endian. The block's hash is the
 * data fingerprint. */
#ifndef TRAINER_DATASET_H
#define TRAINER_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/hash.h"
#include "common/status.h"
#include "model/spec.h"

#define TR_DATASET_NAME 64

struct tr_dataset { /* read-only once sealed, so any thread */
    char name[TR_DATASET_NAME];
    int64_t n_train, n_test;
    int h, w, channels, nclasses;
    const char *classes;           /* (nclasses, NN_NAME); see tr_dataset_class */
    const int32_t *labels;         /* (n) */
    const uint8_t *images;         /* (n, h, w, channels) */
    char fingerprint[CM_XXH_TEXT]; /* of the set as published: a converted set keeps its source's */
    void *block;                   /* private: what the pointers point into */
    const void *mapped;            /* private: the mapped cache file, or NULL */
    size_t block_nbytes, mapped_nbytes;
};

/* Sizes and name as in shape; memory is taken, zeroed, and the pointers set. Class names are "0",
 * "1", … */
CM_MUST_CHECK cm_status tr_dataset_init(struct tr_dataset *ds, const struct tr_dataset *shape);
void tr_dataset_release(struct tr_dataset *ds); /* zeroed is fine */

/* For whoever fills a set that is not sealed yet. */
int32_t *tr_dataset_put_labels(struct tr_dataset *ds);
uint8_t *tr_dataset_put_images(struct tr_dataset *ds);
void tr_dataset_put_class(struct tr_dataset *ds, int c, const char *name);
/* Checks the labels, sets the fingerprint. CM_ECORRUPT names the image. */
CM_MUST_CHECK cm_status tr_dataset_seal(struct tr_dataset *ds);

static inline int64_t tr_dataset_count(const struct tr_dataset *ds)
{
    return ds->n_train + ds->n_test;
}
static inline const char *tr_dataset_class(const struct tr_dataset *ds, int c)
{
    return ds->classes + (size_t)c * NN_NAME;
}
static inline size_t tr_dataset_image_nbytes(const struct tr_dataset *ds)
{
    return (size_t)ds->h * (size_t)ds->w * (size_t)ds->channels;
}
static inline const uint8_t *tr_dataset_image(const struct tr_dataset *ds, int64_t i)
{
    return ds->images + (size_t)i * tr_dataset_image_nbytes(ds);
}

/* Durable and atomic. */
CM_MUST_CHECK cm_status tr_dataset_save(const struct tr_dataset *ds, const char *path);
/* Every byte is checked. CM_ENOTFOUND; CM_ECORRUPT, CM_EVERSION name the file. */
CM_MUST_CHECK cm_status tr_dataset_map(struct tr_dataset *ds, const char *path);

/* The set as the network takes it, by nn_preprocess; the same images shared (source's memory moves
 * to *ds, source is zeroed) when that changes nothing. Labels, classes and fingerprint stay. */
CM_MUST_CHECK cm_status tr_dataset_convert(struct tr_dataset *ds, struct tr_dataset *source,
                                           const struct nn_preprocess *pre, struct nn_shape input);

#endif
