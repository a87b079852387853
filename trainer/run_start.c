/* The start of a run: everything is opened on all ranks or on none, and all begin with rank 0's
 * state. */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "model/init.h"
#include "trainer/differences.h"
#include "trainer/fingerprint.h"
#include "trainer/run_private.h"

static cm_status open_engine(struct tr_runner *r)
{
    struct tr_session *s = &r->session;
    CM_TRY(tr_session_meet(s));
    struct tr_engine_config engine = tr_session_engine(s);
    struct tr_evaluator_config evaluator = tr_session_evaluator(s);
    CM_TRY(tr_engine_open(&r->engine, &engine));
    CM_TRY(tr_fingerprint_engines(&s->fingerprint, tr_engine_engines(r->engine)));
    CM_TRY(tr_evaluator_open(&r->evaluator, &evaluator));
    r->steps_per_epoch = tr_order_steps_per_epoch(tr_engine_order(r->engine));
    r->total = tr_order_total_steps(tr_engine_order(r->engine), s->train.epochs);
    if (s->train.average_decay > 0 && r->total > 0 && r->total < s->train.average_every)
        return CM_FAIL(CM_ECONFIG,
                       "train.average_every is %lld, but the run has only %lld steps: it would end "
                       "with its initial weights",
                       (long long)s->train.average_every, (long long)r->total);
    struct tr_state state = tr_run_state(r);
    return tr_audit_open(&r->audit, s->group, &state);
}

/* Rank 0 alone: lease, store, saver, reports. */
static cm_status open_root(struct tr_runner *r)
{
    if (!tr_run_is_root(r))
        return CM_OK;
    struct tr_state state = tr_run_state(r);
    CM_TRY(tr_publisher_open(&r->publisher, &r->session, TR_SUMMARY, r->options->steal_lease));
    CM_TRY(tr_saver_open(&r->saver, r->publisher, &r->session.train, &state));
    return tr_report_open(&r->report, r->session.run_dir, r->options->quiet);
}

cm_status tr_run_initialise(struct tr_runner *r)
{
    struct tr_session *s = &r->session;
    struct tr_optimizer *optimizer = tr_engine_optimizer(r->engine);
    r->progress = (struct tr_progress){.best_accuracy = -1, .next_evaluation = 1};
    tr_plateau_init(&r->progress.plateau);
    for (int i = 0; i < tr_optimizer_nslots(optimizer); i++)
        memset(tr_optimizer_slot(optimizer, i), 0, s->layout->nparam * sizeof(float));
    float *weights = tr_engine_weights(r->engine), *average = tr_engine_average(r->engine);
    int64_t began = cm_now_ns();
    CM_TRY(nn_init_weights(weights, s->layout, s->spec, (uint64_t)s->train.seed, s->data.set.images,
                           s->data.set.n_train));
    r->initialise_s = (double)(cm_now_ns() - began) * 1e-9;
    if (average)
        memcpy(average, weights, s->layout->ntotal * sizeof(float));
    return CM_OK;
}

cm_status tr_run_load(struct tr_runner *r, const struct ps_version *version)
{
    struct tr_state state = tr_run_state(r);
    return tr_checkpoint_get(version, &state);
}

/* A version that is no base has one for its parent, which retention keeps; somebody may have
 * removed it all the same. */
static int64_t base_of(const struct tr_runner *r, const struct ps_version *version)
{
    int64_t number = ps_version_number(version), parent = ps_version_manifest(version)->parent;
    if (tr_run_is_base(r, r->progress.step))
        return number;
    struct ps_version *there = NULL;
    bool opens =
        parent == 0 || ps_version_open(&there, tr_publisher_store(r->publisher), parent) == CM_OK;
    ps_version_close(&there);
    return opens ? parent : number;
}

static cm_status resume_from(struct tr_runner *r, const struct ps_version *version)
{
    const struct ps_manifest *m = ps_version_manifest(version);
    tr_warn_of_differences(&r->session, m);
    if (m->run[0])
        tr_publisher_set_run(r->publisher, m->run);
    cm_status st = tr_run_load(r, version);
    if (st == CM_EMISMATCH)
        return CM_CONTEXT(CM_EUNFIT,
                          "%s holds versions of another network, optimiser or averaging than the "
                          "config's, '%s' (choose another --run)",
                          r->session.run_dir, r->session.model.network);
    CM_TRY(st);
    r->saves.newest = ps_version_number(version);
    r->saves.base = base_of(r, version);
    cm_log_info("resuming from version %lld, step %lld of %lld", (long long)r->saves.newest,
                (long long)r->progress.step, (long long)r->total);
    return CM_OK;
}

/* Rank 0 alone. Leaves progress.step 0 when there is nothing to resume. */
static cm_status resume_root(struct tr_runner *r)
{
    const char *resume = r->options->resume;
    if (!tr_run_is_root(r) || strcmp(resume, "never") == 0)
        return CM_OK;
    struct ps_store *store = tr_publisher_store(r->publisher);
    struct ps_version *version;
    bool any = strcmp(resume, "auto") == 0;
    cm_status st = any ? ps_version_open_newest(&version, store)
                       : ps_version_open_ref(&version, store, resume);
    if (st == CM_ENOTFOUND)
        return any ? CM_OK : CM_CONTEXT(CM_EUSAGE, "--resume");
    if (st == CM_EVERSION)
        return CM_CONTEXT(
            st, "to go on with %s, install the release that wrote it, or choose another --run",
            r->session.run_dir);
    CM_TRY(st);
    st = resume_from(r, version);
    ps_version_close(&version);
    return st;
}

cm_status tr_run_share(struct tr_runner *r)
{
    struct ar_group *g = r->session.group;
    const struct nn_layout *layout = r->session.layout;
    CM_TRY(ar_group_broadcast(g, &r->progress, sizeof r->progress, 0));
    CM_TRY(ar_group_broadcast(g, tr_engine_weights(r->engine), layout->ntotal * sizeof(float), 0));
    struct tr_optimizer *optimizer = tr_engine_optimizer(r->engine);
    for (int i = 0; i < tr_optimizer_nslots(optimizer); i++)
        CM_TRY(ar_group_broadcast(g, tr_optimizer_slot(optimizer, i),
                                  layout->nparam * sizeof(float), 0));
    float *average = tr_engine_average(r->engine);
    if (average)
        CM_TRY(ar_group_broadcast(g, average, layout->ntotal * sizeof(float), 0));
    tr_engine_set_scaling(r->engine, &r->progress.scaling);
    return ar_group_agree(g, tr_engine_prepare(r->engine), "preparing the weights");
}

cm_status tr_run_start(struct tr_runner *r)
{
    struct ar_group *g = r->session.group;
    CM_TRY(ar_group_agree(g, open_engine(r), "preparing the network"));
    CM_TRY(ar_group_agree(g, open_root(r), "opening the run directory"));
    CM_TRY(tr_loss_arm(&r->loss, g, r->session.run_dir, TR_SUMMARY));
    CM_TRY(ar_group_agree(g, tr_run_initialise(r), "initialising weights"));
    CM_TRY(ar_group_agree(g, resume_root(r), "resuming"));
    CM_TRY(tr_run_share(r));
    /* Initial weights are worth saving. */
    r->saves.newest_step = r->saves.newest > 0 ? r->progress.step : -1;
    r->saves.begun_ns = cm_now_ns();
    r->evaluated_step = -1;
    tr_report_text(&r->report, "start", "network", r->session.spec->name);
    return CM_OK;
}
