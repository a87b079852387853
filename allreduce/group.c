#include "allreduce/group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allreduce/place.h"
#include "allreduce/reducer.h"
#include "allreduce/tree.h"
#include "allreduce/watchdog.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/version.h"

#define CLOCKS_S 2   /* further apart is worth a warning */
#define MESSAGE  256 /* bytes of a rank's fault or text that others get to see */

/* Did a rank succeed, and if not, why? */
struct verdict {
    int32_t st; /* cm_status */
    char text[MESSAGE];
};

struct ar_group {
    struct ar_config cfg;
    struct ar_reducer *reducer;
    struct ar_watch *watch;
    bool met; /* the ranks have exchanged greetings: they part together, too */
    int rank, size, local_rank, local_size;
    char host[64];
    struct verdict *board; /* (size): what agree and same gather, allocated at open */

    struct ar_tail tail; /* of the step that runs */
    struct ar_step_times times;
    double busy_before_s; /* at the step's begin */
    uint64_t nbytes_before;
};

/* What every rank says about itself at the start. Bytes on the wire between equal builds. */
struct greeting {
    uint64_t key;
    int32_t order, compress;
    struct verdict ready;
    struct ar_place place;
};

/* After the start the watchdog holds the deadline of every collective. */
static cm_status run(struct ar_group *g, const struct ar_job *job)
{
    ar_reducer_push(g->reducer, job);
    struct cm_awake ever = cm_awake_until(cm_deadline_in_ms(-1));
    return ar_reducer_wait(g->reducer, &ever);
}

/* ---- verdicts ---- */

static struct verdict verdict_of(cm_status st)
{
    struct verdict v = {.st = (int32_t)st};
    if (st != CM_OK)
        snprintf(v.text, sizeof v.text, "%s", cm_error_text());
    return v;
}

cm_status ar_group_alike(const struct ar_group *g, cm_status st)
{
    if (g && g->size > 1)
        cm_error_share(g->rank == 0);
    return st;
}

/* This rank has failed, for the reason in its record: who tells of it, in whose name? */
static void share_own(const struct ar_group *g, cm_status st)
{
    const struct verdict *all = g->board, *mine = &all[g->rank];
    int teller = -1, nalike = 0;
    if (cm_error_is_shared())
        return; /* agreed on before, inside of what is agreed on now */
    for (int r = 0; r < g->size; r++)
        if (all[r].st == mine->st && strcmp(all[r].text, mine->text) == 0) {
            teller = teller < 0 ? r : teller;
            nalike++;
        }
    if (nalike == 1)
        (void)CM_CONTEXT(st, "rank %d on %s", g->rank, g->host);
    else if (nalike < g->size)
        (void)CM_CONTEXT(st, "%d ranks, the first is rank %d on %s", nalike, teller, g->host);
    cm_error_share(teller == g->rank);
}

/* Every rank's verdict is on the board. */
static cm_status settle(struct ar_group *g, const char *doing)
{
    const struct verdict *all = g->board;
    int first = 0;
    while (first < g->size && all[first].st == CM_OK)
        first++;
    if (first == g->size)
        return CM_OK;
    cm_status st = (cm_status)all[first].st;
    if (all[g->rank].st == CM_OK) {
        (void)CM_FAIL(st, "%s: rank %d: %s (%s)", doing, first, all[first].text,
                      cm_status_name(st));
        cm_error_share(false);
    } else if (g->size > 1) {
        share_own(g, st);
    }
    return st;
}

/* ---- start ---- */

static cm_status compare_greetings(const struct ar_group *g, const struct greeting *all)
{
    for (int r = 1; r < g->size; r++) {
        const struct greeting *them = &all[r];
        if (them->order != all[0].order || them->compress != all[0].compress)
            return ar_group_alike(
                g, CM_FAIL(CM_EMISMATCH,
                           "rank %d on %s has allreduce.order %d and compress %d, rank 0 on %s "
                           "has %d and %d: give all ranks the same config",
                           r, them->place.host, them->order, them->compress, all[0].place.host,
                           all[0].order, all[0].compress));
    }
    return CM_OK;
}

static cm_status start_watch(struct ar_group *g, const struct greeting *all)
{
    struct ar_place *places;
    CM_TRY(cm_alloc(&places, (size_t)g->size, sizeof *places, "ranks' places"));
    for (int r = 0; r < g->size; r++)
        places[r] = all[r].place;
    ar_place_local(places, g->size, g->rank, &g->local_rank, &g->local_size);
    struct ar_watch_config cfg = {
        .places = places,
        .rank = g->rank,
        .size = g->size,
        .key = all[0].key,
        .heartbeat_ms = g->cfg.heartbeat_ms,
        .late_ms = g->cfg.late_ms,
        .timeout_ms = g->cfg.collective_timeout_ms,
    };
    cm_status st = g->size > 1 ? ar_watch_start(g->watch, &cfg) : CM_OK;
    cm_free(&places);
    return st;
}

