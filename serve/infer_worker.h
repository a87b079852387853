/* A worker process: loads versions when the gateway says so and answers its batches (worker.h of
 * wire).
 *
 *   the caller's thread   the socket, heartbeats, the list of models
 *   compute lane          one batch at a time
 *   load lane             one version at a time, at low priority, beside the batches
 */
#ifndef SERVE_INFER_WORKER_H
#define SERVE_INFER_WORKER_H

#include <stdbool.h>

#include "common/status.h"
#include "serve/serve_config.h"

struct sv_worker_config {
    const struct sv_config *serve;
    const char *run_dir;  /* whose serve.json tells the gateway's endpoint … */
    const char *endpoint; /* … when this is NULL */
    const char *store_dir;
    const char *name; /* for people: "node03:1" */
    int64_t number;   /* among the workers of this host: which of its GPUs is whose */
    int threads;      /* inside one op */
    int stop_fd;      /* readable: finish what is there, say goodbye, return */
};

/* Runs until stopped; a gateway that is away is waited for. CM_ETIMEDOUT: a batch took longer than
 * batch_timeout_ms. CM_EIO: the GPU is lost; what it was computing goes to another worker. *stuck:
 * a thread still computes or loads, and goes on using what it has, or the GPU would be waited for:
 * all that is left is to end the process by _exit. */
CM_MUST_CHECK
cm_status sv_worker_run(const struct sv_worker_config *cfg, bool *stuck);

#endif
