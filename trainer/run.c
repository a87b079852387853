/* The loop around the engine. */
#include "trainer/run.h"

#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "trainer/inject.h"
#include "trainer/run_private.h"
#include "trainer/stop.h"

bool tr_run_is_root(const struct tr_runner *r)
{
    return ar_group_rank(r->session.group) == 0;
}

struct tr_state tr_run_state(struct tr_runner *r)
{
    return (struct tr_state){.spec = r->session.spec,
                             .layout = r->session.layout,
                             .weights = tr_engine_weights(r->engine),
                             .optimizer = tr_engine_optimizer(r->engine),
                             .average = tr_engine_average(r->engine),
                             .progress = &r->progress};
}

/* ---- the loop ---- */

static bool look_ahead_is_due(const struct tr_runner *r, int64_t step)
{
    const struct tr_train_config *train = &r->session.train;
    return train->average_decay > 0 && (step == r->total || step % train->average_every == 0);
}

/* airbench's look-ahead: every k steps average = d average + (1 - d) weights, and weights =
 * average, over all tensors and statistics, d = decay^k ((s / total)^3); after the last step
 * weights = average. */
static cm_status look_ahead(struct tr_runner *r)
{
    const struct tr_train_config *train = &r->session.train;
    if (!look_ahead_is_due(r, r->progress.step))
        return CM_OK;
    bool last = r->progress.step == r->total;
    double done = (double)r->progress.step / (double)r->total;
    double d = last ? 1 : pow(train->average_decay, (double)train->average_every) * pow(done, 3);
    int64_t began = cm_now_ns();
    CM_TRY(tr_engine_look_ahead(r->engine, d));
    r->seconds += (double)(cm_now_ns() - began) * 1e-9;
    return CM_OK;
}

/* All ranks have the same loss, and come to the same verdict. An error injected at train.spike, on
 * all ranks, makes a spike of any loss. */
static cm_status check_spike(struct tr_runner *r, const struct tr_outcome *outcome)
{
    const struct tr_order *order = tr_engine_order(r->engine);
    double loss = outcome->loss / (double)outcome->count, mads = r->session.train.spike_mads;
    double full = order->batch < order->n ? order->batch : order->n;
    if (mads <= 0)
        return CM_OK;
    double limit = tr_losses_limit(&r->progress.losses, mads, (double)outcome->count / full);
    if (loss > limit || cm_fault("train.spike") != CM_OK) {
        cm_status st =
            CM_FAIL(CM_ENUMERIC,
                    "step %lld: loss %g is a spike, above %g (train.spike_mads %g); "
                    "gradient largest against its weights: %s",
                    (long long)r->progress.step, loss, limit, mads, tr_engine_steepest(r->engine));
        return ar_group_alike(r->session.group, st);
    }
    tr_losses_note(&r->progress.losses, loss);
    return CM_OK;
}

static void report_step(struct tr_runner *r, const struct tr_outcome *outcome, int64_t step)
{
    int64_t epoch = step / r->steps_per_epoch, left = r->total - epoch * r->steps_per_epoch;
    const struct tr_place at = {.step = step,
                                .total = r->total,
                                .epoch = epoch,
                                .within = step % r->steps_per_epoch,
                                .epoch_steps =
                                    left < r->steps_per_epoch ? left : r->steps_per_epoch,
                                .epochs = r->session.train.epochs};
    tr_report_step(&r->report, outcome, &at);
}

static bool audit_is_due(const struct tr_runner *r, int64_t step)
{
    int64_t every = r->session.train.audit_every;
    return every > 0 && step % every == 0;
}

/* May the step after `step` steps be begun while the one before it is under way? Not where
 * something reads or writes the state in between, or may: the verdict on a spike. A function of
 * config and progress, so all ranks begin the same steps; r->bits are the same on all, too. */
static bool may_go_ahead(const struct tr_runner *r, int64_t step)
{
    return step < r->total && r->bits == 0 && r->session.train.spike_mads <= 0 &&
           !look_ahead_is_due(r, step) && !audit_is_due(r, step) &&
           !tr_run_evaluation_is_due(r, step) && !tr_run_save_is_due(r, step);
}

/* The next step, and those ahead of it that the engine takes. */
static cm_status begin_steps(struct tr_runner *r)
{
    const struct tr_train_config *train = &r->session.train;
    int begun;
    while ((begun = tr_engine_begun(r->engine)) < tr_engine_ahead(r->engine)) {
        int64_t step = r->progress.step + begun;
        if (begun > 0 && !may_go_ahead(r, step))
            break;
        CM_TRY(cm_fault("train.step"));
        double lr = train->lr * r->progress.plateau.factor *
                    tr_schedule_factor(train, step, r->total, (double)r->steps_per_epoch);
        tr_engine_begin(r->engine, step, lr, tr_run_bits(r));
        if (begun == r->most_begun)
            r->most_begun++;
    }
    return CM_OK;
}

/* CM_ENUMERIC, on all ranks: the step is not to count; weights may have moved, and no step is under
 * way. */
static cm_status one_step(struct tr_runner *r)
{
    int64_t step = r->progress.step;
    struct tr_outcome outcome;
    CM_TRY(begin_steps(r));
    CM_TRY(tr_engine_end(r->engine, &outcome));
    CM_TRY(check_spike(r, &outcome));
    r->bits |= outcome.bits;
    r->progress.step++;
    r->progress.scaling = outcome.scaling;
    CM_TRY(look_ahead(r));
    r->images += outcome.count;
    r->seconds += outcome.seconds;
    r->sums_s += ar_step_times(r->session.group).exposed_s;
    report_step(r, &outcome, step);
    return CM_OK;
}