static cm_status gather_by(struct ar_group *g, void *mine, size_t nbytes, void *all,
                           struct cm_awake *deadline)
{
    struct ar_job job = {.kind = AR_JOB_GATHER, .buf = mine, .n = nbytes, .all = all};
    ar_reducer_push(g->reducer, &job);
    cm_status st = ar_reducer_wait(g->reducer, deadline);
    if (st == CM_ETIMEDOUT)
        ar_reducer_close(&g->reducer); /* before what it may still write to goes */
    return st;
}

/* The first words between ranks have one size in every build; the others need not. */
struct build {
    char version[96], host[64];
};

static cm_status compare_builds(struct ar_group *g, struct cm_awake *deadline)
{
    struct build mine = {0}, *all;
    snprintf(mine.version, sizeof mine.version, "%s", cm_version());
    memcpy(mine.host, g->host, sizeof mine.host);
    CM_TRY(cm_alloc(&all, (size_t)g->size, sizeof *all, "ranks' builds"));
    cm_status st = gather_by(g, &mine, sizeof mine, all, deadline);
    for (int r = 1; r < g->size && st == CM_OK; r++) {
        if (strcmp(all[r].version, all[0].version) == 0)
            continue;
        st = CM_FAIL(CM_EMISMATCH,
                     "rank %d on %s runs flywheel %s, rank 0 on %s runs %s: install the same build "
                     "on all hosts",
                     r, all[r].host, all[r].version, all[0].host, all[0].version);
        st = ar_group_alike(g, st);
        g->met = true;
    }
    cm_free(&all);
    return st;
}

/* Nothing depends on clocks but the times in files and logs, so this is a warning. */
static cm_status compare_clocks(struct ar_group *g, const struct greeting *hosts)
{
    double mine = 0, *all;
    CM_TRY(cm_alloc(&all, (size_t)g->size, sizeof *all, "ranks' clocks"));
    cm_status st = ar_group_gather(g, &mine, sizeof mine, all); /* all are here now */
    mine = cm_utc_now();
    if (st == CM_OK)
        st = ar_group_gather(g, &mine, sizeof mine, all);
    int odd = st == CM_OK && g->rank == 0 ? ar_place_odd_clock(all, g->size, CLOCKS_S) : -1;
    if (odd >= 0)
        cm_log_warn("the clock of rank %d on %s is %+.1f s from that of rank 0 on %s: times in "
                    "logs and files will not agree (is NTP running?)",
                    odd, hosts[odd].place.host, all[odd] - all[0], hosts[0].place.host);
    cm_free(&all);
    return st;
}

/* Ranks tell each other where they are and whether they could get ready; ready: could this one, and
 * if not, why? */
static cm_status meet(struct ar_group *g, cm_status ready, const struct cm_error *why,
                      struct cm_awake *deadline)
{
    struct cm_uuid id = cm_uuid_make();
    struct greeting mine = {.order = g->cfg.order, .compress = g->cfg.compress}, *all = NULL;
    cm_status st;
    memcpy(&mine.key, id.byte, sizeof mine.key);
    CM_TRY(cm_alloc(&g->board, (size_t)g->size, sizeof *g->board, "ranks' verdicts"));
    CM_TRY(cm_alloc(&all, (size_t)g->size, sizeof *all, "ranks' greetings"));
    CM_GOTO(st, compare_builds(g, deadline), out);
    st = ar_watch_open(&g->watch, &mine.place);
    if (ready != CM_OK)
        cm_error_restore(why);
    mine.ready = verdict_of(ready != CM_OK ? ready : st);
    CM_GOTO(st, gather_by(g, &mine, sizeof mine, all, deadline), out);
    g->met = true;
    for (int r = 0; r < g->size; r++)
        g->board[r] = all[r].ready;
    CM_GOTO(st, settle(g, "start"), out);
    CM_GOTO(st, compare_greetings(g, all), out);
    /* Without a watchdog nobody would notice how long the others take to part. */
    st = start_watch(g, all);
    g->met = st == CM_OK;
    CM_GOTO(st, st, out);
    ar_reducer_set_watch(g->reducer, g->size > 1 ? g->watch : NULL);
    st = g->size > 1 ? compare_clocks(g, all) : CM_OK;
out:
    cm_free(&all);
    return st;
}

