#include "online/online_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "online/feedback_batch.h"
#include "online/herald.h"
#include "online/intake.h"
#include "online/journal.h"
#include "online/online_config.h"
#include "online/online_report.h"
#include "online/online_state.h"
#include "online/promote.h"
#include "online/queue_identity.h"
#include "online/trial.h"
#include "parameter/alias.h"
#include "trainer/checkpoint.h"
#include "trainer/lost_run.h"
#include "trainer/publish.h"
#include "trainer/stop.h"
#include "wire/id.h"

/* Rank 0's alone. */
struct root {
    struct tr_publisher *publisher;
    struct ps_store *states;
    struct ol_state state;
    int64_t version; /* of the state, 0: none yet */
    struct ol_intake *intake;
    struct ol_report report;
    struct ol_herald herald;
    struct ps_version *champion; /* that the trial's weights are of */
    struct ol_journal journal;
    char owner[OL_OWNER];
    int64_t began_ns; /* of the batch, when it was logged */
    int64_t decided;  /* what the batch had become before a crash: no trial; 0: nothing yet */
};

struct run {
    const struct ol_run_options *options;
    struct ol_config cfg;
    struct tr_session session;
    struct ol_trial trial;
    struct ol_batch batch; /* the one being decided, the same on all ranks */
    struct root root;
    struct tr_loss loss;
};

static bool is_root(const struct run *r)
{
    return ar_group_rank(r->session.group) == 0;
}

/* ---- start ---- */

/* The network is the champion's, whatever the config says. */
static cm_status champion_spec(struct nn_spec **out, const struct run *r)
{
    struct ps_store *store;
    struct ps_version *version = NULL;
    *out = NULL;
    cm_status st = ps_store_open(&store, r->session.store_dir, 'v');
    if (st == CM_OK)
        st = ps_version_open_ref(&version, store, r->cfg.alias);
    if (st == CM_OK)
        st = tr_checkpoint_get_spec(version, out);
    else if (st == CM_ENOTFOUND)
        CM_CONTEXT(st, "nothing to fine-tune yet, train first");
    ps_version_close(&version);
    ps_store_close(&store);
    return st;
}

static cm_status open_states(struct run *r)
{
    struct root *root = &r->root;
    char dir[CM_PATH];
    const struct ps_lease *lease = tr_publisher_lease(root->publisher);
    CM_TRY(cm_path_join(dir, r->session.run_dir, "online"));
    CM_TRY(ol_journal_open(&root->journal, dir, r->session.spec, lease));
    CM_TRY(ol_queue_owner(root->owner, dir));
    CM_TRY(ps_store_open_writer(&root->states, dir, 's', lease));
    CM_TRY(ol_state_init(&root->state, (size_t)r->cfg.dedup));
    return ol_state_load(&root->state, &root->version, root->states);
}

static cm_status open_root(struct run *r)
{
    struct root *root = &r->root;
    if (!is_root(r))
        return CM_OK;
    CM_TRY(
        tr_publisher_open(&root->publisher, &r->session, TR_LOOP_SUMMARY, r->options->steal_lease));
    CM_TRY(open_states(r));
    CM_TRY(ol_report_open(&root->report, r->session.run_dir));
    CM_TRY(ol_intake_open(&root->intake, &r->cfg, r->session.spec, root->owner, &r->trial.held_out,
                          root->report.events));
    CM_TRY(ol_herald_open(&root->herald, r->session.run_dir));
    cm_log_info("online: batch %lld is next, feedback from %s", (long long)root->state.batch + 1,
                r->cfg.redis);
    return CM_OK;
}

static cm_status start(struct run *r)
{
    struct ar_group *g = r->session.group;
    struct nn_spec *spec;
    CM_TRY(ar_group_agree(g, champion_spec(&spec, r), "looking for the champion"));
    CM_TRY(tr_session_load(&r->session, spec));
    CM_TRY(tr_session_meet(&r->session));
    CM_TRY(
        ar_group_agree(g, ol_trial_open(&r->trial, &r->session, &r->cfg), "preparing the network"));
    CM_TRY(ar_group_agree(g, open_root(r), "opening the run directory"));
    return tr_loss_arm(&r->loss, g, r->session.run_dir, TR_LOOP_SUMMARY);
}

