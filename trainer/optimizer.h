/* Optimisers over the flat arena; model/update.h has the formulas. Element by element in fp32: how
 * a range is cut does not matter.
 *
 * Groups: a JSON array in train.groups; the first whose "match" (a shell pattern on the tensor's
 * name) fits gives
 *   "lr_scale"      on the learning rate
 *   "weight_decay"  instead of train.weight_decay
 *   "momentum"      instead of train.momentum, where that is kept at all
 *   "until"         epochs: frozen after
 *   "fade"          true: until then the rate falls linearly to 0, whatever train.schedule says
 *   "muon"          true: Muon trains the tensor (model/muon.h)
 *
 * train.optimizer "muon" is sgd but for the tensors that a group gives to Muon: weights of
 * convolutions. Neither decay nor l1 is for those, as every step sets their norm. */
#ifndef TRAINER_OPTIMIZER_H
#define TRAINER_OPTIMIZER_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "model/layout.h"
#include "model/muon.h"
#include "model/update.h"
#include "trainer/train_config.h"

struct tr_optimizer; /* read-only after open, but for its slots; apply on disjoint ranges from any
                        threads */

/* Borrows cfg and layout. CM_ECONFIG: a group without match or with an unknown key, one that
 * matches no tensor, or one that asks for what its tensors or the optimiser have not. */
CM_MUST_CHECK cm_status tr_optimizer_open(struct tr_optimizer **out,
                                          const struct tr_train_config *cfg,
                                          const struct nn_layout *layout);
void tr_optimizer_close(struct tr_optimizer **o);

/* State: nslots arenas of layout->nparam floats each, zero at the start, named as PyTorch names
 * them. */
#define TR_OPTIMIZER_SLOTS 2
int tr_optimizer_nslots(const struct tr_optimizer *o);
const char *tr_optimizer_slot_name(const struct tr_optimizer *o, int slot); /* "momentum_buffer" */
float *tr_optimizer_slot(struct tr_optimizer *o, int slot);

struct tr_update {
    double lr;    /* with schedule, without groups */
    double scale; /* on the gradient: 1 / count for a mean, and clipping */
    double epoch; /* for "until" */
    int64_t step; /* 0-based; adam's t is step + 1 */
};
/* Before the first apply: room for Muon's products. Who only keeps the state needs none. */
CM_MUST_CHECK cm_status tr_optimizer_make_room(struct tr_optimizer *o);
/* Updates weights[begin, end) of the parameter part from gradients of the same places; but Muon's
 * tensors whole, in the range where they begin: all gradients are there before. */
void tr_optimizer_apply(struct tr_optimizer *o, const struct tr_update *u, float *weights,
                        const float *gradients, size_t begin, size_t end);

/* For a device, which keeps the arenas and applies the same formulas (model/device.h): the trained
 * tensors' ranges, in arena order, and what each of them takes in a step. */
size_t tr_optimizer_nspans(const struct tr_optimizer *o);
void tr_optimizer_span(const struct tr_optimizer *o, size_t span, size_t *begin, size_t *end);
/* Muon's spans; *n may be 0. */
const struct nn_muon_matrix *tr_optimizer_matrices(const struct tr_optimizer *o, size_t *n);
struct nn_coefficients tr_optimizer_coefficients(const struct tr_optimizer *o, size_t span,
                                                 const struct tr_update *u);

#endif