static cm_status check_config(const struct ar_config *cfg)
{
    if (cfg->compress && cfg->order != AR_ORDER_FIXED)
        return CM_FAIL(CM_ECONFIG, "allreduce.compress rounds the nodes of the fixed tree: it "
                                   "needs allreduce.order \"fixed\"");
    if (cfg->collective_timeout_ms < 4 * cfg->heartbeat_ms)
        return CM_FAIL(CM_ECONFIG,
                       "allreduce.collective_timeout_ms %lld is less than 4 heartbeats of %lld "
                       "ms: the culprit could not be told",
                       (long long)cfg->collective_timeout_ms, (long long)cfg->heartbeat_ms);
    return CM_OK;
}

/* ready: whether this rank could get as far as this; the reason is in its record. It meets the
 * others all the same. */
static cm_status open_group(struct ar_group **out, const struct ar_config *cfg, cm_status ready)
{
    *out = NULL;
    cm_status st;
    struct cm_error why;
    struct ar_group *g = NULL;
    struct cm_awake deadline = cm_awake_until(cm_deadline_in_ms(cfg->start_timeout_ms));
    cm_error_save(&why);
    CM_TRY(cm_alloc(&g, 1, sizeof *g, "group"));
    g->cfg = *cfg;
    (void)gethostname(g->host, sizeof g->host - 1);
    bool fast = cfg->order == AR_ORDER_FAST;
    CM_GOTO(st, ar_reducer_open(&g->reducer, fast, cfg->compress, cfg->collective_timeout_ms), out);
    ar_reducer_push(g->reducer, &(struct ar_job){.kind = AR_JOB_START});
    CM_GOTO(st, ar_reducer_wait(g->reducer, &deadline), out);
    g->rank = ar_reducer_rank(g->reducer);
    g->size = ar_reducer_size(g->reducer);
    CM_GOTO(st, meet(g, ready, &why, &deadline), out);
    if (!fast && !ar_is_power_of_two(g->size)) {
        st = CM_FAIL(CM_ECONFIG,
                     "%d ranks: allreduce.order \"fixed\" needs a power of two (or set "
                     "allreduce.order to \"fast\": the same bits for reruns only)",
                     g->size);
        st = ar_group_alike(g, st);
        goto out;
    }
    *out = g;
    g = NULL;
out:
    if (st == CM_ETIMEDOUT)
        st = CM_CONTEXT(st,
                        "start of the ranks within %lld ms (did one fail before it got here? see "
                        "its log; allreduce.start_timeout_ms is the deadline)",
                        (long long)cfg->start_timeout_ms);
    if (ready != CM_OK && !cm_error_is_shared()) {
        cm_error_restore(&why);
        st = ready;
    }
    if (st != CM_OK && cm_error_is_shared())
        cm_error_report(CM_LOG_ERROR, st, NULL);
    ar_group_close(&g);
    return st;
}

cm_status ar_group_open(struct ar_group **out, const struct ar_config *cfg)
{
    return open_group(out, cfg, check_config(cfg));
}

cm_status ar_group_decline(cm_status st)
{
    struct cm_error why;
    struct cm_config *none = NULL;
    struct ar_config defaults;
    struct ar_group *g;
    cm_error_save(&why);
    bool have = cm_config_open(&none, NULL, NULL, 0) == CM_OK &&
                cm_config_read(none, &ar_config_section, &defaults) == CM_OK;
    cm_config_close(&none);
    cm_error_restore(&why);
    return have ? open_group(&g, &defaults, st) : st;
}

void ar_group_close(struct ar_group **group)
{
    struct ar_group *g = *group;
    if (!g)
        return;
    if (g->met && !ar_reducer_failed(g->reducer)) {
        /* The watchdog's deadline comes first; this one is for a start that failed before there was
         * a watchdog. */
        struct cm_awake deadline = cm_awake_until(
            cm_deadline_in_ms(g->cfg.collective_timeout_ms + 2 * g->cfg.heartbeat_ms));
        ar_reducer_push(g->reducer, &(struct ar_job){.kind = AR_JOB_FINISH});
        struct cm_error why;
        cm_error_save(&why);
        cm_status st = ar_reducer_wait(g->reducer, &deadline);
        if (st != CM_OK)
            cm_error_report(CM_LOG_WARN, st, "end of the job");
        cm_error_restore(&why);
    }
    ar_reducer_close(&g->reducer);
    ar_watch_close(&g->watch);
    cm_free(&g->board);
    cm_free(group);
}

/* How long a rank that failed because of another leaves it to the watchdog to say which, and to end
 * the process. */