/* ---- the next batch, on rank 0: from its log, or read and logged ---- */

/* The champion that a batch starts from is the alias's; *news: another than the log says. A batch
 * that has moved the alias once is decided, though the state that said so is missing or damaged. */
static cm_status settle_champion(struct run *r, bool *news)
{
    struct root *root = &r->root;
    struct ps_store *store = tr_publisher_store(root->publisher);
    struct ps_alias now;
    *news = false;
    root->decided = 0;
    if (r->batch.champion)
        CM_TRY(ol_promote_decided(&root->decided, store, &r->batch, r->cfg.alias));
    if (root->decided)
        return CM_OK;
    CM_TRY(ps_alias_get(&now, ps_store_dir(store), r->cfg.alias));
    *news = now.version != r->batch.champion;
    r->batch.champion = now.version;
    return CM_OK;
}

/* Where rank 0 is with the next batch. */
enum phase { PHASE_LOG, PHASE_REDIS, PHASE_CHAMPION, PHASE_LETTERS };
enum word { WORD_WAIT, WORD_BATCH, WORD_DECIDED, WORD_STOP, WORD_DRY };

/* One short turn of rank 0's part; *word says what the ranks do next. */
static cm_status root_turn(struct run *r, enum phase *phase, enum word *word)
{
    struct root *root = &r->root;
    enum ol_intake_said said;
    bool flag;
    *word = WORD_WAIT;
    switch (*phase) {
    case PHASE_LOG: /* was it logged already? Then its training was cut off */
        CM_TRY(ol_journal_recover(&root->journal, &r->batch, root->state.batch + 1, &flag));
        if (flag)
            cm_log_info("batch %" PRId64 " was logged, not decided: going on with it",
                        r->batch.number);
        else
            CM_TRY(ol_intake_begin(root->intake, &root->state));
        *phase = flag ? PHASE_CHAMPION : PHASE_REDIS;
        return CM_OK;
    case PHASE_REDIS:
        ol_herald_look(&root->herald);
        CM_TRY(ol_intake_turn(root->intake, r->options->drain, &said));
        ol_report_waiting(&root->report, ol_intake_pending(root->intake));
        if (said == OL_INTAKE_DRY)
            *word = WORD_DRY;
        if (said != OL_INTAKE_FULL)
            return CM_OK;
        ol_intake_take(root->intake, &r->batch);
        *phase = PHASE_CHAMPION;
        return CM_OK;
    case PHASE_CHAMPION: /* what it starts from; logged if that is news */
        CM_TRY(settle_champion(r, &flag));
        if (flag)
            CM_TRY(ol_journal_save(&root->journal, &r->batch));
        *phase = PHASE_LETTERS;
        return CM_OK;
    case PHASE_LETTERS: /* told of before anything is committed */
        CM_TRY(ol_intake_letters(root->intake, &r->batch, r->options->drain, &flag));
        if (flag)
            CM_TRY(cm_fault("online.letters"));
        if (flag)
            *word = root->decided ? WORD_DECIDED : WORD_BATCH;
        return CM_OK;
    }
    return CM_OK;
}

/* Waits, on all ranks, for a logged batch. Others than rank 0 hear of it every turn, so that a wait
 * of days is no collective of days. */
static cm_status await_batch(struct run *r, enum word *word)
{
    struct ar_group *g = r->session.group;
    enum phase phase = PHASE_LOG;
    ol_batch_release(&r->batch);
    ar_group_set_phase(g, "feedback", r->root.state.batch);
    do {
        int32_t said = WORD_WAIT;
        if (is_root(r) && tr_stop_asked()) {
            said = WORD_STOP;
        } else if (is_root(r)) {
            CM_TRY(root_turn(r, &phase, word));
            said = (int32_t)*word;
        }
        CM_TRY(ar_group_broadcast(g, &said, sizeof said, 0));
        *word = (enum word)said;
    } while (*word == WORD_WAIT);
    return CM_OK;
}

