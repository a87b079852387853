/* Evaluating on a device: what all lanes share there, and what one of them works with, pinned on
 * the host and there. Used by evaluate.c. */
#ifndef TRAINER_EVALUATE_DEVICE_H
#define TRAINER_EVALUATE_DEVICE_H

#include "model/device.h"
#include "model/layout.h"
#include "model/spec.h"

struct tr_resident; /* weights, and images that stay; one thread at a time */
struct tr_stage;    /* of a lane; one thread at a time */

/* images: n of them, uint8 (n, H, W, C), borrowed and copied once; n 0: none stay. */
CM_MUST_CHECK cm_status tr_resident_open(struct tr_resident **out, struct nn_device *device,
                                         const struct nn_spec *spec, const struct nn_layout *layout,
                                         const uint8_t *images, size_t n);
void tr_resident_close(struct tr_resident **r); /* after its stages */
/* The host's or the device's weights become these. */
CM_MUST_CHECK cm_status tr_resident_put_weights(struct tr_resident *r, const float *weights);
const float *tr_resident_weights(const struct tr_resident *r); /* there */

/* n: images of a chunk; views: nviews ways to show all of them. Borrows resident. */
CM_MUST_CHECK cm_status tr_stage_open(struct tr_stage **out, struct tr_resident *resident, size_t n,
                                      const struct nn_augment *views, size_t nviews);
void tr_stage_close(struct tr_stage **s);

/* Enqueues: rows index[0, n) of images become the chunk, by their numbers alone where they stay on
 * the device. Not before the wait for the chunk before. */
CM_MUST_CHECK cm_status tr_stage_put(struct tr_stage *s, struct ln_lane *lane,
                                     const uint8_t *images, const uint32_t *index);
/* What the plan takes, and where it leaves that view's logits: read after the wait. */
struct nn_batch tr_stage_batch(const struct tr_stage *s, size_t view);
float *tr_stage_logits(struct tr_stage *s, size_t view);
/* All that lane was given so far is what the wait is for. */
void tr_stage_mark(struct tr_stage *s, struct ln_lane *lane);
CM_MUST_CHECK cm_status tr_stage_wait(struct tr_stage *s, struct cm_deadline deadline);

#endif
