#include "serve/gateway_metrics.h"

#include <stdbool.h>
#include <stdio.h>

#include "wire/frame.h"

static const double batch_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
#define NBATCH_BOUNDS (sizeof batch_bounds / sizeof batch_bounds[0])

#define AT(field) offsetof(struct sv_metrics, field)

static const struct plain {
    size_t offset;
    bool gauge;
    const char *name, *help;
} plain[] = {
    {AT(queued), true, "flywheel_queued_requests", "Requests that wait for a worker."},
    {AT(inflight), true, "flywheel_inflight_requests", "Requests that a worker computes."},
    {AT(workers), true, "flywheel_workers", "Live workers."},
    {AT(ready), true, "flywheel_ready", "1 when a verified version can answer."},
    {AT(version), true, "flywheel_model_version", "Version that is served; 0: none."},
    {AT(version_created), true, "flywheel_model_created_seconds",
     "When the served version was written, UTC."},
    {AT(quarantined), true, "flywheel_quarantined_versions",
     "Versions that no worker is asked for."},
    {AT(switches), false, "flywheel_version_switches_total", "Versions that took over."},
    {AT(refusals), false, "flywheel_version_refusals_total",
     "Versions that could not be read, that a worker refused, or that workers died of loading."},
    {AT(put_off), false, "flywheel_version_put_off_total",
     "Versions that could not be read just now, while no other served."},
    {AT(stalls), false, "flywheel_rollout_stalls_total",
     "Versions that too few workers had loaded in time."},
    {AT(requeued), false, "flywheel_requeued_requests_total", "Requests given to another worker."},
    {AT(duplicates), false, "flywheel_duplicate_requests_total", "Requests that came again."},
    {AT(malformed), false, "flywheel_malformed_messages_total", "Messages that are none of ours."},
    {AT(lost_replies), false, "flywheel_lost_replies_total",
     "Replies to clients that are gone or do not read."},
    {AT(late_answers), false, "flywheel_late_answers_total",
     "Answers of workers that nobody waits for any more."},
    {AT(workers_lost), false, "flywheel_workers_lost_total", "Workers that died or fell silent."},
    {AT(captures), false, "flywheel_captures_total", "Answers kept in Redis."},
    {AT(captures_dropped), false, "flywheel_captures_dropped_total",
     "Answers that could not be kept."},
    {AT(http_refused), false, "flywheel_http_refused_total",
     "HTTP requests refused before they were looked at: too large, too many, or unclear."},
};

static const char *const devices[SV_DEVICES] = {"cpu", "cuda"};
static const char *const transports[SV_TRANSPORTS] = {"zmq", "http"};
static const char *const statuses[SV_STATUSES] = {[WI_OK] = "ok",
                                                  [WI_BAD_INPUT] = "bad_input",
                                                  [WI_TOO_LARGE] = "too_large",
                                                  [WI_OVERLOADED] = "overloaded",
                                                  [WI_TIMED_OUT] = "timed_out",
                                                  [WI_NOT_READY] = "not_ready",
                                                  [WI_STOPPING] = "stopping",
                                                  [WI_FAILED] = "failed",
                                                  [WI_UNSUPPORTED] = "unsupported"};

static cm_status open_plain(struct sv_metrics *m)
{
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        struct cm_metric **at = (void *)((char *)m + plain[i].offset);
        CM_TRY(plain[i].gauge
                   ? cm_metric_gauge(at, m->registry, plain[i].name, "", plain[i].help)
                   : cm_metric_counter(at, m->registry, plain[i].name, "", plain[i].help));
    }
    return CM_OK;
}

static cm_status open_latency(struct sv_metrics *m, struct cm_metric **out, const char *name,
                              const char *labels, const char *help)
{
    return cm_metric_histogram(out, m->registry, name, labels, help, cm_latency_bounds_s,
                               cm_latency_nbounds);
}

cm_status sv_metrics_open(struct sv_metrics *m)
{
    char labels[64];
    CM_TRY(cm_metrics_open(&m->registry));
    CM_TRY(open_plain(m));
    for (int d = 0; d < SV_DEVICES; d++) {
        snprintf(labels, sizeof labels, "device=\"%s\"", devices[d]);
        CM_TRY(cm_metric_gauge(&m->workers_on[d], m->registry, "flywheel_device_workers", labels,
                               "Live workers, by where they compute."));
    }
    for (int t = 0; t < SV_TRANSPORTS; t++) {
        for (int s = 0; s < SV_STATUSES; s++) {
            snprintf(labels, sizeof labels, "transport=\"%s\",status=\"%s\"", transports[t],
                     statuses[s]);
            CM_TRY(cm_metric_counter(&m->answers[t][s], m->registry, "flywheel_requests_total",
                                     labels, "Requests answered, by status."));
        }
        snprintf(labels, sizeof labels, "transport=\"%s\"", transports[t]);
        CM_TRY(open_latency(m, &m->request_s[t], "flywheel_request_seconds", labels,
                            "From arrival to reply."));
    }
    CM_TRY(open_latency(m, &m->queue_s, "flywheel_queue_seconds", "",
                        "From arrival to leaving for a worker."));
    CM_TRY(open_latency(m, &m->infer_s, "flywheel_infer_seconds", "",
                        "A batch's decoding and computing in the worker."));
    CM_TRY(open_latency(m, &m->switch_pause_s, "flywheel_switch_pause_seconds", "",
                        "How long no batch left because a version took over."));
    CM_TRY(open_latency(m, &m->load_s, "flywheel_version_rollout_seconds", "",
                        "From hearing of a version to serving it."));
    return cm_metric_histogram(&m->batch_images, m->registry, "flywheel_batch_images", "",
                               "Images of a batch.", batch_bounds, NBATCH_BOUNDS);
}

void sv_metrics_close(struct sv_metrics *m)
{
    cm_metrics_close(&m->registry);
}