/* ---- what all ranks need to decide it ---- */

/* The weights that the batch started from. Of a decided batch they may be gone since. */
static cm_status open_champion(struct run *r)
{
    struct root *root = &r->root;
    const struct ps_store *store = tr_publisher_store(root->publisher);
    ps_version_close(&root->champion);
    cm_status st = ps_version_open(&root->champion, store, r->batch.champion);
    if (st == CM_ENOTFOUND && root->decided) {
        cm_error_report(CM_LOG_WARN, st, "judging what was served by the version that followed");
        st = ps_version_open(&root->champion, store, root->decided);
    }
    CM_TRY(st);
    ol_trial_check_champion(&r->trial, ps_version_manifest(root->champion));
    tr_publisher_set_run(root->publisher, ps_version_manifest(root->champion)->run);
    return tr_checkpoint_get_weights(root->champion, r->session.layout, r->trial.champion);
}

/* The state's anchor, unless a person has chosen another champion since, or the holdout is another
 * one. */
static void set_anchor(struct run *r)
{
    const struct ol_state *s = &r->root.state;
    struct ol_trial *t = &r->trial;
    int64_t n = r->session.data.split.n_holdout, expected = s->weights ? s->weights : s->champion;
    t->anchored =
        s->anchor.n == n && s->anchor.holdout == t->holdout && expected == r->batch.champion;
    if (t->anchored)
        memcpy(t->by_anchor, s->anchor.answer, (size_t)n * sizeof *t->by_anchor);
}

static cm_status parse_log(struct run *r, const char *bytes, size_t n)
{
    ol_batch_release(&r->batch);
    return ol_batch_parse(&r->batch, bytes, n, "the logged batch");
}

static cm_status share_anchor(struct run *r)
{
    struct ol_trial *t = &r->trial;
    int32_t anchored;
    if (is_root(r))
        set_anchor(r);
    anchored = t->anchored;
    CM_TRY(ar_group_broadcast(r->session.group, &anchored, sizeof anchored, 0));
    t->anchored = anchored;
    return ar_group_broadcast(r->session.group, t->by_anchor,
                              (size_t)r->session.data.split.n_holdout * sizeof *t->by_anchor, 0);
}

/* Every rank trains on the very bytes that lie on disk. */
static cm_status share_batch(struct run *r)
{
    struct ar_group *g = r->session.group;
    char *bytes = NULL;
    size_t size;
    uint64_t n = 0;
    cm_status st = CM_OK;
    if (is_root(r)) {
        st = open_champion(r);
        if (st == CM_OK)
            st = ol_journal_read(&r->root.journal, &bytes, &size, r->batch.number);
        n = st == CM_OK ? size : 0;
    }
    CM_GOTO(st, ar_group_agree(g, st, "reading champion and batch"), out);
    CM_GOTO(st, ar_group_broadcast(g, &n, sizeof n, 0), out);
    if (!is_root(r))
        st = cm_alloc(&bytes, n, 1, "a batch");
    CM_GOTO(st, ar_group_agree(g, st, "making room for a batch"), out);
    CM_GOTO(st, ar_group_broadcast(g, bytes, n, 0), out);
    CM_GOTO(st, ar_group_agree(g, parse_log(r, bytes, n), "reading a batch"), out);
    CM_GOTO(st, share_anchor(r), out);
    st = ar_group_broadcast(g, r->trial.champion,
                            r->session.layout->ntotal * sizeof *r->trial.champion, 0);
out:
    cm_free(&bytes);
    return st;
}

/* ---- the decision, on rank 0 ---- */

