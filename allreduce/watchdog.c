#include "allreduce/watchdog.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "allreduce/beacon.h"
#include "allreduce/join.h"
#include "allreduce/phases.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define REPORT_ROWS  16
#define LEAVE_COPIES 3   /* datagrams get lost */
#define TELL_S       1   /* for whoever is told of a loss: the file system may be what hangs */
#define QUIET_BEATS  2   /* how long a rank that need not speak waits for the one that does, */
#define QUIET_MS     500 /* and at least */

/* What the rank does, written by its own threads, read by the watchdog. */
struct doing {
    atomic_ullong newest; /* number of the newest collective entered */
    atomic_bool inside;   /* of it */
    atomic_bool parting;  /* it is the last */
    _Atomic(const char *) collective;
    _Atomic(const char *) phase;
    atomic_llong step;
    atomic_llong late_ms; /* of this phase */
};

/* A loss with its texts: who tells may outlive the frame of who knew. */
struct telling {
    ar_loss_fn fn;
    void *arg;
    struct ar_loss loss;
    char what[512], phase[AR_BEAT_PHASE], others[128];
};

struct ar_watch {
    struct ar_beacon beacon;
    int wake; /* eventfd, written by close */
    struct doing doing;
    int64_t heartbeat_ms, late_ms, timeout_ms;
    struct ar_phases phases; /* owner: who calls ar_watch_phase */

    pthread_mutex_t lock; /* guards these: a loss is told, and a rank leaves, by one thread */
    ar_loss_fn on_loss;
    void *arg;
    ar_leave_fn on_leave;
    void *leave_arg;
    bool leaving;           /* on_leave was taken */
    struct telling telling; /* owner: who took on_loss; then the thread that tells */

    /* Owner: the watchdog thread. Times are milliseconds of its own running. */
    pthread_t thread;
    bool running;            /* owner: who starts and closes; true before the thread begins */
    unsigned long long seen; /* the collective that waited_ms counts for */
    unsigned long long told; /* the newest that was called late, and where: once is enough */
    const char *told_phase;
    long long told_step;
    int64_t waited_ms, in_phase_ms, gone_ms;
    const char *seen_phase;
    long long seen_step;
};

cm_status ar_watch_open(struct ar_watch **out, struct ar_place *here)
{
    *out = NULL;
    struct ar_watch *w;
    CM_TRY(cm_alloc(&w, 1, sizeof *w, "watchdog"));
    pthread_mutex_init(&w->lock, NULL);
    w->wake = -1;
    atomic_store(&w->doing.phase, "start");
    atomic_store(&w->doing.collective, "");
    cm_status st = ar_beacon_open(&w->beacon, here);
    if (st == CM_OK && (w->wake = eventfd(0, EFD_CLOEXEC)) < 0)
        st = CM_FAIL_ERRNO("heartbeats: eventfd");
    if (st != CM_OK)
        ar_watch_close(&w);
    *out = w;
    return st;
}

static struct ar_beat beat_of(struct ar_watch *w, enum ar_beat_kind kind)
{
    struct ar_beat b = {
        .kind = kind,
        .key = w->beacon.key,
        .rank = (uint32_t)w->beacon.rank,
        .collective = atomic_load(&w->doing.newest),
        .step = atomic_load(&w->doing.step),
    };
    snprintf(b.phase, sizeof b.phase, "%s", atomic_load(&w->doing.phase));
    snprintf(b.text, sizeof b.text, "%s", atomic_load(&w->doing.collective));
    return b;
}

static void send_copies(struct ar_watch *w, const struct ar_beat *beat)
{
    for (int i = 0; i < LEAVE_COPIES; i++)
        ar_beacon_send(&w->beacon, beat);
}

/* ---- telling ---- */

static void *tell(void *arg)
{
    struct telling *t = arg;
    t->fn(&t->loss, t->arg);
    return NULL;
}

/* On a thread of its own. One that does not come back in time stays behind: the process is about to
 * end. */
static bool run_briefly(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, fn, arg) == 0 && ar_join(thread, TELL_S * 1000);
}

/* Once. */
static void tell_loss(struct ar_watch *w, const struct ar_loss *loss)
{
    struct telling *t = &w->telling;
    pthread_mutex_lock(&w->lock);
    ar_loss_fn fn = w->on_loss;
    w->on_loss = NULL;
    pthread_mutex_unlock(&w->lock);
    if (!fn)
        return;
    *t = (struct telling){.fn = fn, .arg = w->arg, .loss = *loss};
    snprintf(t->what, sizeof t->what, "%s", loss->what);
    snprintf(t->phase, sizeof t->phase, "%s", loss->phase);
    snprintf(t->others, sizeof t->others, "%s", loss->others);
    t->loss.what = t->what;
    t->loss.phase = t->phase;
    t->loss.others = t->others;
    if (!run_briefly(tell, t))
        cm_log_warn("the end of the run could not be written down within %d s", TELL_S);
}

