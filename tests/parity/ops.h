/* One list of ops and odd shapes, and one way to run an op on a backend: whoever adds a backend
 * compares it with ref over this list. Inputs are a function of the case and of the seed;
 * no two values of a tensor of up to 4,096 elements are equal or nearer than 2^-10, and none is
 * nearer than 2^-11 to zero, so that small steps cross no kink of max or relu. */
#ifndef TESTS_PARITY_OPS_H
#define TESTS_PARITY_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/device.h"
#include "model/op.h"

struct op_case {
    const char *name;
    struct nn_op_desc desc; /* kind, x, and what the kind has; y.c for conv and linear */
    int n;
    bool large; /* too many elements for a difference per element */
};
extern const struct op_case op_cases[];
extern const size_t op_ncases;

enum op_out { OUT_Y, OUT_DX0, OUT_DX1, OUT_WEIGHT, OUT_BIAS, OUT_MEAN, OUT_VAR, OUT_COUNT };
extern const char *const op_out_names[];

/* A host buffer's copy on a device. */
struct op_mirror {
    const void *host;
    void *there;
    size_t nbytes;
};
#define OP_MIRRORS 32

/* Where a buffer ends and guard bytes begin. */
struct op_fence {
    const char *what;
    const uint8_t *end;
};
#define OP_FENCES 10

/* Inputs, outputs and the op; fields may be changed between runs. Buffers are the host's; a run on
 * a device copies all of them there and back. */
struct op_run {
    struct nn_op op;
    struct nn_device *device;
    unsigned seed;
    int nmirrors;
    struct op_mirror mirror[OP_MIRRORS];
    int nfences;
    struct op_fence fence[OP_FENCES];
    int batches[2];
    void *x[2], *y, *dy, *dx[2]; /* in the op's dtype */
    void *saved, *scratch;
    float *param[NN_ROLE_COUNT], *grad[NN_ROLE_COUNT], *dparam;
    size_t nx, ny, nparam[NN_ROLE_COUNT]; /* elements; nx of x[0], ny of y and x[1] */
    struct nn_batch batch;
    struct nn_result result;
    struct nn_batch batch_there;
};

struct op_options {
    struct nn_device *device; /* whose backend computes; NULL: the host's */
    enum nn_dtype dtype;
    bool emulate_bf16;
    bool inference;
    bool round_bf16; /* inputs, and weights of conv and linear, are bf16 numbers in any dtype */
};

/* $FLYWHEEL_TEST_SEED; without it 0. Whoever compares prints it. */
unsigned op_seed(void);

/* CM_EUNSUPPORTED when the backend cannot. A failed open needs no close. */
CM_MUST_CHECK
cm_status op_run_open(struct op_run *run, const struct nn_backend *backend, const struct op_case *c,
                      struct op_options options);
void op_run_close(struct op_run *run);
/* prepare, then forward. */
CM_MUST_CHECK
cm_status op_run_forward(struct op_run *run);
/* backward and finish; nothing for ops that have none. */
CM_MUST_CHECK
cm_status op_run_backward(struct op_run *run);

/* A buffer behind whose end something was written, where a plan has another op's values; NULL:
 * none. */
const char *op_run_trespass(const struct op_run *run);

double op_get(const struct op_run *run, const void *p, size_t i);
void op_put(const struct op_run *run, void *p, size_t i, double v);

/* 0 when the op has no such output. */
size_t op_out_count(const struct op_run *run, enum op_out out);
double op_out_value(const struct op_run *run, enum op_out out, size_t i);
/* How many products or values each element of an output is summed from: its rounding error is about
 * sqrt(terms) roundings of its magnitude. */
double op_out_terms(const struct op_run *run, enum op_out out);

#endif
