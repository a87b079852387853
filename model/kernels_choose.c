/* The three copies of the kernels, and which of them this CPU gets. */
#include "model/kernels/kernels.h"

static bool supports_base(void)
{
    return true;
}

static bool supports_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("fma");
}

static bool supports_v4(void)
{
    return supports_v3() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const struct nn_kernels nn_kernels_all[NN_KERNELS_COUNT] = {
    {"x86-64", supports_base, &nn_norm_kernels_base, &nn_pool_kernels_base, &nn_map_kernels_base,
     &nn_matrix_kernels_base},
    {"x86-64-v3", supports_v3, &nn_norm_kernels_v3, &nn_pool_kernels_v3, &nn_map_kernels_v3,
     &nn_matrix_kernels_v3},
    {"x86-64-v4", supports_v4, &nn_norm_kernels_v4, &nn_pool_kernels_v4, &nn_map_kernels_v4,
     &nn_matrix_kernels_v4},
};

const struct nn_kernels *nn_kernels_best(void)
{
    int i = NN_KERNELS_COUNT - 1;
    while (!nn_kernels_all[i].supported())
        i--;
    return &nn_kernels_all[i];
}