static void *leave(void *arg)
{
    const struct ar_watch *w = arg;
    w->on_leave(w->leave_arg);
    return NULL;
}

/* Once; who comes second is not held up, but finds the first one's process at its end. */
static void prepare_to_leave(struct ar_watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool first = !w->leaving && w->on_leave;
    w->leaving = true;
    pthread_mutex_unlock(&w->lock);
    if (first && !run_briefly(leave, w))
        cm_log_warn("what this rank had under way could not be given up within %d s", TELL_S);
}

void ar_watch_on_leave(struct ar_watch *w, ar_leave_fn fn, void *arg)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    bool late = w->leaving && w->on_leave;
    if (!late) {
        w->on_leave = fn;
        w->leave_arg = arg;
    }
    pthread_mutex_unlock(&w->lock);
    if (!late)
        return;
    for (;;) /* it is in use, and the process about to end */
        cm_sleep_us(1000000);
}

void ar_watch_on_loss(struct ar_watch *w, ar_loss_fn fn, void *arg)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->on_loss = fn;
    w->arg = arg;
    pthread_mutex_unlock(&w->lock);
}

void ar_watch_last_words(struct ar_watch *w, const char *why)
{
    if (!w || !w->running)
        return;
    struct ar_beat b = beat_of(w, AR_BEAT_LEAVING);
    snprintf(b.text, sizeof b.text, "%s", why);
    const struct ar_loss loss = {.rank = w->beacon.rank,
                                 .host = w->beacon.places[w->beacon.rank].host,
                                 .fault = "failed",
                                 .phase = b.phase,
                                 .step = b.step,
                                 .what = why,
                                 .others = ""};
    tell_loss(w, &loss);
    send_copies(w, &b);
    prepare_to_leave(w);
}

/* ---- judging ---- */

/* Three heartbeats and a little for the scheduler; open checks that the deadline is longer. */
static int64_t silent_ms(const struct ar_watch *w)
{
    return 3 * w->heartbeat_ms + 50;
}

static enum ar_fault fault_of(const struct ar_watch *w, int r)
{
    return ar_peer_fault(&w->beacon.peers[r], w->seen, silent_ms(w));
}

static bool speaks(const struct ar_watch *w, enum ar_fault from)
{
    return ar_speaks(w->beacon.peers, w->beacon.rank, from, w->seen, silent_ms(w));
}

static void describe_others(const struct ar_watch *w, char *text, size_t n)
{
    int count[AR_FAULT_COUNT] = {0};
    for (int r = 0; r < w->beacon.size; r++)
        count[fault_of(w, r)] += r != w->beacon.rank;
    snprintf(text, n, "of %d other ranks: %d left, %d gone, %d silent, %d behind, %d waiting",
             w->beacon.size - 1, count[AR_FAULT_LEFT], count[AR_FAULT_GONE], count[AR_FAULT_SILENT],
             count[AR_FAULT_BEHIND], count[AR_FAULT_NONE]);
}

/* One screen: the faulty first, then some that wait as this rank does, then how many are what. */
static void show_all(struct ar_watch *w, enum cm_log_level level)
{
    int rows = 0;
    char row[512];
    for (int fault = AR_FAULT_LEFT; fault >= AR_FAULT_NONE; fault--)
        for (int r = 0; r < w->beacon.size && rows < REPORT_ROWS; r++) {
            if (r == w->beacon.rank || fault_of(w, r) != (enum ar_fault)fault)
                continue;
            rows++;
            ar_peer_describe(row, sizeof row, &w->beacon.peers[r], r, (enum ar_fault)fault,
                             w->seen);
            cm_log_line(level, "  %s", row);
        }
    describe_others(w, row, sizeof row);
    cm_log_line(level, "  %s", row);
}

