/* Section "serve" of the config: where the gateway listens, how it batches, what it follows. */
#ifndef SERVE_SERVE_CONFIG_H
#define SERVE_SERVE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"

#define SV_BATCH_SIZES    16 /* most batch sizes that a worker prepares */
#define SV_DEFAULT_LISTEN "tcp://127.0.0.1:5570"

struct sv_config {
    /* gateway */
    char listen[CM_CONFIG_STRING];         /* SV_DEFAULT_LISTEN */
    char workers_listen[CM_CONFIG_STRING]; /* "": ipc in the run directory */
    char announce_listen[CM_CONFIG_STRING];
    char http_host[CM_CONFIG_STRING];
    int64_t http_port; /* 0: a free one; -1: no HTTP */
    int64_t http_threads, http_connections, http_read_ms;
    double max_body_mib;
    double max_wait_ms;
    int64_t queue_requests;
    double queue_mib;
    int64_t deadline_ms, max_deadline_ms;
    char alias[CM_CONFIG_STRING];
    int64_t poll_ms;
    int64_t load_timeout_ms, switch_ms;
    int64_t drain_notice_ms;

    /* gateway and worker */
    int64_t load_retry_ms, batch_timeout_ms;
    int64_t drain_ms;

    /* worker */
    int64_t max_batch;
    double max_image_mpixel;
    const struct cm_json *batch_sizes;
    int64_t heartbeat_ms;
    int64_t intra_threads; /* 0: cores / workers */
    char device[CM_CONFIG_STRING];
    int precision; /* enum nn_precision */

    /* capture */
    bool capture;
    char redis[CM_CONFIG_STRING];
    double capture_ttl_s, capture_mib;
    int64_t capture_queue;
};

extern const struct cm_section sv_config_section;

/* The batch sizes that a worker prepares, ascending, the last one max_batch: those of batch_sizes,
 * or the powers of two. CM_ECONFIG says what is wrong with them. */
CM_MUST_CHECK
cm_status sv_config_batches(const struct sv_config *cfg, int sizes[SV_BATCH_SIZES], int *n);

/* The device of the worker of that number: serve.device, or of its list the one whose turn it is.
 * which (CM_CONFIG_STRING bytes): "cpu", "auto", "cuda", "cuda:1". *turn: how many workers of lower
 * numbers are dealt a GPU ("cuda" and "auto" are). CM_ECONFIG: one in the list is none of these. */
CM_MUST_CHECK
cm_status sv_config_device(const struct sv_config *cfg, int64_t number,
                           char which[CM_CONFIG_STRING], int64_t *turn);

#endif
