/* The gateway's metrics. Names are for dashboards: they stay. */
#ifndef SERVE_GATEWAY_METRICS_H
#define SERVE_GATEWAY_METRICS_H

#include "common/metrics.h"

enum sv_transport { SV_ZMQ, SV_HTTP, SV_TRANSPORTS };
#define SV_STATUSES 9 /* of enum wi_status */
enum sv_where { SV_ON_CPU, SV_ON_GPU, SV_DEVICES };

struct sv_metrics {
    struct cm_metrics *registry;
    struct cm_metric *answers[SV_TRANSPORTS][SV_STATUSES];
    struct cm_metric *request_s[SV_TRANSPORTS];
    struct cm_metric *queue_s, *infer_s, *batch_images, *switch_pause_s, *load_s;
    struct cm_metric *queued, *inflight, *workers, *ready, *version, *version_created, *quarantined;
    struct cm_metric *workers_on[SV_DEVICES];
    struct cm_metric *switches, *refusals, *put_off, *stalls, *requeued, *duplicates, *malformed,
        *lost_replies;
    struct cm_metric *late_answers, *workers_lost, *captures, *captures_dropped, *http_refused;
};
CM_MUST_CHECK
cm_status sv_metrics_open(struct sv_metrics *m);
void sv_metrics_close(struct sv_metrics *m);

#endif
