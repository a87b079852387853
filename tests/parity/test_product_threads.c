/* A convolution's weight gradient on more threads than OpenMP would give by itself. The environment
 * that this is about is read before main, so the program sets it and starts itself again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/mem.h"
#include "model/dnnl.h"

enum { IMAGES = 16, IN = 64, OUT = 32, SIDE = 12, THREADS = 8 };
enum { PIXELS = IMAGES * SIDE * SIDE, X = PIXELS * IN, Y = PIXELS * OUT, W = OUT * IN };
#define LIMIT      12
#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)
#define LIMIT_TEXT TEXT_OF(LIMIT)

static const int batch = IMAGES;

static struct nn_op_desc describe(int threads)
{
    return (struct nn_op_desc){.kind = NN_OP_CONV,
                               .name = "conv",
                               .x = {IN, SIDE, SIDE},
                               .y = {OUT, SIDE, SIDE},
                               .kernel = 1,
                               .stride = 1,
                               .batches = &batch,
                               .nbatches = 1,
                               .training = true,
                               .nlanes = 1,
                               .threads = threads};
}

static struct nn_dnnl_config config(const struct nn_op_desc *desc)
{
    return (struct nn_dnnl_config){.desc = desc, .pass = NN_DNNL_BACKWARD_WEIGHTS, .dtype = NN_F32};
}

static void fill(float *v, int n, int period)
{
    for (int i = 0; i < n; i++)
        v[i] =
            (float)(i * 7 % period); /* small integers: every order of sums gives the same bits */
}

/* (O, I) */
static float *weight_gradient(int threads)
{
    const struct nn_op_desc desc = describe(threads);
    const struct nn_dnnl_config cfg = config(&desc);
    struct nn_dnnl_layer *layer;
    float *x, *dy, *own, *dw;
    void *scratch;
    assert_int_equal(nn_dnnl_open(&layer, &cfg), CM_OK);
    assert_int_equal(cm_alloc_aligned(&x, X, sizeof *x, "x"), CM_OK);
    assert_int_equal(cm_alloc_aligned(&dy, Y, sizeof *dy, "dy"), CM_OK);
    assert_int_equal(cm_alloc_aligned(&own, nn_dnnl_weights_nbytes(layer), 1, "own order"), CM_OK);
    assert_int_equal(cm_alloc_aligned(&dw, W, sizeof *dw, "dw"), CM_OK);
    assert_int_equal(cm_alloc_aligned(&scratch, nn_dnnl_scratch(layer), 1, "scratch"), CM_OK);
    fill(x, X, 13);
    fill(dy, Y, 11);
    assert_int_equal(nn_dnnl_backward_weights(layer, IMAGES, 0, x, dy, own, scratch), CM_OK);
    assert_int_equal(nn_dnnl_export(layer, own, dw), CM_OK);
    cm_free(&scratch);
    cm_free(&own);
    cm_free(&dy);
    cm_free(&x);
    nn_dnnl_close(&layer);
    return dw;
}

/* With OMP_DYNAMIC, OpenMP gives no more threads than there are idle processors. */
static void test_no_part_is_left_out(void **state)
{
    (void)state;
    float *one = weight_gradient(1), *many = weight_gradient(THREADS);
    assert_memory_equal(one, many, W * sizeof *one);
    cm_free(&many);
    cm_free(&one);
}

static void test_limit_is_told(void **state)
{
    (void)state;
    const struct nn_op_desc desc = describe(LIMIT + 1);
    const struct nn_dnnl_config cfg = config(&desc);
    struct nn_dnnl_layer *layer;
    assert_int_equal(nn_dnnl_open(&layer, &cfg), CM_ECONFIG);
    assert_null(layer);
    assert_non_null(strstr(cm_error_text(), "OMP_THREAD_LIMIT is " LIMIT_TEXT));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_part_is_left_out),
        cmocka_unit_test(test_limit_is_told),
    };
    (void)argc;
    const char *limit = getenv("OMP_THREAD_LIMIT");
    if (!limit || strcmp(limit, LIMIT_TEXT) != 0) {
        if (setenv("OMP_THREAD_LIMIT", LIMIT_TEXT, 1) || setenv("OMP_DYNAMIC", "true", 1))
            return 1;
        execv("/proc/self/exe", argv);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
