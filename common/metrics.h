/* Prometheus metrics (text format 0.0.4): counters, gauges, histograms with fixed bucket bounds.
 * Updates are atomic and may come from any thread; registration happens before threads start. */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct cm_metrics; /* a registry */
struct cm_metric;  /* owned by its registry */

CM_MUST_CHECK cm_status cm_metrics_open(struct cm_metrics **out);
void cm_metrics_close(struct cm_metrics **m);

/* name follows Prometheus' rules with base units ("flywheel_request_seconds"); labels is "" or
 * "role=\"worker\"". Metrics of one name and different labels share help. The same name and labels
 * again gives the same metric. */
CM_MUST_CHECK cm_status cm_metric_counter(struct cm_metric **out, struct cm_metrics *m,
                                          const char *name, const char *labels, const char *help);
CM_MUST_CHECK cm_status cm_metric_gauge(struct cm_metric **out, struct cm_metrics *m,
                                        const char *name, const char *labels, const char *help);
/* bounds: n ascending upper bounds; +Inf is implied. */
CM_MUST_CHECK cm_status cm_metric_histogram(struct cm_metric **out, struct cm_metrics *m,
                                            const char *name, const char *labels, const char *help,
                                            const double *bounds, size_t n);
/* 100 us .. 10 s in 1-2-5 steps: for latencies in seconds. */
extern const double cm_latency_bounds_s[];
extern const size_t cm_latency_nbounds;

/* NULL metrics are ignored by all three. */
void cm_metric_add(struct cm_metric *metric, double delta); /* counters (delta >= 0) and gauges */
void cm_metric_set(struct cm_metric *metric, double value); /* gauges */
void cm_metric_observe(struct cm_metric *metric, double value);
/* Of counters and gauges; a histogram's count. */
double cm_metric_value(const struct cm_metric *metric);

/* The whole exposition, NUL-terminated, from cm_alloc. */
CM_MUST_CHECK cm_status cm_metrics_text(const struct cm_metrics *m, char **text, size_t *n);
/* The same into a file, replaced atomically (not fsync'd: a scrape file). */
CM_MUST_CHECK cm_status cm_metrics_write(const struct cm_metrics *m, const char *path);

#endif