/* Where the engine computes, not in the host's copy alone. */
static cm_status flip(struct tr_runner *r, float *number)
{
    CM_TRY(tr_engine_fetch(r->engine));
    tr_audit_flip(number);
    return tr_engine_prepare(r->engine);
}

/* Bits are flipped where the state is at rest, too. */
static cm_status audit_if_due(struct tr_runner *r)
{
    struct tr_state state = tr_run_state(r);
    float *fault = tr_audit_fault(&state);
    if (fault)
        CM_TRY(flip(r, fault));
    if (!audit_is_due(r, r->progress.step))
        return CM_OK;
    CM_TRY(tr_engine_fetch(r->engine));
    return tr_audit_run(r->audit, r->progress.step);
}

/* The run is to end before its time: all is saved, and a later one goes on from here. */
static cm_status preempt(struct tr_runner *r)
{
    CM_TRY(tr_run_save_last(r));
    tr_report_text(&r->report, "preempted", "reason", "signal");
    cm_log_info("preempted after step %lld of %lld; all is saved, the next start goes on from here",
                (long long)r->progress.step, (long long)r->total);
    return CM_FAIL(CM_EPREEMPTED, "stopped after step %lld of %lld, saved",
                   (long long)r->progress.step, (long long)r->total);
}

/* Between two steps, with none under way. */
static cm_status between_steps(struct tr_runner *r)
{
    uint32_t bits = r->bits;
    r->bits = 0;
    CM_TRY(audit_if_due(r));
    if (bits & TR_RUN_STOP)
        return CM_EPREEMPTED;
    CM_TRY(tr_run_evaluate_if_due(r));
    bool save = (bits & TR_RUN_SAVE) || tr_run_save_is_due(r, r->progress.step);
    return save && !tr_run_is_over(r) ? tr_run_save(r) : CM_OK;
}

/* A step, and what is due behind it. */
static cm_status advance(struct tr_runner *r)
{
    CM_TRY(one_step(r));
    CM_TRY(tr_run_heed_saver(r));
    return tr_engine_begun(r->engine) == 0 ? between_steps(r) : CM_OK;
}

static cm_status or_roll_back(struct tr_runner *r, cm_status st)
{
    if (st != CM_ENUMERIC)
        return st;
    r->bits = 0; /* who raised one raises it again */
    return tr_run_rollback(r);
}

static cm_status loop(struct tr_runner *r)
{
    /* Left over by a run that was told to stop. */
    cm_status st = or_roll_back(r, tr_run_evaluate_if_due(r));
    while (st == CM_OK && !tr_run_is_over(r))
        st = or_roll_back(r, advance(r));
    if (st == CM_OK)
        st = or_roll_back(r, tr_run_evaluate(r));
    if (st == CM_OK)
        st = tr_run_evaluate(r); /* anew, where the last step was left out */
    if (st == CM_EPREEMPTED)
        return preempt(r);
    CM_TRY(st);
    return tr_run_save_last(r);
}

/* ---- life ---- */

static void release(struct tr_runner *r)
{
    tr_report_release(&r->report);
    tr_saver_close(&r->saver);
    tr_publisher_close(&r->publisher);
    tr_audit_close(&r->audit);
    tr_evaluator_close(&r->evaluator);
    tr_engine_close(&r->engine);
    tr_session_release(&r->session);
}

/* A disk that hangs holds the saver's thread, which could not be joined. The other ranks wait for
 * this one already: not beyond what they bear. */
static bool saver_hangs(const struct tr_runner *r)
{
    struct cm_error why;
    struct tr_saved ignored;
    int64_t finish_ms = (int64_t)(r->session.store.finish_seconds * 1e3);
    int64_t bear_ms = r->session.allreduce.collective_timeout_ms / 2;
    if (!r->saver || !tr_saver_busy(r->saver))
        return false;
    if (ar_group_size(r->session.group) > 1 && bear_ms < finish_ms)
        finish_ms = bear_ms;
    cm_error_save(&why);
    bool hangs = (double)(cm_now_ns() - r->saves.begun_ns) * 1e-6 > (double)finish_ms ||
                 !tr_saver_wait(r->saver, cm_deadline_in_ms(finish_ms), &ignored);
    cm_error_restore(&why);
    return hangs;
}

/* In the middle of a run one rank may fail alone, and others wait for it. */
static void fail(struct tr_runner *r, cm_status st)
{
    struct ar_group *g = r->session.group;
    bool alone = ar_group_size(g) > 1 && !cm_error_is_shared(), ours = !cm_error_is_told();
    if (alone)
        ar_group_abort(g, st, "training");
    cm_error_report(CM_LOG_ERROR, st, NULL); /* before what waits for a disk, and may not end */
    if (!ours)
        ar_group_on_loss(g, NULL, NULL); /* who tells of it writes it down, too */
    if (saver_hangs(r))
        ar_group_abort(g, st, "training");
    ar_group_on_loss(g, NULL, NULL);
    if (ours)
        tr_loss_write_here(&r->loss, "step", r->progress.step);
}

cm_status tr_run(const struct tr_run_options *options)
{
    struct tr_runner r = {.options = options};
    tr_stop_block();
    CM_TRY(tr_session_open(&r.session, &options->session));
    cm_status st = tr_inject(r.session.group, options->injects);
    if (st == CM_OK)
        st = tr_session_load(&r.session, NULL);
    if (st == CM_OK)
        st = tr_run_start(&r);
    bool started = st == CM_OK; /* before, all ranks fail together */
    if (st == CM_OK)
        st = loop(&r);
    if (st == CM_OK)
        st = tr_run_finish(&r);
    tr_report_break(&r.report);
    if (started && st != CM_OK && st != CM_EPREEMPTED)
        fail(&r, st);
    tr_session_fail(&r.session, st, "training");
    release(&r);
    return st;
}
