/* What train, eval and the online loop share: config sections read, ranks met and agreed, data
 * loaded, network known. Every rank calls the same functions; a failure on one is a failure on all,
 * told by one. */
#ifndef TRAINER_SESSION_H
#define TRAINER_SESSION_H

#include <stdbool.h>

#include "allreduce/group.h"
#include "common/config.h"
#include "common/file.h"
#include "common/status.h"
#include "model/layout.h"
#include "model/spec.h"
#include "parameter/store_config.h"
#include "trainer/data.h"
#include "trainer/engine.h"
#include "trainer/evaluate.h"
#include "trainer/train_config.h"

struct tr_session_options {
    const char *config_path;
    const char *const *sets; /* "section.key=value" */
    size_t nsets;
    const char *run_dir;           /* NULL: what the config says */
    const struct cm_section *more; /* one more section, of the caller; NULL: none */
    void *more_values;             /* read into here; a part of config_text like the others */
};

struct tr_session {
    struct cm_config *config;
    struct tr_model_config model;
    struct tr_data_config data_config;
    struct tr_train_config train;
    struct ar_config allreduce;
    struct ps_config store;
    char run_dir[CM_PATH];
    char store_dir[CM_PATH];
    char *config_text; /* resolved, JSON */
    char *fingerprint; /* lines "item value": what the bits depend on beside config and data */

    struct ar_group *group;
    struct nn_device *device;  /* NULL: the host */
    struct tr_device_sum *sum; /* between the ranks' GPUs, once they have met; NULL: none */
    size_t bucket;             /* floats, where sums between GPUs were measured; else 0 */
    struct nn_spec *spec;
    struct nn_layout *layout;
    struct tr_data data; /* as the network takes it: preprocessed */
};

/* Sections that flywheel-train reads, up to a NULL: for --check and --help. */
extern const struct cm_section *const tr_session_sections[];

/* Reads the config and meets the other ranks. s starts zeroed; on failure it is released. */
CM_MUST_CHECK cm_status tr_session_open(struct tr_session *s,
                                        const struct tr_session_options *options);
/* Loads network and data set, and has the ranks agree on config, fingerprint, data and shapes.
 * spec: NULL for the config's network, or one to take over (also on failure) such as a version's.
 */
CM_MUST_CHECK cm_status tr_session_load(struct tr_session *s, struct nn_spec *spec);
/* Collective, before the first engine: where NCCL sums gradients, the ranks' GPUs meet, for all
 * engines of the session. */
CM_MUST_CHECK cm_status tr_session_meet(struct tr_session *s);
void tr_session_release(struct tr_session *s);
/* Before anything is freed, whatever st is. A failure is reported now: a launcher ends all ranks
 * once the first has gone. Where it says that a GPU did not answer, the process leaves here, since
 * freeing its memory would wait for it, for ever. */
void tr_session_fail(const struct tr_session *s, cm_status st, const char *doing);

/* Lanes of this rank: train.threads, or its share of the cores of the host, but no more than the
 * cores that it may run on. */
int tr_session_nlanes(const struct tr_session *s);
/* The run's training samples: the data set's training part without the holdout. */
struct tr_samples tr_session_samples(const struct tr_session *s);
/* An engine for all of that. Borrows s. */
struct tr_engine_config tr_session_engine(const struct tr_session *s);
/* An evaluator for all of that; on a device the test images stay there. Borrows s. */
struct tr_evaluator_config tr_session_evaluator(const struct tr_session *s);
/* The test images and labels, (data.n_test, H, W, C) and (data.n_test). */
const uint8_t *tr_session_test_images(const struct tr_session *s);
const int32_t *tr_session_test_labels(const struct tr_session *s);
const struct nn_backend *tr_session_backend(const struct tr_session *s);

/* Prints the resolved config of the sections above (--check). */
CM_MUST_CHECK cm_status tr_session_check(const struct tr_session_options *options);

#endif