/* "collective 17 (sum) at 'step' step 812 waits since 10.1 s for rank 1 on node07: …" */
static void describe_wait(const struct ar_watch *w, int culprit, char *who, size_t n, char *text,
                          size_t ntext)
{
    snprintf(who, n, "all: every rank waits in it; are messages between hosts lost?");
    if (culprit >= 0)
        ar_peer_describe(who, n, &w->beacon.peers[culprit], culprit, fault_of(w, culprit), w->seen);
    snprintf(text, ntext, "collective %llu (%s) at '%s' step %lld waited %.1f s for %s", w->seen,
             atomic_load(&w->doing.collective), atomic_load(&w->doing.phase),
             (long long)atomic_load(&w->doing.step), (double)w->waited_ms / 1e3, who);
}

static int find_culprit(const struct ar_watch *w)
{
    return ar_culprit(w->beacon.peers, w->beacon.size, w->beacon.rank, w->seen, silent_ms(w));
}

/* The last to be heard of the job: by people, by whoever asked, by the others. */
static _Noreturn void give_up(struct ar_watch *w)
{
    int culprit = find_culprit(w);
    char who[512], text[768], others[128];
    describe_wait(w, culprit, who, sizeof who, text, sizeof text);
    cm_log_error("leaving: %s", text);
    show_all(w, CM_LOG_ERROR);
    const struct ar_peer *p = culprit >= 0 ? &w->beacon.peers[culprit] : NULL;
    enum ar_fault fault = p ? fault_of(w, culprit) : AR_FAULT_NONE;
    /* Who fell silent got further than its last heartbeat: to where it is missed. */
    bool knows = p && fault == AR_FAULT_BEHIND;
    describe_others(w, others, sizeof others);
    const struct ar_loss loss = {.rank = culprit,
                                 .host = p ? p->host : NULL,
                                 .fault = ar_fault_names[fault],
                                 .phase = knows ? p->beat.phase : atomic_load(&w->doing.phase),
                                 .step = knows ? p->beat.step : atomic_load(&w->doing.step),
                                 .what = who,
                                 .others = others};
    tell_loss(w, &loss);
    struct ar_beat b = beat_of(w, AR_BEAT_LEAVING);
    snprintf(b.text, sizeof b.text, "%.*s", AR_BEAT_TEXT - 1, who);
    send_copies(w, &b);
    prepare_to_leave(w);
    _exit(cm_status_exit_code(CM_ETIMEDOUT));
}

static void check_late(struct ar_watch *w)
{
    char who[512], text[768];
    bool again = w->told_phase == w->seen_phase && w->told_step == w->seen_step;
    if (again || w->waited_ms < atomic_load(&w->doing.late_ms) || !speaks(w, AR_FAULT_BEHIND))
        return;
    w->told = w->seen;
    w->told_phase = w->seen_phase;
    w->told_step = w->seen_step;
    describe_wait(w, find_culprit(w), who, sizeof who, text, sizeof text);
    cm_log_warn("late: %s", text);
    show_all(w, CM_LOG_WARN);
}

/* After each heartbeat. */
static void judge(struct ar_watch *w, int64_t dt_ms)
{
    int64_t beats_ms = QUIET_BEATS * w->heartbeat_ms;
    int64_t quiet_ms = beats_ms > QUIET_MS ? beats_ms : QUIET_MS;
    int culprit = find_culprit(w);
    bool gone =
        culprit >= 0 && fault_of(w, culprit) == AR_FAULT_GONE && !atomic_load(&w->doing.parting);
    w->gone_ms = gone ? w->gone_ms + dt_ms : 0;
    if (gone && (speaks(w, AR_FAULT_SILENT) || w->gone_ms > quiet_ms))
        give_up(w);
    if (!atomic_load(&w->doing.inside))
        return;
    int64_t late_ms = atomic_load(&w->doing.late_ms);
    int64_t deadline_ms = w->timeout_ms > late_ms ? w->timeout_ms : late_ms;
    if (!speaks(w, AR_FAULT_BEHIND))
        deadline_ms += quiet_ms;
    if (w->waited_ms >= deadline_ms)
        give_up(w);
    check_late(w);
}

/* dt_ms of this process's running have passed. */
static void count_time(struct ar_watch *w, int64_t dt_ms)
{
    for (int r = 0; r < w->beacon.size; r++)
        w->beacon.peers[r].age_ms += dt_ms;

    unsigned long long newest = atomic_load(&w->doing.newest);
    if (newest != w->seen && w->told == w->seen && w->told > 0)
        cm_log_warn("collective %llu was %.1f s late; going on", w->seen,
                    (double)w->waited_ms / 1e3);
    w->waited_ms = newest == w->seen ? w->waited_ms + dt_ms : 0;
    w->seen = newest;

    const char *phase = atomic_load(&w->doing.phase);
    long long step = atomic_load(&w->doing.step);
    bool same = phase == w->seen_phase && step == w->seen_step;
    w->in_phase_ms = same ? w->in_phase_ms + dt_ms : 0;
    w->seen_phase = phase;
    w->seen_step = step;
}

