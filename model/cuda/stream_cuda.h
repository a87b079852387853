/* A stream and the libraries' handles that work in it; private to the plug-in. */
#ifndef MODEL_CUDA_STREAM_CUDA_H
#define MODEL_CUDA_STREAM_CUDA_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "model/comm_driver.h"
#include "model/driver.h"

struct nn_cuda_stream {
    cudaStream_t stream;
    cudnnHandle_t cudnn;
    cublasLtHandle_t cublas;
    int ordinal; /* of its GPU: the calling thread may be set to another */
};

/* A code of nn_driver: cudaError_t as it is, cudnnStatus_t and cublasStatus_t above it. */
enum { NN_CODE_CUDNN = 1000000, NN_CODE_CUBLAS = 2000000 };
static inline int nn_code_of_cudnn(cudnnStatus_t st)
{
    return st == CUDNN_STATUS_SUCCESS ? 0 : NN_CODE_CUDNN + (int)st;
}
static inline int nn_code_of_cublas(cublasStatus_t st)
{
    return st == CUBLAS_STATUS_SUCCESS ? 0 : NN_CODE_CUBLAS + (int)st;
}

/* Bytes that an engine may ask for. */
#define NN_MOST_WORKSPACE ((size_t)1 << 30)

/* How each library implements nn_driver's product functions; a handle begins with this pointer. */
struct nn_product_library {
    void (*close)(void *handle);
    int (*run)(struct nn_cuda_stream *s, void *handle, const void *a, const void *b, void *c,
               void *workspace);
};

int nn_cudnn_open(struct nn_cuda_stream *s, const struct nn_product *product, const char *engine,
                  struct nn_product_plan *out);
int nn_cublas_open(struct nn_cuda_stream *s, const struct nn_product *product, const char *engine,
                   struct nn_product_plan *out);
int nn_cudnn_ways(struct nn_cuda_stream *s, const struct nn_product *product,
                  char (*engines)[NN_ENGINE_TEXT], int most);
int nn_cublas_ways(struct nn_cuda_stream *s, const struct nn_product *product,
                   char (*engines)[NN_ENGINE_TEXT], int most);

/* nccl_cuda.c */
extern const struct nn_comm_driver nn_cuda_comm;

/* launch_cuda.cu */
cudaError_t nn_cuda_launch(cudaStream_t stream, int kernel, const struct nn_grid *grid,
                           const void *args);

#endif
