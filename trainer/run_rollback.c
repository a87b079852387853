/* After a loss or gradient that is no use: back to the last version, and on behind the step that
 * failed. The weights are then those of the version, the step's number is the next one's: order of
 * data, schedule and all else follow the number, so the data of the steps between is left out. The
 * skip is a part of the state from then on, and a version is written at once: a resume finds the
 * decision and does not make it anew. */
#include <stdio.h>

#include "common/log.h"
#include "trainer/run_private.h"

#define IN_A_ROW 2 /* rollbacks to the same weights; a third stops the run */

/* Rank 0 alone: the run's newest version, or the beginning where it has none. */
static cm_status load_root(struct tr_runner *r)
{
    struct ps_version *version;
    if (!tr_run_is_root(r) || r->saves.newest == 0)
        return CM_OK;
    CM_TRY(ps_version_open(&version, tr_publisher_store(r->publisher), r->saves.newest));
    return tr_run_load(r, &version);
}

static cm_status skip_to(struct tr_runner *r, int64_t failed)
{
    struct tr_progress *p = &r->progress;
    if (tr_skips_in_a_row(p->skip, p->nskips, p->step) >= IN_A_ROW)
        return CM_CONTEXT(CM_ENUMERIC, "third rollback to step %lld, so the run stops",
                          (long long)p->step);
    if (p->nskips == TR_SKIPS)
        return CM_CONTEXT(CM_ENUMERIC, "%d rollbacks are enough, so the run stops", TR_SKIPS);
    p->skip[p->nskips++] = (struct tr_skip){p->step, failed};
    p->step = failed + 1;
    return CM_OK;
}

static void tell(struct tr_runner *r, const char *why)
{
    const struct tr_skip *skip = &r->progress.skip[r->progress.nskips - 1];
    char to[32] = "the initial weights";
    if (r->saves.newest > 0)
        snprintf(to, sizeof to, "version %lld", (long long)r->saves.newest);
    tr_report_break(&r->report);
    cm_log_warn("%s", why);
    cm_log_warn("rolled back to %s; left out: steps %lld to %lld", to, (long long)skip->first,
                (long long)skip->last);
    tr_report_rollback(&r->report, r->saves.newest, skip, why);
}

cm_status tr_run_rollback(struct tr_runner *r)
{
    struct ar_group *g = r->session.group;
    struct cm_error why;
    int64_t failed = r->progress.step;
    cm_error_save(&why);
    CM_TRY(tr_run_settle(r)); /* also where the run stops: a version on its way is not lost */
    cm_error_restore(&why);
    if (r->session.train.on_spike == TR_SPIKE_STOP)
        return CM_ENUMERIC;

    CM_TRY(ar_group_agree(g, tr_run_initialise(r), "rolling back"));
    CM_TRY(ar_group_agree(g, load_root(r), "rolling back"));
    CM_TRY(tr_run_share(r));
    cm_error_restore(&why);
    CM_TRY(skip_to(r, failed));
    tell(r, why.text);
    r->evaluated_step = -1;
    return tr_run_is_over(r) ? CM_OK : tr_run_save(r);
}
