/* All kernels: what a device launches (launch_cuda.cu) and tests run on a CPU (launch_host.c). */
#ifndef MODEL_CUDA_KERNELS_LIST_H
#define MODEL_CUDA_KERNELS_LIST_H

#include "model/cuda/arena_kernel.h"
#include "model/cuda/fold_kernel.h"
#include "model/cuda/input_kernel.h"
#include "model/cuda/loss_kernel.h"
#include "model/cuda/map_kernel.h"
#include "model/cuda/muon_kernel.h"
#include "model/cuda/norm_kernel.h"
#include "model/cuda/window_kernel.h"

/* X(name, arguments, phases): compiled for each dtype and width, which begin the arguments. */
#define NN_TYPED_KERNELS(X)                                                                        \
    X(map, struct nn_map_args, 1)                                                                  \
    X(flatten, struct nn_flatten_args, 1)                                                          \
    X(window_forward, struct nn_window_args, 1)                                                    \
    X(window_backward, struct nn_window_args, 1)                                                   \
    X(norm_sums, struct nn_norm_args, NN_NORM_PHASES)                                              \
    X(norm_apply, struct nn_norm_args, 1)                                                          \
    X(norm_backward_sums, struct nn_norm_args, NN_NORM_PHASES)                                     \
    X(norm_backward_apply, struct nn_norm_args, 1)                                                 \
    X(loss, struct nn_loss_args, NN_LOSS_PHASES)                                                   \
    X(input, struct nn_input_args, 1)

/* X(name, arguments, phases): once. */
#define NN_PLAIN_KERNELS(X)                                                                        \
    X(norm_fold, struct nn_fold_args, NN_FOLD_PHASES)                                              \
    X(norm_backward_fold, struct nn_fold_args, NN_FOLD_LEVELS + 2)                                 \
    X(norm_running, struct nn_running_args, 1)                                                     \
    X(loss_total, struct nn_total_args, NN_TOTAL_PHASES)                                           \
    X(draw, struct nn_draw_args, 1)                                                                \
    X(merge, struct nn_merge_args, 1)                                                              \
    X(squares, struct nn_squares_args, NN_SQUARES_PHASES)                                          \
    X(tree, struct nn_tree_args, NN_TREE_LEVELS + 1)                                               \
    X(results, struct nn_results_args, 1)                                                          \
    X(join, struct nn_join_args, 1)                                                                \
    X(decide, struct nn_decide_args, 1)                                                            \
    X(update, struct nn_update_args, 1)                                                            \
    X(muon_momentum, struct nn_muon_args, 1)                                                       \
    X(muon_norms, struct nn_muon_args, NN_MUON_NORMS_PHASES)                                       \
    X(muon_product, struct nn_muon_args, NN_MUON_PRODUCT_PHASES)                                   \
    X(muon_map, struct nn_muon_args, 1)                                                            \
    X(average, struct nn_average_args, 1)                                                          \
    X(statistics, struct nn_statistics_args, 1)                                                    \
    X(filter_import, struct nn_filter_args, 1)                                                     \
    X(filter_export, struct nn_filter_args, 1)                                                     \
    X(cast, struct nn_cast_args, 1)

enum nn_kernel {
#define NN_KERNEL_ENUM(name, args, phases) NN_KERNEL_##name,
    NN_TYPED_KERNELS(NN_KERNEL_ENUM) NN_PLAIN_KERNELS(NN_KERNEL_ENUM)
#undef NN_KERNEL_ENUM
        NN_KERNEL_COUNT
};

#endif