/* Of the text of a UUID; zero if it is none. */
static struct cm_uuid uuid_of(const char *text)
{
    struct cm_uuid uuid = {0};
    struct wi_id id = {0};
    char digits[CM_UUID_TEXT] = "";
    size_t n = 0;
    for (; *text && n + 1 < sizeof digits; text++)
        if (*text != '-')
            digits[n++] = *text;
    if (wi_id_parse(&id, digits, n)) /* also 16 bytes in hexadecimal */
        memcpy(uuid.byte, id.byte, sizeof uuid.byte);
    return uuid;
}

static void announce(struct run *r, int64_t version)
{
    struct root *root = &r->root;
    struct ps_version *v;
    const struct ps_store *store = tr_publisher_store(root->publisher);
    struct wi_announce news = {
        .kind = WI_ALIASED,
        .version = version,
        .previous = r->batch.champion,
        .generation = (uint32_t)ps_lease_generation(tr_publisher_lease(root->publisher))};
    snprintf(news.alias, sizeof news.alias, "%.*s", WI_ALIAS - 1, r->cfg.alias);
    if (ps_version_open(&v, store, version) != CM_OK)
        return;
    news.run = uuid_of(tr_publisher_run(root->publisher));
    news.manifest_hash = ps_version_manifest(v)->hash;
    ps_version_close(&v);
    ol_herald_tell(&root->herald, &news);
}

/* Old states, and logs if they are not kept for ever. */
static void clean_up(struct run *r)
{
    struct root *root = &r->root;
    struct ps_retention rule = {.keep_last = r->cfg.keep_states};
    struct ps_removed removed = {0};
    cm_status st = ps_store_gc(root->states, &rule, "", 0, false, &removed);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "removing old states");
    cm_free(&removed.version);
    st = ol_journal_clean(&root->journal,
                          r->cfg.keep_logs ? root->state.batch - r->cfg.keep_logs : 0);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "removing old logs");
}

/* After the state is durable: nothing of this can change what was decided. */
static cm_status follow_up(struct run *r, int64_t drifts)
{
    struct root *root = &r->root;
    const struct ol_state *s = &root->state;
    struct ol_report_batch told = {.batch = &r->batch,
                                   .state = s,
                                   .version = root->version,
                                   .predicted = r->trial.feedback,
                                   .drifts = drifts,
                                   .seconds = (double)(cm_now_ns() - root->began_ns) * 1e-9};
    CM_TRY(cm_fault("online.committed"));
    if (s->weights)
        announce(r, s->weights);
    ol_report_decided(&root->report, &told);
    cm_log_info("batch %lld: %s%s: %s", (long long)s->batch,
                s->weights ? "new champion" : "champion stays",
                s->verdict.reason == OL_GATE_PASSED ? "" : ", refused", s->verdict.text);
    ol_intake_tidy(root->intake, s, &r->batch);
    clean_up(r);
    return cm_fault("online.tidied");
}

static cm_status conclude_root(struct run *r)
{
    struct root *root = &r->root;
    struct ol_trial *t = &r->trial;
    struct ol_promotion made = {.version = root->decided};
    int64_t drifts;
    if (!is_root(r))
        return CM_OK;
    if (root->decided)
        CM_TRY(ol_promote_verdict(&t->verdict, tr_publisher_store(root->publisher), made.version));
    else if (t->verdict.reason == OL_GATE_PASSED)
        CM_TRY(ol_promote(&made, root->publisher, t, &r->batch, ps_version_manifest(root->champion),
                          r->cfg.alias));
    if (made.moved)
        return CM_OK; /* the log's champion is settled anew, and the batch goes again */
    CM_TRY(ol_state_advance(&root->state, &r->batch, &t->verdict, made.version, t->feedback,
                            r->cfg.drift_delta, &drifts));
    CM_TRY(ol_anchor_set(&root->state.anchor, t->by_anchor, r->session.data.split.n_holdout,
                         t->holdout));
    CM_TRY(cm_fault("online.commit"));
    CM_TRY(ol_state_commit(&root->state, &root->version, root->states, root->version,
                           tr_publisher_run(root->publisher)));
    return follow_up(r, drifts);
}

