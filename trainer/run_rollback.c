/* After a loss or gradient that is no use: back to a version, and on behind the step that failed.
 * The weights are then those of the version, the step's number is the next one's: order of data,
 * schedule and all else follow the number, so the data of the steps between is left out. The skip
 * is a part of the state from then on, and a version is written at once: a resume finds the
 * decision and does not make it anew.
 *
 *     version    1 ───── 2 ── fails      back to 2; left out: all since
 *                         └── fails      2 led here: back to 1
 *                └─────────── fails      the run stops
 *
 * Only versions that the run has however often it was stopped are gone back to (tr_run_is_base). */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "trainer/run_private.h"

#define IN_A_ROW 2 /* rollbacks without a new version to go back to; a third stops the run */

/* Step and parent of a version; of 0, the beginning, both are 0. */
static cm_status look_at(struct tr_runner *r, int64_t number, int64_t *step, int64_t *parent)
{
    struct ps_version *version;
    *step = *parent = 0;
    if (number == 0)
        return CM_OK;
    CM_TRY(ps_version_open(&version, tr_publisher_store(r->publisher), number));
    *step = ps_version_manifest(version)->step;
    *parent = ps_version_manifest(version)->parent;
    ps_version_close(&version);
    return CM_OK;
}

/* Rank 0 alone: makes the version to go back to the base. in_a_row: rollbacks since that version
 * before this one. After the first the parent is tried, which somebody may have removed. */
static cm_status choose_root(struct tr_runner *r, int64_t *in_a_row)
{
    const struct tr_progress *p = &r->progress;
    int64_t step, parent, grandparent;
    if (!tr_run_is_root(r))
        return CM_OK;
    CM_TRY(look_at(r, r->saves.base, &step, &parent));
    *in_a_row = tr_skips_in_a_row(p->skip, p->nskips, step);
    bool holds_it = step > p->step; /* of a preemption, before the step was measured */
    if (*in_a_row != 1 && !holds_it)
        return CM_OK;
    cm_status st = look_at(r, parent, &step, &grandparent);
    if (st == CM_OK)
        r->saves.base = parent;
    return st == CM_ENOTFOUND ? CM_OK : st;
}

/* Rank 0 alone. */
static cm_status load_root(struct tr_runner *r)
{
    struct ps_version *version;
    if (!tr_run_is_root(r) || r->saves.base == 0)
        return CM_OK;
    CM_TRY(ps_version_open(&version, tr_publisher_store(r->publisher), r->saves.base));
    cm_status st = tr_run_load(r, version);
    ps_version_close(&version);
    return st;
}

/* Every rank: state of the base, skips of the run. */
static cm_status go_back(struct tr_runner *r)
{
    struct ar_group *g = r->session.group;
    const struct tr_progress was = r->progress;
    struct tr_progress *p = &r->progress;
    CM_TRY(ar_group_agree(g, tr_run_initialise(r), "rolling back"));
    CM_TRY(ar_group_agree(g, load_root(r), "rolling back"));
    CM_TRY(tr_run_share(r));
    memcpy(p->skip, was.skip, sizeof p->skip);
    p->nskips = was.nskips;
    p->skip[p->nskips++] = (struct tr_skip){p->step, was.step};
    p->step = was.step + 1;
    r->evaluated_step = -1;
    r->saves.newest_step = -1; /* one of that step would hold what is left out */
    return CM_OK;
}

static void tell(struct tr_runner *r, const char *why)
{
    const struct tr_skip *skip = &r->progress.skip[r->progress.nskips - 1];
    char to[32] = "the initial weights";
    if (!tr_run_is_root(r))
        return; /* the others do not know the versions */
    if (r->saves.base > 0)
        snprintf(to, sizeof to, "version %lld", (long long)r->saves.base);
    tr_report_break(&r->report);
    cm_log_warn("%s", why);
    cm_log_warn("rolled back to %s; left out: steps %lld to %lld", to, (long long)skip->first,
                (long long)skip->last);
    tr_report_rollback(&r->report, r->saves.base, skip, why);
}

cm_status tr_run_rollback(struct tr_runner *r)
{
    struct ar_group *g = r->session.group;
    struct cm_error why;
    int64_t in_a_row = 0;
    cm_error_save(&why);
    /* Also where the run stops: a version on its way is not lost. */
    cm_status st = tr_run_settle(r);
    if (st != CM_OK)
        return CM_CONTEXT(st, "%s; then", why.text);
    if (r->session.train.on_spike == TR_SPIKE_STOP) {
        cm_error_restore(&why);
        return CM_ENUMERIC;
    }
    CM_TRY(ar_group_agree(g, choose_root(r, &in_a_row), "rolling back"));
    CM_TRY(ar_group_broadcast(g, &in_a_row, sizeof in_a_row, 0));
    cm_error_restore(&why);
    if (in_a_row >= IN_A_ROW)
        return CM_CONTEXT(CM_ENUMERIC, "third rollback in a row, so the run stops");
    if (r->progress.nskips == TR_SKIPS)
        return CM_CONTEXT(CM_ENUMERIC, "%d rollbacks are enough, so the run stops", TR_SKIPS);

    CM_TRY(go_back(r));
    tell(r, why.text);
    /* Measured now, as a resume from the version would: what the holdout decides is decided here.
     */
    CM_TRY(tr_run_evaluate_if_due(r));
    return tr_run_is_over(r) ? CM_OK : tr_run_save(r);
}
