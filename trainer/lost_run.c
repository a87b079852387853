#include "trainer/lost_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/events.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/lease.h"

#define SEEN_MS 5000 /* a network file system may show a new folder late */
#define LOOK_US 50000

/* ---- the start ---- */

static bool is_same_owner(const struct ps_lease_owner *a, const struct ps_lease_owner *b)
{
    return a->generation == b->generation && a->pid == b->pid && a->start_ticks == b->start_ticks &&
           strcmp(a->host, b->host) == 0;
}

/* Until the newest lease that can be seen here is rank 0's. */
static cm_status look_for(const struct ps_lease_owner *owner, const char *run_dir, int rank)
{
    struct cm_deadline deadline = cm_deadline_in_ms(SEEN_MS);
    struct ps_lease_owner seen;
    for (;;) {
        cm_status st = ps_lease_show(&seen, run_dir);
        if (st == CM_OK && is_same_owner(&seen, owner))
            return CM_OK;
        if (cm_deadline_passed(deadline))
            break;
        cm_sleep_us(LOOK_US);
    }
    char host[64] = "";
    (void)gethostname(host, sizeof host - 1);
    return CM_FAIL(CM_EMISMATCH,
                   "%s as rank %d on %s sees it is not what rank 0 on %s writes to: give all ranks "
                   "the same --run, on storage that all hosts share",
                   run_dir, rank, host, owner->host);
}

cm_status tr_loss_arm(struct tr_loss *self, struct ar_group *g, const char *run_dir)
{
    struct ps_lease_owner owner = {0};
    *self = (struct tr_loss){.rank = ar_group_rank(g), .size = ar_group_size(g)};
    snprintf(self->run_dir, sizeof self->run_dir, "%s", run_dir);
    cm_status st = self->rank == 0 ? ps_lease_show(&owner, run_dir) : CM_OK;
    CM_TRY(ar_group_agree(g, st, "reading the lease"));
    CM_TRY(ar_group_broadcast(g, &owner, sizeof owner, 0));
    st = self->rank == 0 ? CM_OK : look_for(&owner, run_dir, self->rank);
    CM_TRY(ar_group_agree(g, st, "looking at the run directory"));
    self->generation = owner.generation;
    ar_group_on_loss(g, tr_loss_write, self);
    return CM_OK;
}

/* ---- the end ---- */

static void put_failure(struct cm_jw *w, const struct ar_loss *loss)
{
    cm_jw_begin(w, "failure", '{');
    cm_jw_i64(w, "rank", loss->rank);
    cm_jw_string(w, "host", loss->host);
    cm_jw_string(w, "fault", loss->fault);
    cm_jw_string(w, "phase", loss->phase);
    cm_jw_i64(w, "step", loss->step);
    cm_jw_string(w, "what", loss->what);
    cm_jw_string(w, "others", loss->others);
    cm_jw_end(w);
}

static cm_status write_summary(const struct tr_loss *self, const struct ar_loss *loss)
{
    struct cm_jw w = {.indent = 2};
    char *text = NULL, path[CM_PATH];
    size_t n;
    cm_jw_begin(&w, NULL, '{');
    put_failure(&w, loss);
    cm_jw_i64(&w, "told_by", self->rank);
    cm_jw_i64(&w, "ranks", self->size);
    const char *job = getenv("FLYWHEEL_JOB"), *life = getenv("FLYWHEEL_LIFE");
    if (job) { /* the supervisor tells a late word of an earlier life by it */
        cm_jw_string(&w, "job", job);
        cm_jw_i64(&w, "life", life ? strtoll(life, NULL, 10) : 0);
    }
    cm_jw_f64(&w, "t", cm_utc_now());
    cm_jw_end(&w);
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = cm_path_join(path, self->run_dir, "summary.json");
    if (st == CM_OK)
        st = cm_file_replace(path, text, n);
    cm_free(&text);
    return st;
}

static void write_event(const struct tr_loss *self, const struct ar_loss *loss)
{
    char path[CM_PATH];
    struct cm_events *events = NULL;
    struct cm_jw w = {0};
    if (cm_path_join(path, self->run_dir, "events.jsonl") != CM_OK ||
        cm_events_open(&events, path, self->rank) != CM_OK)
        return;
    cm_events_begin(events, &w, "failed");
    put_failure(&w, loss);
    cm_events_put(events, &w);
    cm_events_close(&events);
}

void tr_loss_write(const struct ar_loss *loss, void *arg)
{
    const struct tr_loss *self = arg;
    struct ps_lease_owner owner;
    if (ps_lease_show(&owner, self->run_dir) == CM_OK && owner.generation > self->generation)
        return; /* the run goes on without us */
    cm_status st = write_summary(self, loss);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "summary.json");
    write_event(self, loss);
}
