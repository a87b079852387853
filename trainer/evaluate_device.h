/* A chunk of an evaluation on its way to a device and back: pinned on the host, and there. Used by
 * evaluate.c, for one chunk at a time. */
#ifndef TRAINER_EVALUATE_DEVICE_H
#define TRAINER_EVALUATE_DEVICE_H

#include "model/device.h"
#include "model/layout.h"
#include "model/spec.h"

struct tr_stage; /* one thread at a time */

/* n: images of a chunk. Borrows all but the numbers. */
CM_MUST_CHECK cm_status tr_stage_open(struct tr_stage **out, struct nn_device *device,
                                      const struct nn_spec *spec, const struct nn_layout *layout,
                                      int n);
void tr_stage_close(struct tr_stage **s);

/* The host's weights become the device's. */
CM_MUST_CHECK cm_status tr_stage_put_weights(struct tr_stage *s, const float *weights);
const float *tr_stage_weights(const struct tr_stage *s); /* there */
/* Rows index[0, n) of images: the chunk. */
CM_MUST_CHECK cm_status tr_stage_put_images(struct tr_stage *s, struct ln_lane *lane,
                                            const uint8_t *images, const uint32_t *index);
/* How all of them are shown; batch: what the plan takes. */
CM_MUST_CHECK cm_status tr_stage_put_view(struct tr_stage *s, struct ln_lane *lane,
                                          struct nn_augment view, struct nn_batch *batch);
/* Where the plan leaves logits; read after the wait for all that lane was given. */
float *tr_stage_logits(struct tr_stage *s);
CM_MUST_CHECK cm_status tr_stage_wait(struct tr_stage *s, struct ln_lane *lane,
                                      struct cm_deadline deadline);

#endif
