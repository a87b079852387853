/* The loop: wait for a socket, a letter, a signal or a moment; take what came; end what expired;
 * move versions on; send batches. Nothing in it blocks: the store is read by the follower's thread,
 * Redis written by the captures', models loaded in the workers. */
#include "serve/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "serve/gateway_private.h"
#include "serve/http_reply.h"
#include "wire/announce.h"

#define MIB              (1024.0 * 1024.0)
#define TICK_MS          20 /* heartbeats, phases and time-outs are looked at as often */
#define LINGER_MS        1000
#define BATCH_NBYTES     ((size_t)48 << 20) /* of images; a frame takes 64 MiB */
#define CAPTURE_NBYTES   ((size_t)64 << 20)
#define CAPTURE_DRAIN_MS 2000
#define FOLLOWER_MS      1000 /* for its last look at the store */
#define HTTP_IDLE_S      60
#define MAX_REMEMBERED   4096
#define QUEUE_MIN        1000 /* messages for and from a peer */
#define RECEIVE_MAX      256  /* messages of a socket in a row, so that the others get their turn */

/* ---- letters and messages ---- */

static void take_letters(struct sv_gateway *g)
{
    struct sv_letter *next;
    for (struct sv_letter *letter = sv_mailbox_take(&g->mailbox); letter; letter = next) {
        next = letter->next;
        if (letter->kind == SV_LETTER_NEWS)
            sv_versions_news(g, (struct sv_news *)letter);
        else
            sv_http_take(g, (struct sv_call *)letter);
    }
}

/* The store is the truth; an announcement only says when to look. */
static void take_announcement(struct sv_gateway *g, struct cm_message *m)
{
    struct wi_announce a;
    if (m->nframes == 1 && wi_announce_decode(&a, m->frame[0].data, m->frame[0].n) == CM_OK)
        sv_follower_kick(g->follower);
    else
        cm_metric_add(g->metrics.malformed, 1);
}

/* take may keep a message by moving it away. */
static void receive(struct sv_gateway *g, struct cm_socket *socket,
                    void (*take)(struct sv_gateway *g, struct cm_message *m))
{
    struct cm_message m = {0};
    for (int i = 0; i < RECEIVE_MAX; i++) {
        cm_status st = cm_socket_recv(socket, &m, cm_deadline_in_ms(0));
        if (st == CM_ETIMEDOUT)
            break;
        if (st == CM_OK)
            take(g, &m);
        else
            cm_metric_add(g->metrics.malformed, 1);
    }
    cm_message_release(&m);
}

/* ---- the end ---- */

