/* Section "online" of the config: where feedback comes from, when a batch is closed, how it is
 * trained on, and what a candidate must show before it becomes champion. */
#ifndef ONLINE_ONLINE_CONFIG_H
#define ONLINE_ONLINE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "trainer/train_config.h"

enum ol_replay_kind { OL_REPLAY_BALANCED, OL_REPLAY_UNIFORM };

struct ol_config {
    char redis[CM_CONFIG_STRING];
    char redis_user[CM_CONFIG_STRING];
    char redis_password_file[CM_CONFIG_STRING];
    int64_t redis_timeout_ms;
    int64_t poll_ms, scan_ms, retry_max_ms;

    int64_t entries, min_entries;
    double max_wait_s, drain_wait_s;
    int64_t quota;
    int64_t max_image_kib, max_image_side;
    int64_t dedup;

    double epochs;
    int64_t batch;
    double replay_ratio;
    int replay; /* enum ol_replay_kind */
    int optimizer;
    double lr, momentum, weight_decay, clip_norm;

    double margin, recall_drop, recall_floor, max_update, min_gain;

    char alias[CM_CONFIG_STRING];
    double drift_delta;
    int64_t keep_states, keep_logs, keep_letters;
    bool trim;
};
extern const struct cm_section ol_config_section;

/* What needs two keys, or another section, to be judged. nholdout: data.holdout; shards:
 * train.shards. */
CM_MUST_CHECK
cm_status ol_config_check(const struct ol_config *cfg, int64_t nholdout, int64_t shards);

/* The training config of batch number `number`: train's, with the online section's own optimiser, a
 * constant rate, and streams of random numbers that no other batch has. */
struct tr_train_config ol_config_train(const struct ol_config *cfg,
                                       const struct tr_train_config *train, int64_t number);

#endif
