#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "model/backend.h"
#include "model/dnnl.h"
#include "model/kernels/kernels.h"

void nn_cpu_lane_start(void *unused)
{
    (void)unused;
    omp_set_num_threads(1);
}

void nn_cpu_describe(char *text, size_t n)
{
    char version[16];
    nn_dnnl_version(version, sizeof version);
    (void)snprintf(text, n, "oneDNN %s isa %s, kernels %s", version, nn_dnnl_isa_name(),
                   nn_kernels_best()->isa);
}

#define SIDE    1024               /* of the matrices */
#define COPY    ((size_t)64 << 20) /* bytes: past every cache */
#define REPEATS 5 /* the best counts: the limit is what the machine can, undisturbed */

static double seconds_since(int64_t start_ns)
{
    return (double)(cm_now_ns() - start_ns) * 1e-9;
}

static cm_status time_products(const struct nn_dnnl_layer *layer, enum nn_dtype dtype, double *best)
{
    size_t size = nn_dtype_size(dtype);
    char *x = NULL, *y = NULL, *scratch = NULL;
    cm_status st = CM_OK;
    CM_GOTO(st, cm_alloc_aligned(&x, (size_t)SIDE * SIDE, size, "matrix"), out);
    CM_GOTO(st, cm_alloc_aligned(&y, (size_t)SIDE * SIDE, size, "matrix"), out);
    CM_GOTO(st, cm_alloc_aligned(&scratch, nn_dnnl_scratch(layer), 1, "scratch"), out);
    for (int i = 0; i <= REPEATS; i++) {
        int64_t start = cm_now_ns();
        CM_GOTO(st, nn_dnnl_forward(layer, SIDE, 0, x, NULL, y, scratch), out);
        double s = seconds_since(start);
        if (i > 0 && (i == 1 || s < *best)) /* the first one warms up */
            *best = s;
    }
out:
    cm_free(&x);
    cm_free(&y);
    cm_free(&scratch);
    return st;
}

static cm_status measure_flops(enum nn_dtype dtype, double *flops_per_s)
{
    static const int batch = SIDE;
    const struct nn_op_desc desc = {.kind = NN_OP_LINEAR,
                                    .name = "limit",
                                    .dtype = dtype,
                                    .x = {SIDE, 1, 1},
                                    .y = {SIDE, 1, 1},
                                    .batches = &batch,
                                    .nbatches = 1,
                                    .nlanes = 1,
                                    .threads = 1};
    const struct nn_dnnl_config cfg = {.desc = &desc, .pass = NN_DNNL_FORWARD, .dtype = dtype};
    struct nn_dnnl_layer *layer = NULL;
    double best = 0.0;
    CM_TRY(nn_dnnl_open(&layer, &cfg));
    cm_status st = time_products(layer, dtype, &best);
    nn_dnnl_close(&layer);
    if (st == CM_OK)
        *flops_per_s = 2.0 * SIDE * SIDE * SIDE / best;
    return st;
}

static cm_status measure_copy(double *bytes_per_s)
{
    char *from = NULL, *to = NULL;
    double best = 0.0;
    cm_status st = CM_OK;
    CM_GOTO(st, cm_alloc_aligned(&from, COPY, 1, "copy"), out);
    CM_GOTO(st, cm_alloc_aligned(&to, COPY, 1, "copy"), out);
    for (int i = 0; i <= REPEATS; i++) {
        from[0] = (char)i; /* so that no copy can be left out */
        int64_t start = cm_now_ns();
        memcpy(to, from, COPY);
        double s = seconds_since(start);
        if (i > 0 && (i == 1 || s < best) && to[0] == from[0])
            best = s;
    }
    *bytes_per_s = 2.0 * (double)COPY / best;
out:
    cm_free(&from);
    cm_free(&to);
    return st;
}

cm_status nn_cpu_measure_limits(enum nn_dtype dtype, double *flops_per_s, double *bytes_per_s)
{
    CM_TRY(measure_flops(dtype, flops_per_s));
    return measure_copy(bytes_per_s);
}
