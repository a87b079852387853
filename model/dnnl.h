/* The one adapter to oneDNN (2.x, C API): convolutions and matrix products with weights, for all
 * shard sizes of an op.
 *
 * A layer is one pass (forward, data gradient or weight gradient) of one op. Weights and weight
 * gradients are in the order that oneDNN likes best, the same for all sizes; import and export
 * translate from and to the arena's. Primitives are made for a thread count and run with it
 * whatever the calling thread's OpenMP setting is; their scratchpads are the caller's. Nothing of a
 * layer changes in a run, so different lanes may run it at the same time; a lane runs one thing at
 * a time. */
#ifndef MODEL_DNNL_H
#define MODEL_DNNL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/status.h"
#include "model/op.h"

/* oneDNN's effective instruction set has bf16 arithmetic (AVX512_BF16 or AMX). */
bool nn_dnnl_has_bf16(void);
/* "avx2": of the effective instruction set, which ONEDNN_MAX_CPU_ISA can lower. */
const char *nn_dnnl_isa_name(void);
/* "2.6.3" */
void nn_dnnl_version(char *text, size_t size);

enum nn_dnnl_pass { NN_DNNL_FORWARD, NN_DNNL_BACKWARD_DATA, NN_DNNL_BACKWARD_WEIGHTS };

struct nn_dnnl_config {
    const struct nn_op_desc *desc; /* conv or linear; borrowed for the call */
    enum nn_dnnl_pass pass;
    enum nn_dtype dtype; /* of activations and weights; weight gradients and bias are fp32 */
};

struct nn_dnnl_layer; /* opaque; owned by its op */

/* CM_EUNSUPPORTED: oneDNN has no kernel for the pass, or in bf16 only its reference loops.
 * CM_ECONFIG: OpenMP may not start as many threads. */
CM_MUST_CHECK cm_status nn_dnnl_open(struct nn_dnnl_layer **out, const struct nn_dnnl_config *cfg);
/* NULL is fine; sets *layer to NULL. */
void nn_dnnl_close(struct nn_dnnl_layer **layer);

/* Bytes of scratch of one run, at the largest size. */
size_t nn_dnnl_scratch(const struct nn_dnnl_layer *layer);
/* Bytes of the weights, or of their gradient, in the layer's order (with its padding). */
size_t nn_dnnl_weights_nbytes(const struct nn_dnnl_layer *layer);

/* Forward and data gradient. weights: arena order, fp32. Not beside a run of the layer. */
CM_MUST_CHECK cm_status nn_dnnl_import(struct nn_dnnl_layer *layer, const float *weights);
/* Weight gradient: from the layer's order to arena order. One call at a time. */
CM_MUST_CHECK cm_status nn_dnnl_export(const struct nn_dnnl_layer *layer, const float *dweights,
                                       float *arena);

/* n images, one of the op's sizes. bias NULL when the op has none. */
CM_MUST_CHECK cm_status nn_dnnl_forward(const struct nn_dnnl_layer *layer, int n, int lane,
                                        const void *x, const float *bias, void *y, void *scratch);
CM_MUST_CHECK cm_status nn_dnnl_backward_data(const struct nn_dnnl_layer *layer, int n, int lane,
                                              const void *dy, void *dx, void *scratch);
CM_MUST_CHECK cm_status nn_dnnl_backward_weights(const struct nn_dnnl_layer *layer, int n, int lane,
                                                 const void *x, const void *dy, float *dweights,
                                                 void *scratch);

#endif
