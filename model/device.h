/* A device: where a plan's buffers lie and a training step computes. Beside the ops (backend) it
 * has lanes, memory that both it and the host reach, and the step's own arithmetic: drawing
 * samples, the tree's additions, the verdict, the update. Every call enqueues on a lane and
 * returns; pointers are the device's memory unless a line says host. Numbers that change from step
 * to step are in struct nn_step_values, on the device, so a step can be captured once and launched
 * again:
 *
 *   host      upload in ─► launch step ───────────────────────────────► download out
 *   lane 0         draw, input, forward, loss, backward ─► merge ─► … decide ─► update
 *   lane comm                                       bucket ready ─► sum over ranks ┘
 *
 * The CPU's lanes are threads and its memory the host's: its engine (trainer/engine.h) calls vec.h
 * and the optimiser directly, with the same arithmetic. */
#ifndef MODEL_DEVICE_H
#define MODEL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/lane.h"
#include "common/status.h"
#include "model/op.h"
#include "model/step.h"

struct nn_device; /* any thread; a lane's calls from one thread at a time */
struct nn_draw_args;
struct nn_update_args;
struct nn_statistics_args;
struct nn_muon_matrix;
struct nn_muon_work; /* what Muon keeps on a device */
struct nn_graph;     /* a captured step */

/* Does a config name GPUs: "auto", "cuda" or "cuda:N", N below 1024? */
bool nn_device_is_name(const char *which);
/* The device of the nth (from 0) of those that deal a host's GPUs out among them: "cuda" and "auto"
 * take them in turn. text: "cuda:1"; "" for another name. */
#define NN_DEVICE_NAME 24
void nn_device_name_nth(char text[NN_DEVICE_NAME], const char *which, int nth, int gpus);

/* GPUs that this process sees; 0 where none can be used, which opening one explains. */
int nn_device_count(void);
/* "cuda" (this host's first), "cuda:1", by number. CM_EUNSUPPORTED says which piece is missing:
 * the plug-in, a library, the driver, the GPU. */
CM_MUST_CHECK cm_status nn_device_open(struct nn_device **out, const char *which);
/* Lanes, events, graphs and memory of it are closed before. NULL is fine. */
void nn_device_close(struct nn_device **device);

const struct nn_backend *nn_device_backend(const struct nn_device *device);
/* "cuda:0 NVIDIA H200 sm_90, CUDA 13.0, cuDNN 9.19.0, cuBLASLt 13.1.0": part of a run's
 * fingerprint, without its number. */
const char *nn_device_describe(const struct nn_device *device);
/* The same without its number: what GPUs of one kind have in common. */
const char *nn_device_kind(const struct nn_device *device);
const char *nn_device_uuid(const struct nn_device *device);
/* Of the driver below the libraries, as it numbers itself. */
int nn_device_driver_version(const struct nn_device *device);

/* urgent: its work goes before that of other lanes (communication). The name is for messages. */
CM_MUST_CHECK cm_status nn_device_lane_open(struct nn_device *device, struct ln_lane **out,
                                            const char *name, bool urgent);
/* The first fault of its tasks since the last question, or sync: without waiting for the work that
 * they enqueued. */
CM_MUST_CHECK cm_status nn_device_lane_fault(struct ln_lane *lane);
CM_MUST_CHECK cm_status nn_device_event_open(struct nn_device *device, struct ln_event **out);
/* An event that can also be asked for the seconds between it and another, once both happened. */
CM_MUST_CHECK cm_status nn_device_timer_open(struct nn_device *device, struct ln_event **out);
CM_MUST_CHECK cm_status nn_device_timer_between(const struct nn_device *device,
                                                struct ln_event *from, struct ln_event *to,
                                                double *seconds);

/* Host memory for copies that do not wait; zeroed. NULL is fine for unpin, which sets *p to NULL.
 */
CM_MUST_CHECK cm_status nn_device_pin(struct nn_device *device, void *out, size_t nbytes,
                                      const char *what);
void nn_device_unpin(struct nn_device *device, void *p);
/* Between host and device, either way, or within the device. Host memory is pinned, or the call
 * waits. */