static cm_status decide_batch(struct run *r, bool decided)
{
    r->root.began_ns = cm_now_ns();
    CM_TRY(share_batch(r));
    CM_TRY(ol_trial_answer(&r->trial, &r->batch));
    if (!decided)
        CM_TRY(ol_trial_run(&r->trial, &r->batch, tr_stop_asked));
    ar_group_set_phase(r->session.group, "commit", r->batch.number);
    CM_TRY(ar_group_agree(r->session.group, conclude_root(r), "committing a batch"));
    ol_trial_end(&r->trial);
    return CM_OK;
}

static cm_status loop(struct run *r)
{
    for (;;) {
        enum word word;
        CM_TRY(await_batch(r, &word));
        if (word == WORD_DRY)
            return CM_OK;
        if (word == WORD_STOP)
            return CM_FAIL(CM_EPREEMPTED, "told to stop while waiting for feedback");
        CM_TRY(decide_batch(r, word == WORD_DECIDED));
    }
}

/* ---- life ---- */

static void release(struct run *r)
{
    struct root *root = &r->root;
    ol_intake_close(&root->intake);
    ol_report_release(&root->report);
    ol_herald_close(&root->herald);
    ol_state_release(&root->state);
    ps_version_close(&root->champion);
    ps_store_close(&root->states);
    tr_publisher_close(&root->publisher);
    ol_batch_release(&r->batch);
    ol_trial_close(&r->trial);
    tr_session_release(&r->session);
}

static struct tr_session_options session_options(const struct ol_run_options *options,
                                                 struct ol_config *cfg)
{
    struct tr_session_options o = options->session;
    o.more = &ol_config_section;
    o.more_values = cfg;
    return o;
}

/* What start refuses, --check refuses: it judges by the same values. */
static cm_status check_sections(const struct ol_run_options *options)
{
    struct cm_config *config;
    struct ol_config cfg;
    struct tr_data_config data;
    struct tr_train_config train;
    const struct tr_session_options *o = &options->session;
    CM_TRY(cm_config_open(&config, o->config_path, o->sets, o->nsets));
    cm_status st = cm_config_read(config, &ol_config_section, &cfg);
    if (st == CM_OK)
        st = cm_config_read(config, &tr_data_section, &data);
    if (st == CM_OK)
        st = cm_config_read(config, &tr_train_section, &train);
    if (st == CM_OK)
        st = ol_config_check(&cfg, data.holdout, train.shards);
    cm_config_close(&config);
    return st;
}

cm_status ol_run_check(const struct ol_run_options *options)
{
    struct ol_config cfg;
    struct tr_session_options session = session_options(options, &cfg);
    CM_TRY(check_sections(options));
    return tr_session_check(&session);
}

cm_status ol_run(const struct ol_run_options *options)
{
    struct run r = {.options = options};
    struct tr_session_options session = session_options(options, &r.cfg);
    tr_stop_block();
    CM_TRY(tr_session_open(&r.session, &session));
    cm_status st = ol_config_check(&r.cfg, r.session.data_config.holdout, r.session.train.shards);
    st = ar_group_agree(r.session.group, st, "the config");
    if (st == CM_OK)
        st = start(&r);
    bool started = st == CM_OK; /* before: all ranks fail together; after: one may fail alone */
    if (st == CM_OK)
        st = loop(&r);
    bool failed = started && st != CM_OK && st != CM_EPREEMPTED;
    if (failed && ar_group_size(r.session.group) > 1 && !cm_error_is_shared())
        ar_group_abort(r.session.group, st, "online");
    bool ours = failed && !cm_error_is_told();
    if (failed)
        ar_group_on_loss(r.session.group, NULL, NULL);
    if (ours) { /* said before what waits for a disk, and may not end */
        cm_error_report(CM_LOG_ERROR, st, NULL);
        tr_loss_write_here(&r.loss, "online", r.root.state.batch + 1);
    }
    tr_session_fail(&r.session, st, "online");
    release(&r);
    return st;
}