static int64_t leave_it_ms(const struct ar_group *g, cm_status st)
{
    int64_t ms = 3 * g->cfg.heartbeat_ms;
    bool for_another = st == CM_EPEER || cm_error_is_told();
    return !for_another || g->size == 1 ? 0 : ms < 1000 ? ms : 1000;
}

_Noreturn void ar_group_abort(struct ar_group *g, cm_status st, const char *doing)
{
    char what[MESSAGE];
    snprintf(what, sizeof what, "%s", doing);
    if (g && g->size > 1) {
        cm_sleep_us(1000 * leave_it_ms(g, st));
        if (!cm_error_is_shared()) /* which says whose it is */
            snprintf(what, sizeof what, "rank %d on %s: %s", g->rank, g->host, doing);
    }
    cm_error_report(CM_LOG_ERROR, st, what);
    if (g) {
        char why[MESSAGE];
        snprintf(why, sizeof why, "%s: %s", doing, cm_error_text());
        ar_watch_last_words(g->watch, why);
    }
    int code = cm_status_exit_code(st);
    _exit(code != 0 ? code : cm_status_exit_code(CM_EINTERNAL));
}

void ar_group_on_loss(struct ar_group *g, ar_loss_fn fn, void *arg)
{
    ar_watch_on_loss(g->watch, fn, arg);
}

void ar_group_on_leave(struct ar_group *g, ar_leave_fn fn, void *arg)
{
    ar_watch_on_leave(g->watch, fn, arg);
}

void ar_group_wait_begin(struct ar_group *g, const char *doing)
{
    ar_watch_enter(g->watch, doing);
}

void ar_group_wait_end(struct ar_group *g)
{
    ar_watch_leave(g->watch);
}

/* ---- who and where ---- */

int ar_group_rank(const struct ar_group *g)
{
    return g->rank;
}

int ar_group_size(const struct ar_group *g)
{
    return g->size;
}

int ar_group_local_rank(const struct ar_group *g)
{
    return g->local_rank;
}

int ar_group_local_size(const struct ar_group *g)
{
    return g->local_size;
}

void ar_group_set_phase(struct ar_group *g, const char *phase, int64_t step)
{
    ar_watch_phase(g->watch, phase, step);
}

/* ---- collectives ---- */

cm_status ar_group_broadcast(struct ar_group *g, void *buf, size_t nbytes, int root)
{
    if (root < 0 || root >= g->size)
        return CM_FAIL(CM_EINVAL, "broadcast from rank %d of %d", root, g->size);
    return run(g,
               &(struct ar_job){.kind = AR_JOB_BROADCAST, .buf = buf, .n = nbytes, .number = root});
}

cm_status ar_group_gather(struct ar_group *g, const void *mine, size_t nbytes, void *all)
{
    /* The job has one type of pointer; a gather only reads buf. */
    union {
        const void *in;
        void *out;
    } buf = {.in = mine};
    return run(g, &(struct ar_job){.kind = AR_JOB_GATHER, .buf = buf.out, .n = nbytes, .all = all});
}

cm_status ar_group_agree(struct ar_group *g, cm_status mine, const char *doing)
{
    struct verdict verdict = verdict_of(mine);
    struct cm_error why;
    cm_error_save(&why);
    cm_status st = ar_group_gather(g, &verdict, sizeof verdict, g->board);
    if (st == CM_OK)
        return settle(g, doing);
    if (mine == CM_OK)
        return st;
    cm_error_restore(&why); /* nobody else can tell that */
    return mine;
}

/* The line of text around byte `at`, at most MESSAGE - 1 bytes of it. */
static void line_around(char line[MESSAGE], const char *text, size_t at)
{
    size_t n = strlen(text), begin = at < n ? at : n;
    while (begin > 0 && text[begin - 1] != '\n')
        begin--;
    size_t length = strcspn(text + begin, "\n");
    if (at - begin >= MESSAGE / 2 &&
        length >= MESSAGE) { /* a long line: what differs is what matters */
        begin = at - MESSAGE / 2;
        length = strcspn(text + begin, "\n");
    }
    snprintf(line, MESSAGE, "%.*s", (int)(length < MESSAGE ? length : MESSAGE - 1), text + begin);
}

static size_t first_difference(const char *a, const char *b)
{
    size_t i = 0;
    while (a[i] && a[i] == b[i])
        i++;
    return i;
}

/* A rank's text beside rank 0's. */
struct difference {
    int32_t differs;
    uint64_t at; /* byte of the first difference */
    char mine[MESSAGE], rank0[MESSAGE];
};

