/* What a GPU's driver and run-time library give, without their types: a plug-in fills the table
 * (model/cuda/driver_cuda.c), tests fill it with a script (tests/unit/test_gpu.c) or with the
 * host's own memory (tests/parity/driver_host.h). Codes are the library's own, 0 is success;
 * whoever calls makes messages of them. One thread at a time per stream, any thread otherwise;
 * the thread first says which GPU it means (use). */
#ifndef MODEL_DRIVER_H
#define MODEL_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "model/engines.h"
#include "model/op.h"

struct nn_comm_driver;
struct nn_grid;

struct nn_driver_info {
    char name[64];      /* "NVIDIA H200" */
    char uuid[37];      /* "5f4e…": the same GPU whatever its number */
    char libraries[80]; /* "CUDA 13.0, cuDNN 9.19.0, …" as loaded: bits may differ with them */
    int major, minor, multiprocessors;
    int driver; /* 13010: of CUDA 13.1 */
    size_t nbytes;
};

/* A product with weights that a library computes, at one batch size:
 *   forward  c = y:  a = x, b = filters
 *   data     c = dx: a = dy, b = filters
 *   filter   c = dw: a = x, b = dy
 * x and y (n, h, w, C); filters and dw (out, kernel, kernel, in); linear has h = w = kernel = 1.
 * Sums are fp32; fp32 operands are not shortened (no TF32). */
enum nn_product_pass { NN_PRODUCT_FORWARD, NN_PRODUCT_DATA, NN_PRODUCT_FILTER };
struct nn_product {
    bool linear;
    enum nn_product_pass pass;
    enum nn_dtype dtype; /* of all operands … */
    bool wide;           /* … but dw is fp32 */
    int n;
    struct nn_shape x, y;
    int kernel, stride, pad;
};
struct nn_product_plan {
    void *handle;
    size_t workspace;            /* bytes, at NN_GPU_ALIGN */
    char engine[NN_ENGINE_TEXT]; /* which of the library's ways it is: enough to choose it again */
    char why[192];               /* after a failure: what the library said */
};

struct nn_driver {
    const char *library; /* "CUDA 13.0, cuDNN 9.19": what it was built with */
    /* Memory ran out; no driver, or one too old for the library. */
    int out_of_memory, no_driver;
    const char *(*name_of)(int code); /* "cudaErrorMemoryAllocation" */
    const char *(*text_of)(int code);

    int (*count)(int *n);
    int (*describe)(int ordinal, struct nn_driver_info *info);
    int (*use)(int ordinal);
    int (*memory)(size_t *available, size_t *total);

    int (*alloc)(void **out, size_t nbytes);
    int (*release)(void *p);
    int (*pin)(void **out, size_t nbytes); /* host memory that copies need not stage */
    int (*unpin)(void *p);

    /* A stream carries the handles of the libraries that work in it. */
    int (*stream_open)(void **out, bool urgent);
    int (*stream_close)(void *stream);
    int (*stream_idle)(void *stream, bool *idle); /* tells what failed in it */
    int (*zero)(void *stream, void *p, size_t nbytes);
    int (*copy)(void *stream, void *dst, const void *src, size_t nbytes); /* any to any memory */
    /* kernel: enum nn_kernel of cuda/kernels_list.h; args are copied. */
    int (*launch)(void *stream, int kernel, const struct nn_grid *grid, const void *args);

    /* Only ways whose bits are the same in every run. engine NULL: the first of those that the
     * library's heuristic names and that works; else that very one. Never timed. */
    int (*product_open)(void *stream, const struct nn_product *product, const char *engine,
                        struct nn_product_plan *out);
    /* Those that the heuristic names, in its order and at most `most` of them; not all need work,
     * and one may be named twice. Returns how many: none where it fails. */
    int (*product_ways)(void *stream, const struct nn_product *product,
                        char (*engines)[NN_ENGINE_TEXT], int most);
    void (*product_close)(void *handle);
    int (*product_run)(void *stream, void *handle, const void *a, const void *b, void *c,
                       void *workspace);

    int (*event_open)(void **out);
    int (*event_close)(void *event);
    int (*event_record)(void *event, void *stream);
    int (*event_wait)(void *event, void *stream);
    int (*event_happened)(void *event, bool *happened);
    /* An event that knows when it happened; seconds between two that have. */
    int (*timer_open)(void **out);
    int (*timer_between)(void *from, void *to, double *seconds);

    /* What a stream, and others that join it by events, are given in between becomes a graph. */
    int (*capture_begin)(void *stream);
    int (*capture_end)(void *stream, void **graph);
    int (*graph_launch)(void *graph, void *stream);
    int (*graph_close)(void *graph);

    /* comm_driver.h: between the GPUs of several ranks; NULL: none. */
    const struct nn_comm_driver *comm;
};

#endif
