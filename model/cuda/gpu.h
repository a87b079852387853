/* A GPU behind a driver table: what the ops of its backend share. Private to model/cuda. */
#ifndef MODEL_CUDA_GPU_H
#define MODEL_CUDA_GPU_H

#include <stddef.h>
#include <stdint.h>

#include "common/lane.h"
#include "common/status.h"
#include "model/cuda/kernels_list.h"
#include "model/device.h"
#include "model/driver.h"
#include "model/op.h"

#define NN_GPU_ALIGN 256 /* bytes: what libraries ask of a workspace */

struct nn_device {
    struct nn_backend backend;
    const struct nn_driver *driver;
    int ordinal;
    struct nn_driver_info info;
    char description[192];
    void *stream; /* for calls without a lane */
};

/* Borrows driver. */
CM_MUST_CHECK cm_status nn_gpu_open(struct nn_device **out, const struct nn_driver *driver,
                                    int ordinal);

/* Makes a fault of a driver's code: "cuda:0: WHAT: cudaError… (code): text". 0 is CM_OK. */
CM_MUST_CHECK cm_status nn_gpu_check(const struct nn_device *gpu, int code, const char *what);

const struct nn_device *nn_gpu_of(const struct nn_backend *backend);
/* The lane's stream; the GPU's own for NULL. */
void *nn_gpu_stream(const struct nn_backend *backend, const struct ln_lane *lane);

/* The driver's own. */
void *nn_gpu_event(const struct ln_event *event);

/* args: the kernel's struct, copied. Nothing is launched for an empty grid. */
CM_MUST_CHECK cm_status nn_gpu_launch(const struct nn_backend *backend, struct ln_lane *lane,
                                      enum nn_kernel kernel, struct nn_grid grid, const void *args);

/* NN_PACK where rows of c elements can be read by 16 bytes, else 1. */
static inline int nn_gpu_width(size_t c)
{
    return c % NN_PACK == 0 ? NN_PACK : 1;
}

static inline size_t nn_gpu_aligned(size_t nbytes)
{
    return (nbytes + NN_GPU_ALIGN - 1) / NN_GPU_ALIGN * NN_GPU_ALIGN;
}

/* Floats that a tensor takes in a dparam. */
static inline size_t nn_gpu_padded(size_t n)
{
    return (n + 15) / 16 * 16;
}

/* CM_EUNSUPPORTED for fp64 and emulated dtypes, which are the host's. */
CM_MUST_CHECK cm_status nn_gpu_check_dtype(const struct nn_op_desc *desc);

extern const struct nn_op_impl nn_batchnorm_gpu, nn_activation_gpu, nn_pool_gpu, nn_add_gpu,
    nn_scale_gpu, nn_flatten_gpu, nn_dropout_gpu, nn_loss_gpu, nn_input_gpu, nn_conv2d_gpu,
    nn_linear_gpu;

/* search_gpu.c: the product in the way that was found for key, else in the fastest of the ways that
 * could be timed, else in the library's first. *code: the driver's where it has no way at all.
 * *seconds: of the plan, if all its rivals were timed now; else 0. */
CM_MUST_CHECK cm_status nn_gpu_search(const struct nn_device *gpu, const struct nn_product *product,
                                      const char *key, struct nn_engine_search *search,
                                      struct nn_product_plan *plan, double *seconds, int *code);

/* bias.c: db (c) = sums of dy's columns (rows, c), through space of nn_gpu_bias_space bytes; and
 * y += bias. */
size_t nn_gpu_bias_space(const struct nn_op_desc *desc, int n);
CM_MUST_CHECK cm_status nn_gpu_bias_gradient(const struct nn_op *op, const struct nn_op_args *a,
                                             float *db, void *space);
CM_MUST_CHECK cm_status nn_gpu_bias_add(const struct nn_op *op, const struct nn_op_args *a);

#endif
