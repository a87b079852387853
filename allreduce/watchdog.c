#include "allreduce/watchdog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "allreduce/heartbeat.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define REPORT_ROWS  16
#define LEAVE_COPIES 3 /* datagrams get lost */

/* What the rank does, written by its own threads, read by the watchdog. */
struct doing {
    atomic_ullong newest; /* number of the newest collective entered */
    atomic_bool inside;   /* of it */
    _Atomic(const char *) collective;
    _Atomic(const char *) phase;
    atomic_llong step;
};

struct ar_watch {
    int socket, wake; /* wake: eventfd, written by close */
    struct doing doing;

    int rank, size;
    uint64_t key;
    int64_t heartbeat_ms, timeout_ms;
    struct sockaddr_in *address; /* (size), port 0: unreachable */
    struct ar_place *places;     /* (size) */

    /* Owner: the watchdog thread. Times are milliseconds of its own running. */
    pthread_t thread;
    bool running; /* owner: who starts and closes; true before the thread begins */
    struct ar_peer *peers;
    unsigned long long seen; /* the collective that waited_ms counts for */
    int64_t waited_ms, in_phase_ms;
    const char *seen_phase;
    long long seen_step;
};

cm_status ar_watch_open(struct ar_watch **out, struct ar_place *here)
{
    *out = NULL;
    cm_status st;
    struct ar_watch *w = NULL;
    CM_GOTO(st, ar_place_here(here), out);
    CM_GOTO(st, cm_alloc(&w, 1, sizeof *w, "watchdog"), out);
    w->socket = w->wake = -1;
    atomic_store(&w->doing.phase, "start");
    atomic_store(&w->doing.collective, "");

    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t n = sizeof any;
    w->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (w->socket < 0 || bind(w->socket, (struct sockaddr *)&any, n) != 0 ||
        getsockname(w->socket, (struct sockaddr *)&any, &n) != 0) {
        st = CM_FAIL_ERRNO("heartbeats: UDP socket");
        goto out;
    }
    here->port = ntohs(any.sin_port);
    w->wake = eventfd(0, EFD_CLOEXEC);
    if (w->wake < 0) {
        st = CM_FAIL_ERRNO("heartbeats: eventfd");
        goto out;
    }
    *out = w;
    w = NULL;
out:
    ar_watch_close(&w);
    return st;
}

static struct ar_beat beat_of(struct ar_watch *w, enum ar_beat_kind kind)
{
    struct ar_beat b = {
        .kind = kind,
        .key = w->key,
        .rank = (uint32_t)w->rank,
        .collective = atomic_load(&w->doing.newest),
        .step = atomic_load(&w->doing.step),
        .in_phase_ms = (uint32_t)w->in_phase_ms,
        .waiting_ms = atomic_load(&w->doing.inside) ? (uint32_t)w->waited_ms + 1 : 0,
    };
    snprintf(b.phase, sizeof b.phase, "%s", atomic_load(&w->doing.phase));
    return b;
}

/* A heartbeat that cannot be sent is one that is lost: the peers judge by what arrives. */
static void send_to_all(struct ar_watch *w, const struct ar_beat *beat)
{
    uint8_t bytes[AR_BEAT_NBYTES];
    ar_beat_encode(bytes, beat);
    for (int r = 0; r < w->size; r++)
        if (r != w->rank && w->address[r].sin_port != 0)
            (void)sendto(w->socket, bytes, sizeof bytes, MSG_DONTWAIT,
                         (struct sockaddr *)&w->address[r], sizeof w->address[r]);
}

void ar_watch_last_words(struct ar_watch *w, const char *why)
{
    if (!w || !w->running)
        return;
    struct ar_beat b = {.kind = AR_BEAT_LEAVING, .key = w->key, .rank = (uint32_t)w->rank};
    b.collective = atomic_load(&w->doing.newest);
    b.step = atomic_load(&w->doing.step);
    snprintf(b.phase, sizeof b.phase, "%s", atomic_load(&w->doing.phase));
    snprintf(b.text, sizeof b.text, "%s", why);
    for (int i = 0; i < LEAVE_COPIES; i++)
        send_to_all(w, &b);
}

