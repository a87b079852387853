/* Ops: what the steps of a plan are made of, and the contract between the plan and a backend.
 *
 * Activations are (N, H, W, C) in the plan's dtype; parameters are fp32 in the arena's order. A
 * backend is a const table with one row (struct nn_op_impl) per op; ref is the oracle (plain loops,
 * double sums), cpu uses oneDNN and fused passes. An op instance is opened once per plan for all
 * shard sizes; it then runs for many shards at the same time, so between open and close it changes
 * nothing but its prepared weights. Results for a shard depend on that shard only, never on the
 * lane or the number of threads. */
#ifndef MODEL_OP_H
#define MODEL_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/lane.h"
#include "common/status.h"
#include "model/draw.h"
#include "model/layout.h"
#include "model/spec.h"

enum nn_dtype { NN_F32, NN_BF16, NN_F16, NN_F64 }; /* fp64: ref only, to check gradients in */
size_t nn_dtype_size(enum nn_dtype dtype);
const char *nn_dtype_name(enum nn_dtype dtype);

enum nn_op_kind {
    NN_OP_INPUT,  /* input.h: gather, augment and normalise uint8 images */
    NN_OP_CONV,   /* conv2d.h */
    NN_OP_NORM,   /* batchnorm.h: [max pool] → batch norm → [+ residual] → [activation] */
    NN_OP_ACT,    /* activation.h */
    NN_OP_POOL,   /* pool.h: max and average */
    NN_OP_LINEAR, /* linear.h */
    NN_OP_ADD,    /* elementwise.h: add, scale, flatten, dropout */
    NN_OP_SCALE,
    NN_OP_FLATTEN,
    NN_OP_DROPOUT,
    NN_OP_LOSS, /* loss.h */
    NN_OP_COUNT
};
const char *nn_op_kind_name(enum nn_op_kind kind);

enum nn_act { NN_ACT_NONE, NN_ACT_RELU, NN_ACT_GELU, NN_ACT_SIGMOID, NN_ACT_TANH };
enum nn_pad_mode { NN_PAD_ZERO, NN_PAD_REFLECT };
enum nn_loss_kind { NN_LOSS_CROSS_ENTROPY, NN_LOSS_MSE };

struct nn_step_values; /* step.h */
struct nn_engines;     /* engines.h */

/* What an instance computes. Fields of other kinds are zero. */
struct nn_op_desc {
    enum nn_op_kind kind;
    const char *name; /* the node's, for messages; borrowed for the op's life */
    enum nn_dtype dtype;
    struct nn_shape x, y; /* input (the first of two) and output, per image */
    /* conv, pool; for norm the pool in front of it (kernel 0: none), never padded. */
    int kernel, stride, pad;
    bool average;       /* pool */
    bool bias;          /* conv, linear */
    bool freeze_weight; /* conv, linear, norm: their part of dparam is written as zeros */
    bool freeze_bias;
    double eps;                /* norm */
    bool residual;             /* norm: x[1] is added before the activation */
    enum nn_act act;           /* act, norm */
    double p;                  /* dropout, scale */
    float mean[3], std[3];     /* input */
    enum nn_pad_mode pad_mode; /* input */
    enum nn_loss_kind loss;
    double label_smoothing;

    const int *batches; /* shard sizes that will be run, ascending; borrowed for the op's life */
    int nbatches;
    bool training;     /* backward will be called; norm uses batch statistics */
    bool need_dx;      /* false for what reads the image */
    int nlanes;        /* lane numbers passed to run are below this */
    int threads;       /* inside one op; 1 when shards run beside each other */
    bool emulate_bf16; /* bf16 storage and rounding on fp32 arithmetic, where the CPU has no bf16;
                          open sets it for an op that its library cannot compute in bf16 */
    struct nn_engines *engines; /* where products look their way up, and leave it; NULL: nowhere */
};

/* What an instance needs; filled by open. */
struct nn_op_needs {
    size_t saved_fixed;     /* bytes kept from forward to backward, per shard … */
    size_t saved_per_image; /* … plus this for each image */
    size_t scratch;         /* bytes per lane, at 256 bytes in a plan; live during one call */
    size_t dparam; /* floats of a shard's parameter gradient, in the op's own order; 0: none */
};

struct nn_op_impl;
struct nn_backend;
struct nn_op {
    const struct nn_op_impl *impl;
    const struct nn_backend *backend;
    struct nn_op_desc desc;
    struct nn_op_needs needs;
    void *state; /* the impl's own */
};

/* A shard's images and labels; borrowed until the shard's step is done. */
struct nn_batch {
    int n;
    const uint8_t *images;            /* (N, H, W, C), the whole data set or a request's pixels */
    const uint32_t *index;            /* n image numbers; NULL: 0 … n - 1 */
    const struct nn_augment *augment; /* n; NULL: none */
    const int32_t *labels;            /* n class numbers; NULL without loss */
};

