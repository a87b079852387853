/* The step's own arithmetic on a GPU (device.h): each call is a launch or two. */
#include "model/cuda/gpu.h"
#include "model/device.h"

cm_status nn_device_merge(struct nn_device *gpu, struct ln_lane *lane, float *dst, const float *src,
                          size_t n, bool compress)
{
    struct nn_merge_args args = {.dst = dst, .src = src, .n = n, .round = compress};
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_merge, nn_grid_of(n), &args);
}

cm_status nn_device_cast(const struct nn_device *gpu, struct ln_lane *lane, enum nn_dtype to,
                         void *y, enum nn_dtype from, const void *x, size_t n)
{
    struct nn_cast_args args = {.n = n, .from = from, .to = to, .x = x, .y = y};
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_cast, nn_grid_of(n), &args);
}

cm_status nn_device_sum_squares(struct nn_device *gpu, struct ln_lane *lane, double *out,
                                const float *x, size_t n, double *space)
{
    struct nn_squares_args blocks = {.x = x, .n = n, .block = space};
    struct nn_tree_args tree = {.block = space, .n = nn_squares_blocks(n), .out = out};
    struct nn_grid one = {.x = 1, .y = 1, .threads = NN_MAX_THREADS};
    CM_TRY(nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_squares, nn_squares_grid(n), &blocks));
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_tree, one, &tree);
}

cm_status nn_device_results(struct nn_device *gpu, struct ln_lane *lane, double *sum,
                            const struct nn_result *shards, int n)
{
    struct nn_results_args args = {.shards = shards, .n = n, .sum = sum};
    struct nn_grid one = {.x = 1, .y = 1, .threads = 32};
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_results, one, &args);
}

cm_status nn_device_join(struct nn_device *gpu, struct ln_lane *lane, double *sum, double *ranks,
                         int n)
{
    struct nn_join_args args = {.n = n, .node = ranks, .sum = sum};
    struct nn_grid one = {.x = 1, .y = 1, .threads = 32};
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_join, one, &args);
}

cm_status nn_device_decide(struct nn_device *gpu, struct ln_lane *lane,
                           struct nn_step_values *values, const struct nn_step_rule *rule,
                           const double *sum, const double *squares)
{
    struct nn_decide_args args = {.values = values, .rule = *rule, .sum = sum, .squares = squares};
    struct nn_grid one = {.x = 1, .y = 1, .threads = 32};
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_decide, one, &args);
}

cm_status nn_device_draw(struct nn_device *gpu, struct ln_lane *lane,
                         const struct nn_draw_args *args)
{
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_draw, nn_grid_of(args->n), args);
}

cm_status nn_device_update(struct nn_device *gpu, struct ln_lane *lane,
                           const struct nn_update_args *args)
{
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_update, nn_grid_of(args->n), args);
}

cm_status nn_device_statistics(struct nn_device *gpu, struct ln_lane *lane,
                               const struct nn_statistics_args *args)
{
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_statistics, nn_grid_of(args->n), args);
}

cm_status nn_device_average(struct nn_device *gpu, struct ln_lane *lane, float *average,
                            float *weights, size_t n, double keep)
{
    struct nn_average_args args = {.average = average,
                                   .weights = weights,
                                   .n = n,
                                   .keep = (float)keep,
                                   .take = (float)(1 - keep)};
    return nn_gpu_launch(&gpu->backend, lane, NN_KERNEL_average, nn_grid_of(n), &args);
}

cm_status nn_device_capture_begin(struct nn_device *gpu, struct ln_lane *lane)
{
    void *stream = nn_gpu_stream(&gpu->backend, lane);
    return nn_gpu_check(gpu, gpu->driver->capture_begin(stream), "capturing a step");
}

cm_status nn_device_capture_end(struct nn_device *gpu, struct ln_lane *lane, struct nn_graph **out)
{
    void *graph = NULL;
    int code = gpu->driver->capture_end(nn_gpu_stream(&gpu->backend, lane), &graph);
    *out = code ? NULL : (struct nn_graph *)graph;
    return nn_gpu_check(gpu, code, "capturing a step");
}

cm_status nn_device_graph_launch(struct nn_device *gpu, struct nn_graph *graph,
                                 struct ln_lane *lane)
{
    void *stream = nn_gpu_stream(&gpu->backend, lane);
    return nn_gpu_check(gpu, gpu->driver->graph_launch(graph, stream), "launching a step");
}

void nn_device_graph_close(struct nn_device *gpu, struct nn_graph **graph)
{
    if (*graph)
        (void)gpu->driver->graph_close(*graph);
    *graph = NULL;
}
