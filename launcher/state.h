/* What `up` leaves in the run directory for `status` and `down`: up.json, replaced at every change,
 * and up.lock, which is held by flock until `up` and every guardian are gone, so a free lock means
 * that nothing is left running. */
#ifndef LAUNCHER_STATE_H
#define LAUNCHER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/file.h"
#include "common/json.h"
#include "common/status.h"
#include "launcher/supervise.h"

/* CM_EBUSY: another `up` holds it, whom the message names; or what one that was killed had started
 * has not ended within wait_ms. *fd is closed by the caller. */
CM_MUST_CHECK
cm_status la_state_lock(int *fd, const char *run_dir, int64_t wait_ms);
/* True when nobody holds the lock of run_dir, or nobody ever did. */
bool la_state_is_free(const char *run_dir);
/* CM_EBUSY: a gateway, whoever started it, holds serve.lock (serve/endpoints.h) of run_dir. */
CM_MUST_CHECK
cm_status la_state_check_gateway(const char *run_dir);

CM_MUST_CHECK
cm_status la_state_write(const char *run_dir, const char *config, const struct la_supervisor *s,
                         double started_utc);

struct la_state_view { /* up.json as read; root owns the texts */
    struct cm_json *root;
    const struct cm_json *roles; /* an array */
    int64_t pid;
    uint64_t ticks;
    const char *host, *config;
    double started_utc;
    bool running; /* that very process is alive on this host, and has not let go of the lock */
};
/* CM_ENOTFOUND: `up` never ran there. */
CM_MUST_CHECK
cm_status la_state_read(struct la_state_view *view, const char *run_dir);
void la_state_release(struct la_state_view *view);

/* For people and for programs. healthy: `up` runs and every role runs or is done. */
CM_MUST_CHECK
cm_status la_state_print(const struct la_state_view *view, bool json, bool *healthy);

#endif