static void take_news(struct ar_watch *w)
{
    int r = ar_beacon_receive(&w->beacon);
    if (r < 0)
        return;
    /* It has said so itself; rank 0's log, which people read, may be another one. */
    cm_log_line(w->beacon.rank == 0 ? CM_LOG_ERROR : CM_LOG_INFO, "leaving: rank %d on %s left: %s",
                r, w->beacon.peers[r].host, w->beacon.peers[r].beat.text);
    prepare_to_leave(w);
    _exit(cm_status_exit_code(CM_EPEER));
}

static void beat(struct ar_watch *w)
{
    struct ar_beat b = beat_of(w, AR_BEAT_ALIVE);
    b.in_phase_ms = (uint32_t)w->in_phase_ms;
    b.waiting_ms = atomic_load(&w->doing.inside) ? (uint32_t)w->waited_ms + 1 : 0;
    ar_beacon_beat(&w->beacon, &b);
}

static void *watch(void *arg)
{
    struct ar_watch *w = arg;
    int64_t last_ns = cm_now_ns(), beat_due_ns = last_ns;
    for (;;) {
        int64_t left_ms = (beat_due_ns - cm_now_ns() + 999999) / 1000000;
        struct pollfd fds[] = {{.fd = w->beacon.socket, .events = POLLIN},
                               {.fd = w->wake, .events = POLLIN}};
        (void)poll(fds, 2, left_ms > 0 ? (int)left_ms : 0);
        if (fds[1].revents)
            return NULL;
        take_news(w);

        int64_t now_ns = cm_now_ns();
        if (now_ns < beat_due_ns)
            continue;
        int64_t dt_ms = (now_ns - last_ns) / 1000000;
        int64_t counted_ms = dt_ms < 2 * w->heartbeat_ms ? dt_ms : 2 * w->heartbeat_ms;
        count_time(w, counted_ms);
        last_ns += dt_ms * 1000000;
        beat_due_ns = now_ns + w->heartbeat_ms * 1000000;
        beat(w);
        judge(w, counted_ms);
    }
}

/* ---- life ---- */

cm_status ar_watch_start(struct ar_watch *w, const struct ar_watch_config *cfg)
{
    w->heartbeat_ms = cfg->heartbeat_ms;
    w->late_ms = cfg->late_ms;
    w->timeout_ms = cfg->timeout_ms;
    atomic_store(&w->doing.late_ms, cfg->late_ms);
    CM_TRY(ar_beacon_join(&w->beacon, cfg->places, cfg->rank, cfg->size, cfg->key));

    sigset_t all, before; /* signals are main's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    w->running = true;
    int rc = pthread_create(&w->thread, NULL, watch, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        w->running = false;
        return CM_FAIL(CM_EINTERNAL, "watchdog thread: %s", strerror(rc));
    }
    pthread_setname_np(w->thread, "fw-watch");
    return CM_OK;
}

void ar_watch_close(struct ar_watch **watch_)
{
    struct ar_watch *w = *watch_;
    if (!w)
        return;
    if (w->running) {
        (void)eventfd_write(w->wake, 1);
        pthread_join(w->thread, NULL);
        struct ar_beat b = beat_of(w, AR_BEAT_DONE);
        send_copies(w, &b);
    }
    ar_beacon_release(&w->beacon);
    if (w->wake >= 0)
        close(w->wake);
    pthread_mutex_destroy(&w->lock);
    cm_free(watch_);
}

void ar_watch_enter(struct ar_watch *w, const char *doing)
{
    if (!w)
        return;
    atomic_store(&w->doing.collective, doing);
    atomic_fetch_add(&w->doing.newest, 1);
    atomic_store(&w->doing.inside, true);
}

void ar_watch_leave(struct ar_watch *w)
{
    if (w)
        atomic_store(&w->doing.inside, false);
}

void ar_watch_part(struct ar_watch *w)
{
    if (w)
        atomic_store(&w->doing.parting, true);
}

void ar_watch_phase(struct ar_watch *w, const char *phase, int64_t step)
{
    if (!w || !w->running)
        return;
    ar_phases_enter(&w->phases, phase, cm_now_ns());
    atomic_store(&w->doing.late_ms, ar_phases_late_ms(&w->phases, phase, w->late_ms));
    atomic_store(&w->doing.step, step);
    atomic_store(&w->doing.phase, phase);
}