static cm_status compare_to_rank0(struct ar_group *g, const char *text, struct difference *d)
{
    uint64_t n = strlen(text) + 1;
    char *theirs = NULL;
    CM_TRY(ar_group_broadcast(g, &n, sizeof n, 0));
    cm_status st = cm_alloc(&theirs, n, 1, "rank 0's text");
    CM_GOTO(st, ar_group_agree(g, st, "comparing texts"), out);
    if (g->rank == 0)
        memcpy(theirs, text, n);
    CM_GOTO(st, ar_group_broadcast(g, theirs, n, 0), out);
    d->at = first_difference(text, theirs);
    d->differs = text[d->at] != theirs[d->at];
    line_around(d->mine, text, d->at);
    line_around(d->rank0, theirs, d->at);
out:
    cm_free(&theirs);
    return st;
}

cm_status ar_group_same(struct ar_group *g, const char *what, const char *text, const char *advice)
{
    struct difference d = {0};
    CM_TRY(compare_to_rank0(g, text, &d));
    struct verdict mine = {.st = d.differs ? CM_EMISMATCH : CM_OK};
    CM_TRY(ar_group_gather(g, &mine, sizeof mine, g->board));
    int odd = 0;
    while (odd < g->size && g->board[odd].st == CM_OK)
        odd++;
    if (odd == g->size)
        return CM_OK;

    CM_TRY(ar_group_broadcast(g, &d, sizeof d, odd));
    char ours[MESSAGE];
    line_around(ours, text, d.at);
    cm_status st =
        odd == g->rank
            ? CM_FAIL(CM_EMISMATCH, "%s differs: rank %d on %s has '%s', rank 0 has '%s': %s", what,
                      odd, g->host, d.mine, d.rank0, advice)
            : CM_FAIL(CM_EMISMATCH, "%s differs: rank %d has '%s', rank %d (this one) has '%s': %s",
                      what, odd, d.mine, g->rank, ours, advice);
    cm_error_share(odd == g->rank);
    return st;
}

cm_status ar_group_sum_f32(struct ar_group *g, float *buf, size_t n)
{
    return run(g, &(struct ar_job){.kind = AR_JOB_SUM_F32, .buf = buf, .n = n});
}

cm_status ar_group_sum_f64(struct ar_group *g, double *buf, size_t n)
{
    if (n > AR_SUM_F64_MAX)
        return CM_FAIL(CM_EINVAL, "sum of %zu doubles, at most %d", n, AR_SUM_F64_MAX);
    return run(g, &(struct ar_job){.kind = AR_JOB_SUM_F64, .buf = buf, .n = n});
}

cm_status ar_group_time_native(struct ar_group *g, float *buf, size_t n, int times, double *seconds)
{
    double before_s = ar_reducer_busy_s(g->reducer);
    CM_TRY(run(g, &(struct ar_job){.kind = AR_JOB_NATIVE, .buf = buf, .n = n, .number = times}));
    *seconds = ar_reducer_busy_s(g->reducer) - before_s;
    return CM_OK;
}

/* ---- a step ---- */

void ar_step_begin(struct ar_group *g, int64_t step)
{
    ar_watch_phase(g->watch, "step", step);
    g->busy_before_s = ar_reducer_busy_s(g->reducer);
    g->nbytes_before = ar_reducer_nbytes_sent(g->reducer);
}

void ar_step_bucket(struct ar_group *g, float *buf, size_t n, struct ln_event *ready)
{
    ar_step_bucket_then(g, buf, n, ready, NULL, NULL);
}

void ar_step_bucket_then(struct ar_group *g, float *buf, size_t n, struct ln_event *ready,
                         void (*then)(void *ctx, void *buf, size_t n), void *ctx)
{
    struct ar_job job = {
        .kind = AR_JOB_BUCKET, .buf = buf, .n = n, .ready = ready, .then = then, .ctx = ctx};
    ar_reducer_push(g->reducer, &job);
}

cm_status ar_step_end(struct ar_group *g, struct ar_tail *tail)
{
    int64_t begin_ns = cm_now_ns();
    g->tail = *tail;
    CM_TRY(run(g, &(struct ar_job){.kind = AR_JOB_TAIL, .buf = &g->tail, .n = 1}));
    *tail = g->tail;
    g->times = (struct ar_step_times){
        .busy_s = ar_reducer_busy_s(g->reducer) - g->busy_before_s,
        .exposed_s = (double)(cm_now_ns() - begin_ns) / 1e9,
        .nbytes = ar_reducer_nbytes_sent(g->reducer) - g->nbytes_before,
    };
    return CM_OK;
}

struct ar_step_times ar_step_times(const struct ar_group *g)
{
    return g->times;
}
