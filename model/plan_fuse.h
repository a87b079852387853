/* Which ops a network becomes. Pure: a function of the spec and two flags. */
#ifndef MODEL_PLAN_FUSE_H
#define MODEL_PLAN_FUSE_H

#include <stdbool.h>

#include "common/status.h"
#include "model/op.h"
#include "model/spec.h"

/* One op. Inputs and output are named by the node that leaves the value (NN_INPUT: the image). */
struct nn_step {
    enum nn_op_kind kind;
    int node; /* whose name and parameters it has */
    int pool; /* norm: the max pool in front, -1: none */
    int act;  /* norm: the activation behind, -1: none */
    int nx, x[2];
    int y; /* >= every node in it, so steps sorted by y can be computed in order */
};

/* Fills steps (room for spec->nnodes) with *nsteps ops in the order of computing; *logits is the
 * node whose value the last node leaves (its own, or that of the node which it only renames).
 *
 * A flatten of one pixel, and a dropout in inference or with p = 0, are no ops: their users read
 * their input. With fuses, NORM takes in, where nothing else reads the value in between,
 *
 *   [maxpool, pad 0] → batchnorm → [add] → [relu | gelu | sigmoid | tanh]
 *
 * and runs at the place of its last node, when the other input of the add is ready. */
CM_MUST_CHECK cm_status nn_plan_steps(struct nn_step *steps, int *nsteps, int *logits,
                                      const struct nn_spec *spec, bool fuses, bool training);

#endif
