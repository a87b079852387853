#include "serve/loader.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/lane.h"
#include "common/log.h"
#include "common/mem.h"

#define AGAIN_US 100000
#define NICE     10 /* batches come first; a load takes what they leave */

struct sv_loader {
    struct sv_model_config cfg;
    struct ln_lane *lane;
    int retry_ms, done_fd;
    bool busy;
    atomic_bool hurry;
    struct sv_load load; /* the lane's until finished */
    atomic_bool finished;
    _Atomic(struct sv_engine *) spare; /* whoever exchanges it has it */
};

static void put_spare(struct sv_loader *l, struct sv_engine *e)
{
    struct sv_engine *before = e ? atomic_exchange(&l->spare, e) : NULL;
    sv_engine_close(&before);
}

static void lower_priority(void *unused)
{
    (void)unused;
    /* Of this thread only, and of those that it starts. */
    if (setpriority(PRIO_PROCESS, (id_t)gettid(), NICE) < 0)
        cm_log_debug("the loader runs at full priority");
}

bool sv_load_is_passing(cm_status st)
{
    return st == CM_ENOTFOUND || st == CM_EIO || st == CM_ENOMEM;
}

/* Memory that a device lacks is not asked for again at once, but when the gateway asks again: each
 * try takes and gives back what there is, under the batches. */
static bool may_try_again(const struct sv_loader *l, cm_status st)
{
    return sv_load_is_passing(st) && !(st == CM_ENOMEM && l->cfg.engine.device) &&
           sv_device_check(l->cfg.engine.device) == CM_OK && !atomic_load(&l->hurry);
}

static cm_status open_model(struct sv_loader *l)
{
    struct cm_deadline end = cm_deadline_in_ms(l->retry_ms);
    for (;;) {
        cm_status st = cm_fault("serve.load");
        if (st == CM_OK) {
            struct sv_engine *spare = atomic_exchange(&l->spare, NULL);
            st = sv_model_open(&l->load.model, l->load.version.number, l->load.version.hash,
                               &l->cfg, &spare);
            put_spare(l, spare);
        }
        if (!may_try_again(l, st) || cm_deadline_passed(end))
            return st;
        cm_sleep_us(AGAIN_US);
    }
}

static cm_status load(void *ctx, int64_t a, int64_t b)
{
    struct sv_loader *l = ctx;
    const uint64_t one = 1;
    (void)a;
    (void)b;
    cm_status st = open_model(l);
    l->load.passing = sv_load_is_passing(st);
    if (st != CM_OK)
        snprintf(l->load.reason, sizeof l->load.reason, "%s", cm_error_text());
    atomic_store(&l->finished, true);
    if (write(l->done_fd, &one, sizeof one) < 0)
        cm_log_debug("the load is noticed at the next look");
    return CM_OK;
}

cm_status sv_loader_open(struct sv_loader **out, const struct sv_model_config *cfg, int retry_ms,
                         int done_fd)
{
    struct ln_config lane = {.name = "load", .core = -1, .on_start = lower_priority};
    struct sv_loader *l = NULL;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&l, 1, sizeof *l, "loader"));
    l->cfg = *cfg;
    l->retry_ms = retry_ms;
    l->done_fd = done_fd;
    CM_GOTO(st, ln_lane_open(&l->lane, &lane), out);
    *out = l;
    l = NULL;
out:
    sv_loader_close(&l);
    return st;
}

void sv_loader_close(struct sv_loader **l)
{
    if (!*l)
        return;
    sv_loader_hurry(*l);
    ln_lane_close(&(*l)->lane);
    sv_loader_recycle(*l, &(*l)->load.model);
    struct sv_engine *spare = atomic_load(&(*l)->spare);
    sv_engine_close(&spare);
    cm_free(l);
}

void sv_loader_recycle(struct sv_loader *l, struct sv_model **m)
{
    put_spare(l, sv_model_detach(m));
}

void sv_loader_hurry(struct sv_loader *l)
{
    atomic_store(&l->hurry, true);
}

void sv_loader_start(struct sv_loader *l, struct sv_version v)
{
    l->busy = true;
    l->load = (struct sv_load){.version = v};
    atomic_store(&l->finished, false);
    ln_lane_run(l->lane, load, l, 0, 0);
}

bool sv_loader_take(struct sv_loader *l, struct sv_load *out)
{
    if (!l->busy || !atomic_load(&l->finished))
        return false;
    *out = l->load;
    l->load.model = NULL;
    l->busy = false;
    return true;
}
