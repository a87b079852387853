/* The cpu backend: oneDNN for products with weights, fused passes of our own for what lies between.
 */
#include <string.h>

#include "common/vec.h"
#include "model/activation.h"
#include "model/batchnorm.h"
#include "model/conv2d.h"
#include "model/dnnl.h"
#include "model/elementwise.h"
#include "model/host_memory.h"
#include "model/input.h"
#include "model/kernels/kernels.h"
#include "model/linear.h"
#include "model/loss.h"
#include "model/pool.h"

static bool has_dtype(enum nn_dtype dtype)
{
    return dtype == NN_F32 || (dtype == NN_BF16 && nn_dnnl_has_bf16());
}

static cm_status accumulate(const struct nn_backend *self, struct ln_lane *lane,
                            enum nn_dtype dtype, void *dst, const void *src, size_t n)
{
    (void)self;
    (void)lane;
    nn_kernels_best()->map->add(dtype, dst, src, dst, n);
    return CM_OK;
}

static cm_status to_f32(const struct nn_backend *self, struct ln_lane *lane, enum nn_dtype dtype,
                        float *dst, const void *src, size_t n)
{
    (void)self;
    (void)lane;
    if (dtype == NN_F32)
        memcpy(dst, src, n * sizeof *dst);
    else
        cm_vec_from_bf16(dst, src, n);
    return CM_OK;
}

const struct nn_backend *nn_backend_cpu(void)
{
    static const struct nn_backend backend = {
        .name = "cpu",
        .impl = {[NN_OP_INPUT] = &nn_input_cpu,
                 [NN_OP_CONV] = &nn_conv2d_cpu,
                 [NN_OP_NORM] = &nn_batchnorm_cpu,
                 [NN_OP_ACT] = &nn_activation_cpu,
                 [NN_OP_POOL] = &nn_pool_cpu,
                 [NN_OP_LINEAR] = &nn_linear_cpu,
                 [NN_OP_ADD] = &nn_add_cpu,
                 [NN_OP_SCALE] = &nn_scale_cpu,
                 [NN_OP_FLATTEN] = &nn_flatten_cpu,
                 [NN_OP_DROPOUT] = &nn_dropout_cpu,
                 [NN_OP_LOSS] = &nn_loss_cpu},
        .fuses = true,
        .has_dtype = has_dtype,
        .alloc = nn_host_alloc,
        .release = nn_host_release,
        .zero = nn_host_zero,
        .copy = nn_host_copy,
        .accumulate = accumulate,
        .to_f32 = to_f32,
    };
    return &backend;
}
