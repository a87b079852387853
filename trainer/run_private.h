/* A run's insides, for its own files; nobody else includes this. run_start.c opens and resumes,
 * run.c is the loop, run_evaluate.c measures, run_save.c writes versions, run_rollback.c returns to
 * one, run_end.c sums up. */
#ifndef TRAINER_RUN_PRIVATE_H
#define TRAINER_RUN_PRIVATE_H

#include "allreduce/phases.h"
#include "trainer/audit.h"
#include "trainer/lost_run.h"
#include "trainer/publish.h"
#include "trainer/report.h"
#include "trainer/run.h"
#include "trainer/saver.h"

/* The control word: any rank raises, all see it after the same step, and heed it once no step is
 * under way. */
enum { TR_RUN_STOP = 1, TR_RUN_SAVE = 2 };

/* Versions of this process, as rank 0 knows them. */
struct tr_saves {
    int64_t newest;             /* version, or the one that the run was resumed from; 0: none */
    int64_t newest_step;        /* -1: none */
    int64_t base;               /* the version that a rollback returns to; 0: the beginning */
    int64_t begun_ns;           /* when the last one was begun */
    int64_t late_ms;            /* from then on it is late: tell of it; INT64_MAX: it was told */
    struct ar_phases pace;      /* how long versions take */
    struct tr_publication last; /* version 0: none written yet */
    int64_t written, skipped, failed;
    double stall_s; /* that training stood still: for copies, and for a version before */
};

struct tr_runner {
    const struct tr_run_options *options;
    struct tr_session session;
    struct tr_engine *engine;
    struct tr_evaluator *evaluator;
    struct tr_audit *audit;
    struct tr_publisher *publisher; /* rank 0 only, as the next two */
    struct tr_saver *saver;
    struct tr_saves saves;
    struct tr_report report;
    struct tr_loss loss;
    struct tr_progress progress; /* of the steps that have ended */
    uint32_t bits;               /* raised, not yet heeded: a step was under way */
    int most_begun;              /* steps that were under way at once */
    int64_t total, steps_per_epoch;
    struct tr_score test, holdout; /* of the last evaluation; count 0: none yet */
    struct tr_score views;         /* of the final one, with train.eval_views */
    int64_t evaluated_step;        /* -1: none */
    int64_t images;                /* trained in this process, and in how many seconds, */
    double seconds, sums_s; /* of which it waited for sums between ranks, with no work left */
    double initialise_s, evaluate_s; /* first weights; the last evaluation of the test images */
};

bool tr_run_is_root(const struct tr_runner *r);
struct tr_state tr_run_state(struct tr_runner *r);
bool tr_run_is_over(const struct tr_runner *r);

/* All of these are called by every rank alike. */

/* Engine, run directory, initial weights, or those of a version. */
CM_MUST_CHECK cm_status tr_run_start(struct tr_runner *r);
/* Initial weights, at step 0. */
CM_MUST_CHECK cm_status tr_run_initialise(struct tr_runner *r);
/* Rank 0: takes weights, optimiser and progress of a version. */
CM_MUST_CHECK cm_status tr_run_load(struct tr_runner *r, const struct ps_version *version);
/* Every rank goes on from rank 0's state: weights, optimiser, averages, progress. */
CM_MUST_CHECK cm_status tr_run_share(struct tr_runner *r);

/* CM_EPREEMPTED, on all ranks: told to stop in the middle; what was measured is forgotten.
 * CM_ENUMERIC, on all ranks: the answers are not finite, and the step before counts as one that
 * failed. */
CM_MUST_CHECK cm_status tr_run_evaluate(struct tr_runner *r);
CM_MUST_CHECK cm_status tr_run_evaluate_if_due(struct tr_runner *r);
bool tr_run_evaluation_is_due(const struct tr_runner *r, int64_t step);

/* What this rank raises: clocks and signals may only raise bits. */
uint32_t tr_run_bits(const struct tr_runner *r);
/* By the config, after so many steps. */
bool tr_run_save_is_due(const struct tr_runner *r, int64_t step);
/* Is a version of that step one to go back to? Those at the steps that the config names are: a run
 * has them however often it was stopped, while those of a preemption, of the clock and of an end
 * come and go. (Where the clock alone asks for versions, any will do.) That of a rollback is none:
 * it holds the weights of the one before. */
bool tr_run_is_base(const struct tr_runner *r, int64_t step);
/* Tells of a version that has become durable meanwhile, failed, or takes unusually long. CM_EFENCED
 * alone ends the run. */
CM_MUST_CHECK cm_status tr_run_heed_saver(struct tr_runner *r);
/* Begins a version of this step, beside the training. One before that takes longer than
 * store.wait_seconds leaves it out; but a run that may roll back waits for it, so that the disk
 * does not decide where to. */
CM_MUST_CHECK cm_status tr_run_save(struct tr_runner *r);
/* Until the version of this step is durable. */
CM_MUST_CHECK cm_status tr_run_save_last(struct tr_runner *r);
/* Until nothing is being written. */
CM_MUST_CHECK cm_status tr_run_settle(struct tr_runner *r);

/* After CM_ENUMERIC, which the record explains: goes back to the last version, or where that led
 * here before to its parent, and past the step that failed; evaluates if due, and saves.
 * CM_ENUMERIC again when the config or the third one in a row says to stop; CM_EPREEMPTED as
 * tr_run_evaluate. */
CM_MUST_CHECK cm_status tr_run_rollback(struct tr_runner *r);

/* Champion, summary.json, last line. */
CM_MUST_CHECK cm_status tr_run_finish(struct tr_runner *r);

#endif
