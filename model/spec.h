/* What a network is: model.json, read, checked, with every shape inferred. Pure data; computing is
 * plan.h.
 *
 *   {"format": "1.0", "name": "lenet",
 *    "input": {"channels": 3, "height": 32, "width": 32},
 *    "preprocess": {"resize": 32, "crop": 32, "grey": false,
 *                   "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
 *    "classes": ["airplane", …],
 *    "nodes": [{"name": "conv1", "op": "conv", "out": 6, "kernel": 5},
 *              {"name": "relu1", "op": "relu"},
 *              {"name": "sum",   "op": "add", "in": ["relu1", "conv1"]}, …]}
 *
 * "in" is the node before when absent ("input" is the image). The last node gives the logits. */
#ifndef MODEL_SPEC_H
#define MODEL_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/json.h"
#include "common/status.h"
#include "model/preprocess.h"

#define NN_NAME 64 /* longest node name, with its NUL */

enum nn_kind {
    NN_CONV,
    NN_BATCHNORM,
    NN_RELU,
    NN_GELU, /* exact: x/2 (1 + erf(x / sqrt 2)) */
    NN_SIGMOID,
    NN_TANH,
    NN_MAXPOOL,
    NN_AVGPOOL,
    NN_LINEAR,
    NN_ADD,
    NN_FLATTEN, /* to features in C, H, W order, as PyTorch's columns of the linear node behind */
    NN_DROPOUT,
    NN_SCALE,
    NN_KIND_COUNT
};
const char *nn_kind_name(enum nn_kind kind); /* "conv" */

/* One image's worth of a node's output. Flat features have h = w = 1. */
struct nn_shape {
    int c, h, w;
};
static inline size_t nn_shape_count(struct nn_shape s)
{
    return (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

enum nn_init {
    NN_INIT_DEFAULT, /* PyTorch's: U(+-1/sqrt(fan_in)) for conv and linear; 1, 0 for batchnorm */
    NN_INIT_DIRAC,   /* conv: default, then the first min(in, out) filters become the identity */
    NN_INIT_WHITEN,  /* conv: eigenvectors of patches and their negatives, from images (init.h) */
    NN_INIT_ZERO,
};

#define NN_INPUT (-1) /* as an input number: the preprocessed image */

struct nn_node {
    char name[NN_NAME];
    enum nn_kind kind;
    int ninputs;           /* 1, or 2 for add */
    int input[2];          /* node numbers, or NN_INPUT; always smaller than the node's own */
    struct nn_shape shape; /* of the output */
    int out;               /* conv, linear: channels or features */
    /* conv and pools; square, symmetric; pools floor. maxpool pads with -inf, avgpool counts
     * padding as PyTorch does; avgpool kernel 0: global. */
    int kernel, stride, pad;
    bool bias;          /* conv, linear */
    double eps;         /* batchnorm */
    double momentum;    /* batchnorm: running = (1 - m) running + m batch, unbiased variance */
    double p;           /* dropout: probability of a zero; scale: the factor */
    enum nn_init init;  /* of the weight */
    double init_std;    /* > 0: after init the weight is scaled to this standard deviation */
    bool freeze_weight; /* not trained (a frozen batchnorm weight stays 1) */
    bool freeze_bias;
};

struct nn_spec {
    char name[NN_NAME];
    struct nn_shape input;
    struct nn_preprocess preprocess;
    int nclasses;             /* = logits */
    char (*classes)[NN_NAME]; /* nclasses names; "0", "1", … when the file has none */
    int nnodes;
    struct nn_node *nodes; /* in an order that can be computed */
};

/* From a parsed file; where names it in messages. Errors name the node: unknown op (and the
 * nearest), unknown key, a missing or later input, shapes of an add that differ, a linear behind an
 * unflattened image, a kernel larger than its padded input, "fc1: flatten gives 400 features, 'in'
 * says 256" when the optional "in_features" or "in_channels" does not fit, a class list whose
 * length is not the logits'. */
CM_MUST_CHECK cm_status nn_spec_parse(struct nn_spec **out, const struct cm_json *json,
                                      const char *where);
/* From a path, or "zoo:NAME" (searched in $FLYWHEEL_ZOO, beside the program and in the source
 * tree). */
CM_MUST_CHECK cm_status nn_spec_load(struct nn_spec **out, const char *path_or_zoo);
void nn_spec_close(struct nn_spec **spec);

/* model.json again, canonical: parse(write(s)) equals s, and the same spec gives the same bytes. */
CM_MUST_CHECK cm_status nn_spec_write(const struct nn_spec *spec, struct cm_jw *w);
/* Replaces the class names (a data set's); n must be nclasses. */
CM_MUST_CHECK cm_status nn_spec_set_classes(struct nn_spec *spec, const char *const *names, int n);

#endif
