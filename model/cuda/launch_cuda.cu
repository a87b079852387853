/* The kernels of kernels_list.h as CUDA kernels: phases with barriers between them, typed ones once
 * for each dtype and width, so that both are constants in the compiled loops. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

extern "C" {
#include "model/cuda/kernels_list.h"

cudaError_t nn_cuda_launch(cudaStream_t stream, int kernel, const struct nn_grid *grid,
                           const void *args);
}

/* Every phase loop is unrolled: the phase is a constant, and only its branch is compiled. */
template <int phase, int phases, class Body> __device__ inline void run_phases(const Body &body)
{
    if constexpr (phase < phases) {
        if constexpr (phase > 0)
            __syncthreads();
        body(phase);
        run_phases<phase + 1, phases>(body);
    }
}

extern __shared__ __align__(16) unsigned char shared_bytes[];

__device__ inline struct nn_cell cell_of_this_thread()
{
    struct nn_cell cell;
    cell.x = blockIdx.x;
    cell.y = blockIdx.y;
    cell.blocks_x = gridDim.x;
    cell.thread = threadIdx.x;
    cell.threads = blockDim.x;
    cell.shared = shared_bytes;
    return cell;
}

#define TYPED(name, type, phases)                                                                  \
    template <enum nn_dtype dtype, int width>                                                      \
    __global__ void __launch_bounds__(NN_MAX_TYPED) k_##name(const __grid_constant__ type args)    \
    {                                                                                              \
        const struct nn_cell cell = cell_of_this_thread();                                         \
        run_phases<0, phases>(                                                                     \
            [&](int phase) { nn_kernel_##name(&args, &cell, phase, dtype, width); });              \
    }                                                                                              \
    static cudaError_t launch_##name(cudaStream_t stream, const struct nn_grid *grid,              \
                                     const void *p)                                                \
    {                                                                                              \
        void (*kernel)(const type);                                                                \
        type args = *(const type *)p;                                                              \
        void *list[] = {&args};                                                                    \
        bool wide = args.width == NN_PACK;                                                         \
        if (args.dtype == NN_F32)                                                                  \
            kernel = wide ? k_##name<NN_F32, NN_PACK> : k_##name<NN_F32, 1>;                       \
        else if (args.dtype == NN_BF16)                                                            \
            kernel = wide ? k_##name<NN_BF16, NN_PACK> : k_##name<NN_BF16, 1>;                     \
        else                                                                                       \
            kernel = wide ? k_##name<NN_F16, NN_PACK> : k_##name<NN_F16, 1>;                       \
        return cudaLaunchKernel((const void *)kernel, dim3(grid->x, grid->y), dim3(grid->threads), \
                                list, grid->shared, stream);                                       \
    }
NN_TYPED_KERNELS(TYPED)
#undef TYPED

#define PLAIN(name, type, phases)                                                                  \
    __global__ void __launch_bounds__(NN_MAX_THREADS) k_##name(const __grid_constant__ type args)  \
    {                                                                                              \
        const struct nn_cell cell = cell_of_this_thread();                                         \
        run_phases<0, phases>([&](int phase) { nn_kernel_##name(&args, &cell, phase); });          \
    }                                                                                              \
    static cudaError_t launch_##name(cudaStream_t stream, const struct nn_grid *grid,              \
                                     const void *p)                                                \
    {                                                                                              \
        type args = *(const type *)p;                                                              \
        void *list[] = {&args};                                                                    \
        return cudaLaunchKernel((const void *)k_##name, dim3(grid->x, grid->y),                    \
                                dim3(grid->threads), list, grid->shared, stream);                  \
    }
NN_PLAIN_KERNELS(PLAIN)
#undef PLAIN

cudaError_t nn_cuda_launch(cudaStream_t stream, int kernel, const struct nn_grid *grid,
                           const void *args)
{
    switch (kernel) {
#define CASE(name, type, phases)                                                                   \
    case NN_KERNEL_##name:                                                                         \
        return launch_##name(stream, grid, args);
        NN_TYPED_KERNELS(CASE)
        NN_PLAIN_KERNELS(CASE)
#undef CASE
    default:
        return cudaErrorInvalidValue;
    }
}