static void receive(struct ar_watch *w)
{
    uint8_t bytes[AR_BEAT_NBYTES + 1];
    struct ar_beat beat;
    ssize_t n;
    while ((n = recv(w->socket, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0 || errno == EINTR) {
        if (n < 0 || !ar_beat_decode(&beat, bytes, (size_t)n) || beat.key != w->key ||
            beat.rank >= (uint32_t)w->size || beat.rank == (uint32_t)w->rank)
            continue;
        struct ar_peer *p = &w->peers[beat.rank];
        p->beat = beat;
        p->age_ms = 0;
        if (beat.kind == AR_BEAT_LEAVING) {
            cm_log_error("leaving: rank %u on %s left: %s", beat.rank, p->host, beat.text);
            _exit(cm_status_exit_code(CM_EPEER));
        }
    }
}

/* One screen: the faulty first, then this rank, then some that wait as it does. */
static void report(struct ar_watch *w, uint64_t collective, int64_t silent_ms)
{
    int rows = 0, shown[AR_FAULT_LEFT + 1] = {0};
    char row[512];
    for (int fault = AR_FAULT_LEFT; fault >= AR_FAULT_NONE; fault--)
        for (int r = 0; r < w->size; r++) {
            struct ar_peer *p = &w->peers[r];
            if (r == w->rank || ar_peer_fault(p, collective, silent_ms) != (enum ar_fault)fault)
                continue;
            shown[fault]++;
            if (rows++ >= REPORT_ROWS)
                continue;
            ar_peer_describe(row, sizeof row, p, r, (enum ar_fault)fault);
            cm_log_error("  %s", row);
        }
    cm_log_error("  of %d other ranks: %d left, %d silent, %d behind, %d waiting", w->size - 1,
                 shown[AR_FAULT_LEFT], shown[AR_FAULT_SILENT], shown[AR_FAULT_BEHIND],
                 shown[AR_FAULT_NONE]);
}

static _Noreturn void give_up(struct ar_watch *w)
{
    /* Three heartbeats and a little for the scheduler; open checks that the deadline is longer. */
    int64_t silent_ms = 3 * w->heartbeat_ms + 50;
    int culprit = ar_culprit(w->peers, w->size, w->rank, w->seen, silent_ms);
    char who[256] = "every rank waits in it: messages between hosts are lost?";
    if (culprit >= 0)
        ar_peer_describe(who, sizeof who, &w->peers[culprit], culprit,
                         ar_peer_fault(&w->peers[culprit], w->seen, silent_ms));
    cm_log_error("leaving: collective %llu (%s) at '%s' step %lld waited %.1f s for %s", w->seen,
                 atomic_load(&w->doing.collective), atomic_load(&w->doing.phase),
                 (long long)atomic_load(&w->doing.step), (double)w->waited_ms / 1e3, who);
    report(w, w->seen, silent_ms);
    ar_watch_last_words(w, who);
    _exit(cm_status_exit_code(CM_ETIMEDOUT));
}

/* dt_ms of this process's running have passed. */
static void count_time(struct ar_watch *w, int64_t dt_ms)
{
    for (int r = 0; r < w->size; r++)
        w->peers[r].age_ms += dt_ms;

    unsigned long long newest = atomic_load(&w->doing.newest);
    w->waited_ms = newest == w->seen ? w->waited_ms + dt_ms : 0;
    w->seen = newest;

    const char *phase = atomic_load(&w->doing.phase);
    long long step = atomic_load(&w->doing.step);
    bool same = phase == w->seen_phase && step == w->seen_step;
    w->in_phase_ms = same ? w->in_phase_ms + dt_ms : 0;
    w->seen_phase = phase;
    w->seen_step = step;
}

static void *watch(void *arg)
{
    struct ar_watch *w = arg;
    int64_t last_ns = cm_now_ns(), beat_due_ns = last_ns;
    for (;;) {
        int64_t left_ms = (beat_due_ns - cm_now_ns() + 999999) / 1000000;
        struct pollfd fds[] = {{.fd = w->socket, .events = POLLIN},
                               {.fd = w->wake, .events = POLLIN}};
        (void)poll(fds, 2, left_ms > 0 ? (int)left_ms : 0);
        if (fds[1].revents)
            return NULL;
        receive(w);

        int64_t now_ns = cm_now_ns();
        if (now_ns < beat_due_ns)
            continue;
        int64_t dt_ms = (now_ns - last_ns) / 1000000;
        count_time(w, dt_ms < 2 * w->heartbeat_ms ? dt_ms : 2 * w->heartbeat_ms);
        last_ns += dt_ms * 1000000;
        beat_due_ns = now_ns + w->heartbeat_ms * 1000000;
        struct ar_beat beat = beat_of(w, AR_BEAT_ALIVE);
        send_to_all(w, &beat);
        if (atomic_load(&w->doing.inside) && w->waited_ms >= w->timeout_ms)
            give_up(w);
    }
}

static void set_addresses(struct ar_watch *w)
{
    for (int r = 0; r < w->size; r++) {
        uint32_t address = ar_place_route(&w->places[w->rank], &w->places[r]);
        w->address[r] = (struct sockaddr_in){
            .sin_family = AF_INET,
            .sin_port = address ? htons(w->places[r].port) : 0,
            .sin_addr.s_addr = address,
        };
        w->peers[r].host = w->places[r].host;
    }
}

cm_status ar_watch_start(struct ar_watch *w, const struct ar_watch_config *cfg)
{
    w->rank = cfg->rank;
    w->size = cfg->size;
    w->key = cfg->key;
    w->heartbeat_ms = cfg->heartbeat_ms;
    w->timeout_ms = cfg->timeout_ms;
    size_t n = (size_t)cfg->size;
    CM_TRY(cm_alloc(&w->places, n, sizeof *w->places, "ranks' places"));
    CM_TRY(cm_alloc(&w->address, n, sizeof *w->address, "ranks' addresses"));
    CM_TRY(cm_alloc(&w->peers, n, sizeof *w->peers, "ranks' heartbeats"));
    memcpy(w->places, cfg->places, n * sizeof *w->places);
    set_addresses(w);

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
    }
    if (w->socket >= 0)
        close(w->socket);
    if (w->wake >= 0)
        close(w->wake);
    cm_free(&w->places);
    cm_free(&w->address);
    cm_free(&w->peers);
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

void ar_watch_phase(struct ar_watch *w, const char *phase, int64_t step)
{
    if (!w)
        return;
    atomic_store(&w->doing.step, step);
    atomic_store(&w->doing.phase, phase);
}
