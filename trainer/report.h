/* What the outside sees of a run: the progress line, events.jsonl, metrics.prom, summary.json. On
 * ranks other than 0, and with a zeroed report, every function does nothing. One thread at a time.
 */
#ifndef TRAINER_REPORT_H
#define TRAINER_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/events.h"
#include "common/metrics.h"
#include "common/progress.h"
#include "common/status.h"
#include "trainer/engine.h"
#include "trainer/evaluate.h"
#include "trainer/spike.h"

struct tr_report {
    bool on, quiet;
    const char *run_dir; /* borrowed */
    struct cm_events *events;
    struct cm_metrics *metrics;
    struct cm_metric *step, *images, *loss, *accuracy, *lr, *images_per_s;
    struct cm_metric *checkpoints, *checkpoints_lost, *stall, *rollbacks;
    struct cm_metric *test_accuracy, *holdout_accuracy;
    struct cm_progress progress;
    char label[64], note[128];
    bool line_open; /* the progress line */
    int64_t epoch;  /* the one that the sums are of; -1: none */
    double loss_sum, seconds;
    int64_t correct, count;   /* of the epoch's steps that this process ran */
    int64_t began_ns, nsteps; /* since its first step, and how many of the run it has finished */
    double metrics_written;   /* utc seconds */
};

/* rank 0 only; the run directory is there. quiet: no progress line. */
CM_MUST_CHECK cm_status tr_report_open(struct tr_report *r, const char *run_dir, bool quiet);
void tr_report_release(struct tr_report *r);

/* An event with one text or number; more fields: r->events and cm_events_begin. */
void tr_report_text(struct tr_report *r, const char *event, const char *key, const char *value);

/* Where a finished step lies: number `step` of the run's total, number `within` of those of its
 * epoch, which the run's end may cut short. */
struct tr_place {
    int64_t step, total;
    int64_t epoch, within, epoch_steps;
    double epochs; /* of the run */
};
/* After each step. The time left is the run's, at the pace of this process so far, evaluations and
 * all. */
void tr_report_step(struct tr_report *r, const struct tr_outcome *o, const struct tr_place *at);
/* Ends the progress line, if one is open. */
void tr_report_break(struct tr_report *r);
/* which: "test", "holdout", or "views", which has no metric. */
void tr_report_score(struct tr_report *r, const char *which, int64_t step,
                     const struct tr_score *score);
/* stall_s: of the seconds, those that training stood still. */
void tr_report_checkpoint(struct tr_report *r, int64_t version, int64_t step, double seconds,
                          double stall_s);
/* event: "checkpoint_failed", "checkpoint_skipped". */
void tr_report_no_checkpoint(struct tr_report *r, const char *event, int64_t step, const char *why);
/* One that is being written takes unusually long: seconds so far, and what they usually take (0:
 * not known). */
void tr_report_slow_checkpoint(struct tr_report *r, int64_t step, double seconds, double usual_s);
/* Back to a version (0: the beginning); why: what was wrong with the last of the steps. */
void tr_report_rollback(struct tr_report *r, int64_t version, const struct tr_skip *skip,
                        const char *why);

#endif