/* A shard's outcome. */
struct nn_result {
    double loss;     /* summed over the images */
    int64_t correct; /* top class is the label; ties go to the lower class */
    int64_t count;
};

/* One call. Pointers of other kinds are NULL. Backward sees the x, y and saved of the shard's
 * forward, unchanged. */
struct nn_op_args {
    int n;    /* images */
    int lane; /* whose scratch and streams to use */
    struct ln_lane *stream;
    const void *x[2];
    void *y;
    const void *dy;
    void *dx[2]; /* NULL: not wanted; written, never added to */
    void *saved, *scratch;
    const float *param[4]; /* by enum nn_role: weight, bias, running mean, running variance */
    float *dparam;         /* written, never added to */
    const struct nn_batch *batch; /* input, loss */
    struct nn_result *result;     /* loss */
    const float *loss_scale;      /* loss: the gradient is times this number, kept where the backend
                                     computes; NULL: 1 */
    uint64_t seed;                /* dropout: with step and first_sample the key of its numbers */
    uint32_t step;
    uint32_t first_sample; /* of this shard in the global batch */
    /* On a device: the step's values in its memory. The step number for dropout is read there, and
     * the loss's gradient is times its loss scale. NULL: step above, and 1. */
    const struct nn_step_values *values;
};

struct nn_op_impl {
    const char *name; /* "conv/cpu" */
    /* op->desc is filled. Sets needs and state. CM_EUNSUPPORTED when the backend cannot (says what
     * and why). */
    cm_status (*open)(struct nn_op *op);
    void (*close)(struct nn_op *op); /* NULL: nothing to release */
    /* Takes new weights into the op's own order. Not beside a run of the same op. NULL: reads the
     * arena directly. */
    cm_status (*prepare)(struct nn_op *op, struct ln_lane *lane, const float *const param[4]);
    cm_status (*forward)(const struct nn_op *op, const struct nn_op_args *args);
    cm_status (*backward)(const struct nn_op *op,
                          const struct nn_op_args *args); /* NULL: has no gradient */
    /* Turns a sum of dparams into arena order: grad[role] (NULL for absent ones). NULL: dparam is
     * already the tensors in order of role, each at a multiple of 16 floats. For norm the
     * statistics are n * batch mean, n * unbiased variance. */
    cm_status (*finish)(const struct nn_op *op, struct ln_lane *lane, const float *dparam,
                        float *const grad[4]);
};

/* What computes. Everything that ops read and write, struct nn_batch's arrays, results and weights
 * included, lies in the backend's memory. A call that names no lane (NULL) runs on the calling
 * thread, or on a device's own queue; on a device calls only enqueue, but for to_f32 without a
 * lane. */
struct nn_backend {
    const char *name;
    const struct nn_op_impl *impl[NN_OP_COUNT];
    bool fuses; /* the plan may use NORM with pool, residual and activation; else each is an op of
                   its own */
    bool (*has_dtype)(enum nn_dtype dtype); /* natively */
    /* Memory that the backend's ops read and write: at 64-byte alignment, zeroed; both take the
     * address of the pointer, as cm_alloc and cm_free do. */
    cm_status (*alloc)(const struct nn_backend *backend, void *out, size_t nbytes,
                       const char *what);
    void (*release)(const struct nn_backend *backend, void *p);
    cm_status (*zero)(const struct nn_backend *backend, struct ln_lane *lane, void *p,
                      size_t nbytes);
    cm_status (*copy)(const struct nn_backend *backend, struct ln_lane *lane, void *dst,
                      const void *src, size_t nbytes);
    /* Waits for all calls that named no lane, which other lanes do not wait for. NULL: they are
     * done when they return. */
    cm_status (*settle)(const struct nn_backend *backend);
    /* dst += src, n elements: where two consumers' gradients meet. */
    cm_status (*accumulate)(const struct nn_backend *backend, struct ln_lane *lane,
                            enum nn_dtype dtype, void *dst, const void *src, size_t n);
    /* To host fp32: logits. With a lane of a device dst is pinned, and filled when the lane gets
     * there. */
    cm_status (*to_f32)(const struct nn_backend *backend, struct ln_lane *lane, enum nn_dtype dtype,
                        float *dst, const void *src, size_t n);
};
const struct nn_backend *nn_backend_ref(void);
const struct nn_backend *nn_backend_cpu(void);

/* For tests and the plan. close is safe after a failed open, and a second time. */
CM_MUST_CHECK cm_status nn_op_open(struct nn_op *op, const struct nn_backend *backend,
                                   const struct nn_op_desc *desc);
void nn_op_close(struct nn_op *op);

#endif