static void on_signal(struct sv_gateway *g)
{
    struct signalfd_siginfo info;
    if (read(g->cfg->stop_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (g->phase != SV_RUNNING) {
        cm_log_info("told again: ending at once");
        g->phase = SV_DRAINING;
        g->phase_end = cm_deadline_in_ms(0);
        return;
    }
    cm_log_info("told to stop: not ready any more");
    g->phase = SV_NOTICE;
    g->phase_end = cm_deadline_in_ms(g->serve->drain_notice_ms);
}

static void advance_phase(struct sv_gateway *g)
{
    int active = sv_batcher_count(g->batcher, SV_QUEUED) + sv_batcher_count(g->batcher, SV_SENT);
    if (g->phase == SV_NOTICE && cm_deadline_passed(g->phase_end)) {
        cm_log_info("draining: %d requests are under way", active);
        g->phase = SV_DRAINING;
        g->phase_end = cm_deadline_in_ms(g->serve->drain_ms);
        if (g->http)
            cm_http_quiesce(g->http);
    }
    if (g->phase == SV_DRAINING && (active == 0 || cm_deadline_passed(g->phase_end)))
        g->done = true;
}

/* Every request still here gets its one answer; HTTP threads find the mailbox closed. */
static void end_requests(struct sv_gateway *g)
{
    struct sv_letter *next;
    g->phase = SV_DRAINING;
    sv_clients_end_all(g, WI_STOPPING, "the server has stopped");
    sv_mailbox_close(&g->mailbox);
    for (struct sv_letter *letter = sv_mailbox_take(&g->mailbox); letter; letter = next) {
        next = letter->next;
        if (letter->kind == SV_LETTER_NEWS) {
            struct sv_news *news = (struct sv_news *)letter;
            sv_news_close(&news);
        } else {
            struct sv_call *call = (struct sv_call *)letter;
            sv_http_fail(call->request, 503, "the server has stopped", 1);
            cm_free(&call);
        }
    }
}

/* ---- the loop ---- */

static struct cm_deadline wake_up(const struct sv_gateway *g)
{
    bool may_send = sv_workers_any_free(g) && !sv_versions_is_switching(g);
    int64_t at_ns = sv_batcher_wake_ns(g->batcher, may_send);
    struct cm_deadline tick = cm_deadline_in_ms(TICK_MS);
    return at_ns < tick.at_ns ? (struct cm_deadline){at_ns} : tick;
}

static void wait_and_take(struct sv_gateway *g)
{
    struct cm_poll_item items[] = {{.socket = g->workers},
                                   {.socket = g->clients},
                                   {.socket = g->announce},
                                   {.fd = g->mailbox.fd},
                                   {.fd = g->cfg->stop_fd}};
    cm_status st = cm_poll(items, sizeof items / sizeof items[0], wake_up(g));
    if (st != CM_OK && st != CM_ETIMEDOUT)
        cm_error_report(CM_LOG_WARN, st, "waiting");
    if (items[0].ready)
        receive(g, g->workers, sv_workers_take);
    if (items[1].ready)
        receive(g, g->clients, sv_clients_take);
    if (items[2].ready)
        receive(g, g->announce, take_announcement);
    if (items[3].ready)
        take_letters(g);
    if (items[4].ready)
        on_signal(g);
}

static void show(struct sv_gateway *g)
{
    cm_metric_set(g->metrics.queued, sv_batcher_count(g->batcher, SV_QUEUED));
    cm_metric_set(g->metrics.inflight, sv_batcher_count(g->batcher, SV_SENT));
    cm_metric_set(g->metrics.ready,
                  g->phase == SV_RUNNING && sv_rollout_is_ready(&g->rollout) ? 1 : 0);
}

static void run(struct sv_gateway *g)
{
    while (!g->done) {
        wait_and_take(g);
        int64_t now_ns = cm_now_ns();
        sv_clients_expire(g, now_ns);
        sv_workers_tend(g, now_ns);
        if (g->http)
            cm_http_tend(g->http);
        sv_crowd_tend(g, now_ns);
        sv_versions_advance(g, now_ns);
        sv_workers_dispatch(g, now_ns);
        advance_phase(g);
        show(g);
    }
}

/* ---- opening ---- */

/* The key of clients, and another one for workers and publishers: a client's public key makes
 * nobody a worker, who would see the images of all. */
struct secrets {
    char clients[CM_SHA256_TEXT], inner[CM_SHA256_TEXT]; /* 64 hex digits; "": none */
};

static cm_status take_secrets(struct secrets *s)
{
    static const char purpose[] = "flywheel workers ";
    const char *given = getenv("FLYWHEEL_SERVE_KEY");
    char text[sizeof purpose + sizeof s->clients];
    *s = (struct secrets){0};
    if (!given || !*given)
        return CM_OK;
    if (!cm_socket_is_key(given))
        return CM_FAIL(CM_ECONFIG, "FLYWHEEL_SERVE_KEY wants 64 hex digits, as 'openssl rand -hex "
                                   "32' gives them");
    memcpy(s->clients, given, sizeof s->clients);
    int n = snprintf(text, sizeof text, "%s%s", purpose, given);
    return cm_sha256(s->inner, text, (size_t)n);
}

/* What the run directory does not protect. */
static const char *inner_secret(const struct secrets *s, const char *address)
{
    return strncmp(address, "ipc:", 4) != 0 && s->inner[0] ? s->inner : NULL;
}

/* key: of section serve, where a person may choose another address. A queue holds what a peer asks
 * at once and is refused; LOADs and beats of a worker, and of batches only one, however short the
 * gateway's own queue is. */
static cm_status open_socket(struct sv_gateway *g, struct cm_socket **out,
                             struct cm_socket_config cfg, const char *key, const char *address,
                             char *endpoint)
{
    int64_t queue = g->serve->queue_requests;
    cfg.queue_messages = queue > QUEUE_MIN ? (int)queue : QUEUE_MIN;
    cfg.linger_ms = LINGER_MS;
    CM_TRY(cm_socket_open(out, g->ctx, &cfg));
    cm_status st = cm_socket_bind(*out, address, endpoint, SV_ENDPOINT);
    return st == CM_OK ? CM_OK : CM_CONTEXT(st, "serve.%s", key);
}

/* A client may send up to 4 times what is taken and still be told so; past that its link is cut. */
static cm_status open_sockets(struct sv_gateway *g)
{
    const struct sv_config *serve = g->serve;
    char address[SV_ENDPOINT];
    size_t frame = g->max_body_nbytes * 4 < WI_BODY_MAX ? g->max_body_nbytes * 4 : WI_BODY_MAX;
    struct secrets secrets;
    CM_TRY(take_secrets(&secrets));
    CM_TRY(cm_socket_ctx_open(&g->ctx));
    CM_TRY(
        open_socket(g, &g->clients,
                    (struct cm_socket_config){.type = CM_SOCKET_ROUTER,
                                              .max_frame_nbytes = frame,
                                              .secret = *secrets.clients ? secrets.clients : NULL},
                    "listen", serve->listen, g->endpoints.clients));
    sv_endpoint_choose(address, serve->workers_listen, g->cfg->run_dir, "workers.sock");
    CM_TRY(open_socket(g, &g->workers,
                       (struct cm_socket_config){.type = CM_SOCKET_ROUTER,
                                                 .max_frame_nbytes = WI_BODY_MAX,
                                                 .secret = inner_secret(&secrets, address)},
                       "workers_listen", address, g->endpoints.workers));
    sv_endpoint_choose(address, serve->announce_listen, g->cfg->run_dir, "announce.sock");
    CM_TRY(open_socket(g, &g->announce,
                       (struct cm_socket_config){.type = CM_SOCKET_SUB,
                                                 .max_frame_nbytes = WI_HEADER_MAX,
                                                 .secret = inner_secret(&secrets, address)},
                       "announce_listen", address, g->endpoints.announce));
    return cm_socket_subscribe(g->announce, WI_ANNOUNCE_TOPIC);
}

static cm_status open_http(struct sv_gateway *g)
{
    const struct sv_config *serve = g->serve;
    struct cm_http_config cfg = {.host = serve->http_host,
                                 .port = (int)serve->http_port,
                                 .threads = (int)serve->http_threads,
                                 .max_body_nbytes = g->max_body_nbytes,
                                 .max_bodies_nbytes = (size_t)(serve->queue_mib * MIB),
                                 .max_connections = (int)serve->http_connections,
                                 .timeout_s = HTTP_IDLE_S,
                                 .read_ms = (int)serve->http_read_ms,
                                 .refused = g->metrics.http_refused,
                                 .handler = sv_http_handle,
                                 .ctx = g};
    if (serve->http_port < 0)
        return CM_OK;
    if (cfg.max_bodies_nbytes < cfg.max_body_nbytes)
        cfg.max_bodies_nbytes = cfg.max_body_nbytes;
    cm_status st = cm_http_open(&g->http, &cfg);
    if (st != CM_OK)
        return CM_CONTEXT(st, "serve.http_port");
    g->endpoints.http_port = cm_http_port(g->http);
    snprintf(g->endpoints.http_host, sizeof g->endpoints.http_host, "%s", serve->http_host);
    return CM_OK;
}

static cm_status open_queue(struct sv_gateway *g)
{
    const struct sv_config *serve = g->serve;
    struct sv_batcher_config cfg = {.max_requests = (int)serve->queue_requests,
                                    .max_nbytes = (size_t)(serve->queue_mib * MIB),
                                    .max_batch = (int)serve->max_batch,
                                    .max_batch_nbytes = BATCH_NBYTES,
                                    .max_wait_ns = (int64_t)(serve->max_wait_ms * 1e6)};
    cfg.remembered = cfg.max_requests < MAX_REMEMBERED ? cfg.max_requests : MAX_REMEMBERED;
    CM_TRY(sv_batcher_open(&g->batcher, &cfg));
    return cm_alloc(&g->requests, (size_t)sv_batcher_nslots(g->batcher), sizeof *g->requests,
                    "requests");
}

static cm_status open_captures(struct sv_gateway *g)
{
    struct sv_captures_config cfg = {.redis = g->serve->redis,
                                     .user = getenv("FLYWHEEL_REDIS_USER"),
                                     .password = getenv("FLYWHEEL_REDIS_PASSWORD"),
                                     .ttl_s = g->serve->capture_ttl_s,
                                     .queue = (int)g->serve->capture_queue,
                                     .max_nbytes = CAPTURE_NBYTES,
                                     .kept_nbytes = (size_t)(g->serve->capture_mib * MIB),
                                     .written = g->metrics.captures,
                                     .dropped = g->metrics.captures_dropped};
    return g->serve->capture ? sv_captures_start(&g->captures, &cfg) : CM_OK;
}

static void tell_endpoints(const struct sv_gateway *g)
{
    const char *clients = g->endpoints.clients, *workers = g->endpoints.workers;
    int nclients = cm_endpoint_bare(clients), nworkers = cm_endpoint_bare(workers);
    cm_log_info("clients at %.*s%s, workers at %.*s%s", nclients, clients,
                clients[nclients] ? ", encrypted" : "", nworkers, workers,
                workers[nworkers] ? ", encrypted" : "");
    if (g->http)
        cm_log_info("http://%s:%d", g->serve->http_host, g->endpoints.http_port);
}

static cm_status open_gateway(struct sv_gateway *g)
{
    struct sv_follower_config follower = {.store_dir = g->cfg->store_dir,
                                          .alias = g->serve->alias,
                                          .poll_ms = (int)g->serve->poll_ms,
                                          .retry_ms = (int)g->serve->load_retry_ms,
                                          .mailbox = &g->mailbox,
                                          .letter_kind = SV_LETTER_NEWS};
    char path[CM_PATH];
    g->life = cm_uuid_make();
    g->secret = cm_uuid_make();
    g->started_ns = cm_now_ns();
    g->max_body_nbytes = (size_t)(g->serve->max_body_mib * MIB);
    g->rollout.load_timeout_ns = g->serve->load_timeout_ms * INT64_C(1000000);
    g->endpoints.pid = getpid();
    cm_uuid_format(g->endpoints.life, g->life);
    CM_TRY(sv_crowd_open(g));
    CM_TRY(cm_dir_make(g->cfg->run_dir));
    CM_TRY(sv_run_lock(&g->lock_fd, g->cfg->run_dir));
    CM_TRY(cm_path_join(path, g->cfg->run_dir, "events.jsonl"));
    CM_TRY(cm_events_open(&g->events, path, 0));
    if (g->cfg->lines)
        CM_TRY(cm_events_through(g->events, g->cfg->lines));
    CM_TRY(sv_metrics_open(&g->metrics));
    CM_TRY(open_queue(g));
    CM_TRY(sv_workers_open(g));
    CM_TRY(sv_mailbox_init(&g->mailbox));
    CM_TRY(open_sockets(g));
    CM_TRY(open_captures(g));
    CM_TRY(open_http(g));
    CM_TRY(sv_follower_start(&g->follower, &follower));
    CM_TRY(sv_endpoints_write(&g->endpoints, g->cfg->run_dir));
    tell_endpoints(g);
    return CM_OK;
}

/* What is still asked is answered first; only then threads are waited for. */
static void close_gateway(struct sv_gateway *g)
{
    if (g->mailbox.tail)
        end_requests(g);
    if (g->http)
        cm_http_quiesce(g->http);
    cm_http_close(&g->http);
    sv_captures_stop(&g->captures, CAPTURE_DRAIN_MS);
    for (int i = 0; g->requests && i < sv_batcher_nslots(g->batcher); i++) {
        cm_message_release(&g->requests[i].message);
        wi_buffer_release(&g->requests[i].reply_body);
    }
    cm_free(&g->requests);
    sv_batcher_close(&g->batcher);
    sv_workers_close(g);
    cm_socket_close(&g->clients);
    cm_socket_close(&g->workers);
    cm_socket_close(&g->announce);
    cm_socket_ctx_close(&g->ctx);
    sv_card_close(&g->serving);
    sv_card_close(&g->candidate);
    sv_metrics_close(&g->metrics);
    cm_events_close(&g->events);
    sv_run_unlock(&g->lock_fd);
}

cm_status sv_gateway_run(const struct sv_gateway_config *cfg)
{
    struct sv_gateway *g;
    CM_TRY(cm_alloc(&g, 1, sizeof *g, "gateway"));
    g->cfg = cfg;
    g->serve = cfg->serve;
    g->lock_fd = -1;
    cm_status st = open_gateway(g);
    if (st == CM_OK) {
        run(g);
        sv_endpoints_remove(cfg->run_dir);
        cm_log_info("stopped");
    }
    close_gateway(g);
    if (!sv_follower_stop(&g->follower, FOLLOWER_MS)) {
        /* It will find the mailbox closed, which therefore stays; the process ends anyway. */
        cm_log_warn("%s: the store does not answer; not waiting for it", cfg->store_dir);
        return st;
    }
    sv_mailbox_release(&g->mailbox);
    cm_free(&g);
    return st;
}
