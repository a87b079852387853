/* Convolution and linear on oneDNN: the same bits on every lane and under every OpenMP setting, one
 * order of weight gradients for all shard sizes, and faults that say what was wrong. Values are the
 * parity tests' business. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/rng.h"
#include "model/backend.h"
#include "model/dnnl.h"
#include "model/op.h"

enum { LANES = 2, SMALL = 3, LARGE = 5, IN = 13, OUT = 19, SIDE = 9, KERNEL = 3 };
enum {
    X = LARGE * SIDE * SIDE * IN,
    Y = LARGE * SIDE * SIDE * OUT,
    W = OUT * IN * KERNEL * KERNEL
};

static const int batches[] = {SMALL, LARGE};

static struct nn_op_desc describe(void)
{
    return (struct nn_op_desc){.kind = NN_OP_CONV,
                               .name = "conv1",
                               .x = {IN, SIDE, SIDE},
                               .y = {OUT, SIDE, SIDE},
                               .kernel = KERNEL,
                               .stride = 1,
                               .pad = 1,
                               .bias = true,
                               .batches = batches,
                               .nbatches = 2,
                               .training = true,
                               .need_dx = true,
                               .nlanes = LANES,
                               .threads = 1};
}

struct fixture {
    struct nn_op op;
    float x[X], dy[Y], weights[W], bias[OUT];
};

/* What one call gives; every byte of it is compared. */
struct outcome {
    float y[Y], dx[X], *dparam;
    void *scratch;
    cm_status st;
};

static void fill(float *v, size_t n, uint32_t stream)
{
    for (size_t i = 0; i < n; i++)
        v[i] = cm_rng_unit(cm_rng_u32(1, CM_RNG_SYNTHETIC, stream, 0, (uint32_t)i)) - 0.5f;
}

static int setup(void **state)
{
    struct fixture *f;
    const struct nn_op_desc desc = describe();
    if (cm_alloc(&f, 1, sizeof *f, "fixture") != CM_OK)
        return -1;
    fill(f->x, X, 1);
    fill(f->dy, Y, 2);
    fill(f->weights, W, 3);
    fill(f->bias, OUT, 4);
    const float *const param[4] = {f->weights, f->bias};
    *state = f;
    if (nn_op_open(&f->op, nn_backend_cpu(), &desc) != CM_OK)
        return -1;
    return f->op.impl->prepare(&f->op, NULL, param) == CM_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    nn_op_close(&f->op);
    cm_free(&f);
    return 0;
}

static struct outcome *open_outcome(const struct nn_op *op)
{
    struct outcome *o;
    assert_int_equal(cm_alloc_aligned(&o, 1, sizeof *o, "outcome"), CM_OK);
    assert_int_equal(cm_alloc_aligned(&o->scratch, op->needs.scratch, 1, "scratch"), CM_OK);
    assert_int_equal(cm_alloc_aligned(&o->dparam, op->needs.dparam, sizeof(float), "dparam"),
                     CM_OK);
    return o;
}

static void close_outcome(struct outcome *o)
{
    cm_free(&o->scratch);
    cm_free(&o->dparam);
    cm_free(&o);
}

static cm_status run(const struct fixture *f, struct outcome *o, int n, int lane)
{
    struct nn_op_args args = {.n = n,
                              .lane = lane,
                              .x = {f->x},
                              .y = o->y,
                              .dy = f->dy,
                              .scratch = o->scratch,
                              .param = {f->weights, f->bias}};
    CM_TRY(f->op.impl->forward(&f->op, &args));
    args.dx[0] = o->dx;
    args.dparam = o->dparam;
    return f->op.impl->backward(&f->op, &args);
}

static void assert_same(const struct fixture *f, const struct outcome *a, const struct outcome *b)
{
    assert_memory_equal(a->y, b->y, sizeof a->y);
    assert_memory_equal(a->dx, b->dx, sizeof a->dx);
    assert_memory_equal(a->dparam, b->dparam, f->op.needs.dparam * sizeof(float));
}

struct job {
    const struct fixture *f;
    struct outcome *o;
    int lane;
};

static void *run_often(void *arg)
{
    struct job *job = arg;
    if (job->lane ==
        0) /* the other lane, as the main thread, keeps OpenMP's default of all cores */
        nn_cpu_lane_start(NULL);
    for (int i = 0; i < 20 && job->o->st == CM_OK; i++)
        job->o->st = run(job->f, job->o, LARGE, job->lane);
    return NULL;
}

static void test_lanes_beside_each_other(void **state)
{
    struct fixture *f = *state;
    struct outcome *want = open_outcome(&f->op);
    struct job jobs[LANES];
    pthread_t threads[LANES];
    assert_int_equal(run(f, want, LARGE, 0), CM_OK);
    for (int i = 0; i < LANES; i++) {
        jobs[i] = (struct job){f, open_outcome(&f->op), i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_often, &jobs[i]), 0);
    }
    for (int i = 0; i < LANES; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(jobs[i].o->st, CM_OK);
        assert_same(f, want, jobs[i].o);
        close_outcome(jobs[i].o);
    }
    close_outcome(want);
}

/* finish(a + b) == finish(a) + finish(b) for gradients of different shard sizes: their orders
 * agree. */
static void test_sizes_share_one_order(void **state)
{
    struct fixture *f = *state;
    struct outcome *a = open_outcome(&f->op), *b = open_outcome(&f->op);
    float grads[3][W + OUT];
    assert_int_equal(run(f, a, SMALL, 0), CM_OK);
    assert_int_equal(run(f, b, LARGE, 0), CM_OK);
    for (int k = 0; k < 3; k++) {
        float *const grad[4] = {grads[k], grads[k] + W};
        for (size_t i = 0; k == 2 && i < f->op.needs.dparam; i++)
            a->dparam[i] += b->dparam[i];
        assert_int_equal(f->op.impl->finish(&f->op, NULL, k == 1 ? b->dparam : a->dparam, grad),
                         CM_OK);
    }
    for (int i = 0; i < W + OUT; i++)
        assert_true(grads[2][i] == grads[0][i] + grads[1][i]);
    close_outcome(a);
    close_outcome(b);
}

static void test_unknown_size(void **state)
{
    struct fixture *f = *state;
    struct outcome *o = open_outcome(&f->op);
    assert_int_equal(run(f, o, 4, 0), CM_EINVAL);
    assert_string_equal(cm_error_text(), "4 images: not one of the op's 2 sizes");
    close_outcome(o);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct nn_op op;
    struct nn_op_desc desc = describe();
    desc.dtype = NN_BF16;
    desc.emulate_bf16 = true;
    long k = 0;
    cm_status st;
    do {
        (void)cm_mem_fail_at(++k);
        st = nn_op_open(&op, nn_backend_cpu(), &desc);
        (void)cm_mem_fail_at(0);
        nn_op_close(&op);
        assert_true(st == CM_OK || st == CM_ENOMEM);
    } while (st != CM_OK);
    assert_true(k > 10); /* at each allocation of three layers in turn */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lanes_beside_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes_share_one_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_size, setup, teardown),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
