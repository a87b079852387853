/* The ref backend: the oracle that every other backend is compared with. Nothing fused, no threads,
 * no speed. */
#include "model/activation.h"
#include "model/batchnorm.h"
#include "model/conv2d.h"
#include "model/elementwise.h"
#include "model/host_memory.h"
#include "model/input.h"
#include "model/linear.h"
#include "model/loss.h"
#include "model/pool.h"
#include "model/ref.h"

cm_status nn_ref_check(const struct nn_op_desc *desc)
{
    if (desc->dtype == NN_F32 || desc->dtype == NN_F64 ||
        (desc->dtype == NN_BF16 && desc->emulate_bf16))
        return CM_OK;
    return CM_FAIL(CM_EUNSUPPORTED, "backend 'ref' has no %s", nn_dtype_name(desc->dtype));
}

static bool has_dtype(enum nn_dtype dtype)
{
    return dtype == NN_F32 || dtype == NN_F64;
}

static cm_status accumulate(const struct nn_backend *self, struct ln_lane *lane,
                            enum nn_dtype dtype, void *dst, const void *src, size_t n)
{
    (void)self;
    (void)lane;
    for (size_t i = 0; i < n; i++)
        nn_ref_put(dtype, dst, i, nn_ref_get(dtype, dst, i) + nn_ref_get(dtype, src, i));
    return CM_OK;
}

static cm_status to_f32(const struct nn_backend *self, struct ln_lane *lane, enum nn_dtype dtype,
                        float *dst, const void *src, size_t n)
{
    (void)self;
    (void)lane;
    for (size_t i = 0; i < n; i++)
        dst[i] = (float)nn_ref_get(dtype, src, i);
    return CM_OK;
}

static const struct nn_backend backend = {
    .name = "ref",
    .impl = {[NN_OP_INPUT] = &nn_input_ref,
             [NN_OP_CONV] = &nn_conv2d_ref,
             [NN_OP_NORM] = &nn_batchnorm_ref,
             [NN_OP_ACT] = &nn_activation_ref,
             [NN_OP_POOL] = &nn_pool_ref,
             [NN_OP_LINEAR] = &nn_linear_ref,
             [NN_OP_ADD] = &nn_add_ref,
             [NN_OP_SCALE] = &nn_scale_ref,
             [NN_OP_FLATTEN] = &nn_flatten_ref,
             [NN_OP_DROPOUT] = &nn_dropout_ref,
             [NN_OP_LOSS] = &nn_loss_ref},
    .fuses = false,
    .has_dtype = has_dtype,
    .alloc = nn_host_alloc,
    .release = nn_host_release,
    .zero = nn_host_zero,
    .copy = nn_host_copy,
    .accumulate = accumulate,
    .to_f32 = to_f32,
};

const struct nn_backend *nn_backend_ref(void)
{
    return &backend;
}
