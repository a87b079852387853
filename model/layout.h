/* Where every tensor of a network lives in the flat fp32 arena. One layout serves weights,
 * gradients and optimiser state.
 *
 *   [ parameters, in the order in which backward finishes them | running statistics ]
 *     0 ..................................................nparam ............. ntotal
 *
 * So buckets of gradients close from the front while backward goes on. Each tensor starts at a
 * multiple of 16 floats; the gaps hold zeros. Inside a tensor: PyTorch's order (conv OIHW, linear
 * (out, in)). In a gradient arena the statistics part holds count-weighted sums of the shards'
 * batch statistics. */
#ifndef MODEL_LAYOUT_H
#define MODEL_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "model/spec.h"

enum nn_role { NN_WEIGHT, NN_BIAS, NN_RUNNING_MEAN, NN_RUNNING_VAR, NN_ROLE_COUNT };

struct nn_tensor {
    char name[NN_NAME + 16]; /* PyTorch's: "conv1.weight", "bn1.running_mean" */
    int node;
    enum nn_role role;
    bool trained; /* parameters that are not frozen */
    int ndim;
    int64_t dim[4];
    size_t offset, n; /* floats in the arena */
};

struct nn_layout {
    size_t ntensors;
    struct nn_tensor *tensors; /* in arena order */
    size_t nparam, ntotal;     /* floats, padding included */
    int64_t parameters;        /* true number of parameters: what a paper would say */
    int64_t trained_parameters;
    int (*of_node)[NN_ROLE_COUNT]; /* tensor number by node and role, -1: none */
};

CM_MUST_CHECK cm_status nn_layout_open(struct nn_layout **out, const struct nn_spec *spec);
void nn_layout_close(struct nn_layout **layout);
/* NULL when there is none of that name. */
const struct nn_tensor *nn_layout_find(const struct nn_layout *layout, const char *name);

#endif