CM_MUST_CHECK cm_status nn_device_copy(struct nn_device *device, struct ln_lane *lane, void *dst,
                                       const void *src, size_t nbytes);

/* A node of the tree: dst += src, rounded to bf16 where compressed; src NULL: only rounded. */
CM_MUST_CHECK cm_status nn_device_merge(struct nn_device *device, struct ln_lane *lane, float *dst,
                                        const float *src, size_t n, bool compress);
/* y[i] = x[i] in another type, rounded to nearest. */
CM_MUST_CHECK cm_status nn_device_cast(const struct nn_device *device, struct ln_lane *lane,
                                       enum nn_dtype to, void *y, enum nn_dtype from, const void *x,
                                       size_t n);
/* *out = sum of squares, as cm_vec_sum_squares adds (the same bits). space: a double for each 4,096
 * elements, at least one. */
CM_MUST_CHECK cm_status nn_device_sum_squares(struct nn_device *device, struct ln_lane *lane,
                                              double *out, const float *x, size_t n, double *space);
/* sum[0 … 2] = loss, correct and images of n shards (a power of two), joined as the tree joins;
 * sum holds 3 n doubles. */
CM_MUST_CHECK cm_status nn_device_results(struct nn_device *device, struct ln_lane *lane,
                                          double *sum, const struct nn_result *shards, int n);
/* The same of n ranks' sums, (n, 3) and used up, neighbours first: the order of the tree over
 * ranks.
 */
CM_MUST_CHECK cm_status nn_device_join(struct nn_device *device, struct ln_lane *lane, double *sum,
                                       double *ranks, int n);
/* step.h; sum: three numbers over all ranks; squares: of the parameters' gradients and of the
 * statistics. */
CM_MUST_CHECK cm_status nn_device_decide(struct nn_device *device, struct ln_lane *lane,
                                         struct nn_step_values *values,
                                         const struct nn_step_rule *rule, const double *sum,
                                         const double *squares);
/* A shard's rows, labels and augmentation (cuda/input_kernel.h). */
CM_MUST_CHECK cm_status nn_device_draw(struct nn_device *device, struct ln_lane *lane,
                                       const struct nn_draw_args *args);
/* The optimiser over all parameters, in one launch; then the running statistics
 * (cuda/arena_kernel.h). */
CM_MUST_CHECK cm_status nn_device_update(struct nn_device *device, struct ln_lane *lane,
                                         const struct nn_update_args *args);
CM_MUST_CHECK cm_status nn_device_statistics(struct nn_device *device, struct ln_lane *lane,
                                             const struct nn_statistics_args *args);

/* Muon over n matrices (model/muon.h), with what update has but its spans; one step of a work at a
 * time. */
CM_MUST_CHECK cm_status nn_device_muon_open(struct nn_device *device, struct nn_muon_work **out,
                                            const struct nn_muon_matrix *matrices, size_t n);
void nn_device_muon_close(struct nn_muon_work **work);
CM_MUST_CHECK cm_status nn_device_muon(struct nn_muon_work *work, struct ln_lane *lane,
                                       const struct nn_update_args *update);
/* average = (1 - keep) weights + keep average, and weights = average; n floats. */
CM_MUST_CHECK cm_status nn_device_average(struct nn_device *device, struct ln_lane *lane,
                                          float *average, float *weights, size_t n, double keep);

/* What lane, and lanes that join it by events, are given between begin and end is captured, not
 * run; end gives NULL when it failed. All of it has run once before, uncaptured: libraries load
 * kernels at their first launch, which a capture may forbid. In between nobody asks whether a lane
 * is idle. */
CM_MUST_CHECK cm_status nn_device_capture_begin(struct nn_device *device, struct ln_lane *lane);
CM_MUST_CHECK cm_status nn_device_capture_end(struct nn_device *device, struct ln_lane *lane,
                                              struct nn_graph **out);
CM_MUST_CHECK cm_status nn_device_graph_launch(struct nn_device *device, struct nn_graph *graph,
                                               struct ln_lane *lane);
void nn_device_graph_close(struct nn_device *device, struct nn_graph **graph);

#endif
