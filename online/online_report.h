/* What the outside sees of the loop: events.jsonl and metrics.prom of the run directory. On ranks
 * other than 0, zeroed, every function does nothing. One thread at a time. */
#ifndef ONLINE_ONLINE_REPORT_H
#define ONLINE_ONLINE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/events.h"
#include "common/metrics.h"
#include "common/status.h"
#include "online/feedback_batch.h"
#include "online/online_state.h"

struct ol_report {
    const char *run_dir; /* borrowed; NULL: off */
    struct cm_events *events;
    struct cm_metrics *metrics;
    struct cm_metric *fate[4]; /* by enum ol_fate */
    struct cm_metric *passed, *refused, *drifts;
    struct cm_metric *batch, *pending, *champion, *holdout, *seconds, *age;
    int64_t written_ns;
};

CM_MUST_CHECK
cm_status ol_report_open(struct ol_report *r, const char *run_dir);
void ol_report_release(struct ol_report *r);

/* While a batch is read; refreshes the metrics now and then. */
void ol_report_waiting(struct ol_report *r, size_t pending);
/* A batch was decided and its state committed. predicted: as for ol_entry_was_right. */
struct ol_report_batch {
    const struct ol_batch *batch;
    const struct ol_state *state; /* after it */
    int64_t version;              /* of the state */
    const int32_t *predicted;
    int64_t drifts;
    double seconds;
};
void ol_report_decided(struct ol_report *r, const struct ol_report_batch *b);

#endif
