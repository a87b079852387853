/* The engine on a device, against the CPU's and against itself: for the host as a GPU
 * (test_engine_device) and for a GPU (test_engine_cuda). Small networks, a few dozen images. */
#ifndef TESTS_PARITY_ENGINE_STEPS_H
#define TESTS_PARITY_ENGINE_STEPS_H

#include "trainer/engine.h"

#define STEPS_SIDE   8
#define STEPS_IMAGES 41 /* the last batch is smaller, and shards are of several sizes */

/* An engine with all that it borrows. */
struct steps {
    struct tr_model_config model;
    struct tr_train_config train;
    struct ar_config allreduce;
    struct cm_config *file;
    struct ar_group *group;
    struct nn_spec *spec;
    struct nn_layout *layout;
    struct tr_engine_config cfg;
    struct tr_engine *engine;
    uint8_t images[STEPS_IMAGES * STEPS_SIDE * STEPS_SIDE * 3];
    int32_t labels[STEPS_IMAGES];
    uint32_t id[STEPS_IMAGES];
};

/* sets: settings, "" ends them. device NULL: the CPU's engine. steps_prepare opens all but the
 * engine and its first weights. */
struct steps *steps_prepare(struct nn_device *device, const char *const *sets);
cm_status steps_start(struct steps *s);
struct steps *steps_open(struct nn_device *device, const char *const *sets);
void steps_close(struct steps **s);

/* As many steps ahead as the engine can. Returns the last one's outcome. */
struct tr_outcome steps_run(struct steps *s, int64_t from, int64_t to);
/* Fetched: weights, statistics and optimiser. */
bool steps_same(struct steps *a, struct steps *b);
/* Largest difference as a share of the tensor's largest number; fills where with its name. */
double steps_distance(struct steps *a, struct steps *b, const char **where);

/* Tests: *state is the device. */
void test_losses_and_weights_are_the_cpus(void **state);
void test_updates_are_the_cpus(void **state);
void test_look_aheads_are_the_cpus(void **state);
void test_weights_are_scored_in_place(void **state);
void test_graphs_change_no_bit(void **state);
void test_steps_ahead_change_no_bit(void **state);
void test_what_stopped_is_named_with_a_step_behind_it(void **state);
void test_reruns_and_resumes_change_no_bit(void **state);
void test_fp16_skips_and_grows(void **state);
void test_a_bad_weight_is_named(void **state);
void test_fast_is_the_cpus(void **state);
void test_drawn_samples_are_the_callers(void **state);

#endif
