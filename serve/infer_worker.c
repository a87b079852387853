/* A batch's way: received, queued here while another one computes, computed on its lane with the
 * version that it names (model_shelf.h), answered. One that takes longer than batch_timeout_ms
 * cannot be stopped, so the worker ends: a process that goes on beating while its lane hangs would
 * be given batch after batch. */
#include "serve/infer_worker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/lane.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/socket.h"
#include "serve/endpoints.h"
#include "serve/model_shelf.h"
#include "serve/serve_device.h"
#include "wire/worker.h"

#define PENDING      8 /* batches; a gateway sends one at a time, a restarted one may send more */
#define RETRY_MS     50
#define LINGER_MS    500
#define FRAME_NBYTES (WI_BODY_MAX + 4096)
#define DECODE_SHARE 10 /* of batch_timeout_ms a batch may decode; an image more is on top */

struct job { /* the compute lane's while it runs */
    bool running;
    atomic_bool finished;
    struct cm_message message; /* [header][items] */
    struct wi_header header;
    struct sv_model *model;
    int64_t received_ns, began_ns;
    struct wi_buffer answer;
    cm_status st;
    char reason[256];
    int64_t ns;
};

struct worker {
    const struct sv_worker_config *cfg;
    struct sv_device *device; /* NULL: the host */
    int batches[SV_BATCH_SIZES], nbatches;
    struct cm_socket_ctx *ctx;
    struct cm_socket *socket; /* NULL: the gateway's endpoint is not known */
    bool introduced;          /* READY went out on this socket */
    struct wi_id id;
    int64_t heard_ns, beat_ns, tried_ns;
    bool told_away;

    int64_t served; /* number of the version that the gateway serves */
    struct sv_shelf *shelf;
    struct ln_lane *lane;
    struct job job;
    struct pending {
        struct cm_message message;
        int64_t received_ns;
    } pending[PENDING];
    int npending;

    int done_fd;
    struct wi_buffer body;
    bool stopping;
    struct cm_deadline stop_by;
};

/* ---- sending ---- */

/* What cannot be sent is lost like anything on a broken link: the gateway gives the batch to
 * another, asks again, or takes this worker for dead. */
static bool send_message(struct worker *w, const struct wi_header *h, const void *body)
{
    uint8_t header[WI_HEADER_NBYTES];
    struct cm_message m = {.nframes = h->body_nbytes ? 2 : 1};
    if (!w->socket)
        return false;
    wi_header_encode(header, h);
    m.frame[0].data = header;
    m.frame[0].n = sizeof header;
    m.frame[1].data = body;
    m.frame[1].n = h->body_nbytes;
    cm_status st = cm_socket_send(w->socket, &m, cm_deadline_in_ms(0));
    if (st != CM_OK)
        cm_log_debug("message %d not sent: %s", h->type, cm_error_text());
    return st == CM_OK;
}

static void send_text(struct worker *w, struct wi_header h, const char *text)
{
    h.body = WI_BODY_TEXT;
    h.body_nbytes = (uint32_t)strlen(text);
    send_message(w, &h, text);
}

static bool send_description(struct worker *w, enum wi_type type)
{
    struct wi_worker self = {.max_batch = (uint32_t)w->batches[w->nbatches - 1],
                             .pid = (uint32_t)getpid(),
                             .heartbeat_ms = (uint16_t)w->cfg->serve->heartbeat_ms};
    snprintf(self.name, sizeof self.name, "%s", w->cfg->name);
    snprintf(self.device, sizeof self.device, "%s", sv_device_name(w->device));
    w->body.n = 0;
    if (wi_worker_encode(&w->body, &self) != CM_OK)
        return false;
    struct wi_header h = {.type = (uint8_t)type,
                          .id = w->id,
                          .version = w->served,
                          .body = WI_BODY_WORKER,
                          .body_nbytes = (uint32_t)w->body.n};
    return send_message(w, &h, w->body.data);
}

/* ---- models ---- */

static void tidy(struct worker *w)
{
    sv_shelf_tidy(w->shelf, w->job.running ? w->job.model : NULL);
}

static void on_serving(struct worker *w, struct sv_version v)
{
    w->served = v.number;
    sv_shelf_serve(w->shelf, v);
    tidy(w);
}

static void send_loaded(struct worker *w, struct sv_version v)
{
    struct wi_header h = {
        .type = WI_LOADED, .id = w->id, .version = v.number, .manifest_hash = v.hash};
    send_message(w, &h, NULL);
}

/* What failed because the GPU is lost says nothing about a version or a batch: the worker ends
 * without a word, and others take its place. The gateway counts that as a death: what takes GPU
 * after GPU with it, and what nobody can load, is blamed in the end. */
static bool is_lost(const struct worker *w)
{
    return sv_device_check(w->device) != CM_OK;
}

static void end_load(struct worker *w)
{
    struct sv_load load;
    if (!sv_shelf_take(w->shelf, &load) || is_lost(w))
        return;
    if (load.model) {
        cm_log_info("version %lld is loaded (%s on %s)", (long long)load.version.number,
                    nn_dtype_name(sv_model_dtype(load.model)), sv_device_name(w->device));
    } else {
        struct wi_header h = {.type = WI_REFUSED,
                              .status = load.passing ? WI_NOT_READY : WI_OK,
                              .id = w->id,
                              .version = load.version.number,
                              .manifest_hash = load.version.hash};
        cm_log_warn("version %lld is refused%s: %s", (long long)load.version.number,
                    load.passing ? " for now" : "", load.reason);
        send_text(w, h, load.reason);
    }
    tidy(w);
    if (sv_shelf_find(w->shelf, load.version))
        send_loaded(w, load.version);
}

static void on_load(struct worker *w, const struct wi_header *h)
{
    struct sv_version v = {h->version, h->manifest_hash};
    bool there = sv_shelf_ask(w->shelf, v);
    tidy(w);
    if (there)
        send_loaded(w, v);
}

/* ---- batches ---- */

static cm_status compute(void *ctx, int64_t a, int64_t b)
{
    struct job *job = ctx;
    const uint64_t one = 1;
    (void)a;
    job->answer.n = 0;
    job->st = cm_fault("serve.compute");
    if (job->st == CM_OK)
        job->st = sv_model_answer(job->model, job->message.frame[1].data, job->message.frame[1].n,
                                  job->header.count, job->received_ns, &job->answer);
    if (job->st != CM_OK)
        snprintf(job->reason, sizeof job->reason, "%s", cm_error_text());
    job->ns = cm_now_ns() - job->began_ns;
    atomic_store(&job->finished, true);
    if (write((int)b, &one, sizeof one) < 0)
        cm_log_debug("the batch is noticed at the next look");
    return CM_OK;
}

static void refuse_batch(struct worker *w, const struct wi_header *batch, enum wi_status status,
                         const char *text)
{
    struct wi_header h = {
        .type = WI_ANSWER, .status = (uint16_t)status, .id = batch->id, .version = batch->version};
    send_text(w, h, text);
}

static void start_batch(struct worker *w)
{
    struct job *job = &w->job;
    while (!job->running && w->npending > 0) {
        cm_message_move(&job->message, &w->pending[0].message);
        job->received_ns = w->pending[0].received_ns;
        w->npending--;
        for (int i = 0; i < w->npending; i++) {
            cm_message_move(&w->pending[i].message, &w->pending[i + 1].message);
            w->pending[i].received_ns = w->pending[i + 1].received_ns;
        }
        if (wi_header_decode(&job->header, job->message.frame[0].data, job->message.frame[0].n,
                             job->message.frame[1].n) != CM_OK)
            continue; /* cannot be: it was looked at when it came */
        struct sv_version v = {job->header.version, job->header.manifest_hash};
        job->model = sv_shelf_find(w->shelf, v);
        if (!job->model) {
            refuse_batch(w, &job->header, WI_NOT_READY, "the version is not loaded here");
            continue;
        }
        job->running = true;
        job->began_ns = cm_now_ns();
        atomic_store(&job->finished, false);
        on_serving(w, v);
        ln_lane_run(w->lane, compute, job, 0, w->done_fd);
    }
}

static void end_batch(struct worker *w)
{
    struct job *job = &w->job;
    if (!job->running || !atomic_load(&job->finished) || is_lost(w))
        return;
    job->running = false;
    struct sv_version v = sv_model_version(job->model);
    int64_t us = job->ns / 1000;
    struct wi_header h = {.type = WI_ANSWER,
                          .id = job->header.id,
                          .version = v.number,
                          .manifest_hash = v.hash,
                          .infer_us = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX,
                          .count = job->header.count,
                          .body = WI_BODY_ITEMS,
                          .body_nbytes = (uint32_t)job->answer.n};
    if (job->st == CM_OK && job->answer.n <= WI_BODY_MAX)
        send_message(w, &h, job->answer.data);
    else
        refuse_batch(w, &job->header, WI_FAILED,
                     job->st == CM_OK ? "the answers are too large" : job->reason);
    cm_message_release(&job->message);
    tidy(w);
    start_batch(w);
}

/* Takes the message over. */
static void on_batch(struct worker *w, const struct wi_header *h, struct cm_message *m)
{
    if (m->nframes != 2 || h->body != WI_BODY_ITEMS)
        return refuse_batch(w, h, WI_UNSUPPORTED, "a batch without items");
    if (w->npending == PENDING)
        return refuse_batch(w, h, WI_OVERLOADED, "too many batches");
    w->pending[w->npending].received_ns = cm_now_ns();
    cm_message_move(&w->pending[w->npending++].message, m);
    start_batch(w);
}

/* ---- the loop ---- */

static void stop(struct worker *w, const char *why)
{
    if (w->stopping)
        return;
    cm_log_info("%s: finishing %d batches", why, w->npending + w->job.running);
    w->stopping = true;
    sv_shelf_end(w->shelf);
    w->stop_by = cm_deadline_in_ms(w->cfg->serve->drain_ms);
}

static void on_message(struct worker *w, struct cm_message *m)
{
    struct wi_header h;
    if (m->nframes > 2 || wi_header_decode(&h, m->frame[0].data, m->frame[0].n,
                                           m->nframes == 2 ? m->frame[1].n : 0) != CM_OK) {
        cm_error_report(CM_LOG_WARN, CM_EFORMAT, "message from the gateway");
        return;
    }
    w->heard_ns = cm_now_ns();
    if (w->told_away)
        cm_log_info("the gateway is there");
    w->told_away = false;
    switch (h.type) {
    case WI_HEARTBEAT:
        on_serving(w, (struct sv_version){h.version, h.manifest_hash});
        break;
    case WI_LOAD:
        on_load(w, &h);
        break;
    case WI_BATCH:
        on_batch(w, &h, m);
        break;
    case WI_DRAIN:
        stop(w, "the gateway asks to stop");
        break;
    default: /* of a later minor */
        break;
    }
}

static void receive(struct worker *w)
{
    struct cm_message m = {0};
    cm_status st;
    while ((st = cm_socket_recv(w->socket, &m, cm_deadline_in_ms(0))) == CM_OK)
        on_message(w, &m);
    if (st != CM_ETIMEDOUT)
        cm_error_report(CM_LOG_WARN, st, "message from the gateway");
    cm_message_release(&m);
}

/* Opens a link to wherever the gateway is now; without one, a later look tries again. */
static cm_status reconnect(struct worker *w)
{
    struct cm_socket_config socket = {
        .type = CM_SOCKET_DEALER, .max_frame_nbytes = FRAME_NBYTES, .linger_ms = LINGER_MS};
    struct sv_endpoints there;
    const char *endpoint = w->cfg->endpoint;
    cm_socket_close(&w->socket);
    w->introduced = false;
    if (!endpoint) {
        CM_TRY(sv_endpoints_read(&there, w->cfg->run_dir));
        endpoint = there.workers;
    }
    CM_TRY(cm_socket_open(&w->socket, w->ctx, &socket));
    return cm_socket_connect(w->socket, endpoint);
}

static int64_t beat_ns(const struct worker *w)
{
    return w->cfg->serve->heartbeat_ms * INT64_C(1000000);
}

static void keep_link(struct worker *w)
{
    int64_t now_ns = cm_now_ns();
    bool silent = now_ns - w->heard_ns > WI_SILENT_BEATS * beat_ns(w);
    bool tried = now_ns - w->tried_ns <
                 (w->socket ? WI_SILENT_BEATS * beat_ns(w) : RETRY_MS * INT64_C(1000000));
    if (silent && !tried) {
        w->tried_ns = now_ns;
        cm_status st = reconnect(w);
        if (!w->told_away)
            cm_log_info("waiting for a gateway%s%s", st == CM_OK ? "" : ": ",
                        st == CM_OK ? "" : cm_error_text());
        w->told_away = true;
    }
    if (!w->socket)
        return;
    if (!w->introduced) {
        w->introduced = send_description(w, WI_READY);
        w->beat_ns = now_ns;
    } else if (now_ns - w->beat_ns >= beat_ns(w)) {
        send_description(w, WI_HEARTBEAT);
        w->beat_ns = now_ns;
    }
}

static void wait_for_something(struct worker *w)
{
    struct cm_poll_item items[3] = {{.fd = w->done_fd},
                                    {.socket = w->socket, .fd = w->done_fd},
                                    {.fd = w->stopping ? w->done_fd : w->cfg->stop_fd}};
    uint64_t n;
    int64_t ms = w->cfg->serve->heartbeat_ms / 2 + 1;
    if (!w->introduced || ms > RETRY_MS)
        ms = RETRY_MS;
    cm_status st = cm_poll(items, 3, cm_deadline_in_ms(ms));
    if (st != CM_OK && st != CM_ETIMEDOUT)
        cm_error_report(CM_LOG_WARN, st, "waiting");
    if (items[0].ready && read(w->done_fd, &n, sizeof n) < 0)
        cm_log_debug("nothing was done");
    if (items[1].ready && w->socket)
        receive(w);
    if (items[2].ready && !w->stopping)
        stop(w, "told to stop");
}

/* A thread of this process computes or loads. */
static bool is_at_work(const struct worker *w)
{
    return w->job.running || sv_shelf_is_loading(w->shelf);
}

static bool is_done(const struct worker *w)
{
    return w->stopping && ((!is_at_work(w) && w->npending == 0) || cm_deadline_passed(w->stop_by));
}

static cm_status check_batch(const struct worker *w)
{
    int64_t limit_ms = w->cfg->serve->batch_timeout_ms;
    if (!w->job.running || cm_now_ns() - w->job.began_ns < limit_ms * INT64_C(1000000))
        return CM_OK;
    return CM_FAIL(CM_ETIMEDOUT, "a batch of %u images takes longer than %lld ms on %s: ending",
                   w->job.header.count, (long long)limit_ms, sv_device_name(w->device));
}

static cm_status open_device(struct worker *w)
{
    const struct sv_config *serve = w->cfg->serve;
    char which[CM_CONFIG_STRING];
    int64_t turn;
    CM_TRY(sv_config_device(serve, w->cfg->number, which, &turn));
    CM_TRY(sv_device_open(&w->device, which, turn, serve->batch_timeout_ms));
    cm_log_info("computing on %s", sv_device_describe(w->device));
    return CM_OK;
}

static cm_status open_shelf(struct worker *w)
{
    const struct sv_config *serve = w->cfg->serve;
    struct sv_model_config model = {.store_dir = w->cfg->store_dir,
                                    .max_pixels = (int64_t)(serve->max_image_mpixel * 1e6),
                                    .decode_ns =
                                        serve->batch_timeout_ms * INT64_C(1000000) / DECODE_SHARE,
                                    .engine = {.device = w->device,
                                               .batches = w->batches,
                                               .nbatches = w->nbatches,
                                               .threads = w->cfg->threads,
                                               .precision = (enum nn_precision)serve->precision}};
    return sv_shelf_open(&w->shelf, &model, (int)serve->load_retry_ms, w->done_fd);
}

static cm_status open_worker(struct worker *w, const struct sv_worker_config *cfg)
{
    struct ln_config lane = {.name = "compute", .core = -1};
    struct cm_uuid id = cm_uuid_make();
    w->cfg = cfg;
    memcpy(w->id.byte, id.byte, sizeof w->id.byte);
    w->heard_ns = w->tried_ns = INT64_MIN / 2;
    w->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->done_fd < 0)
        return CM_FAIL_ERRNO("eventfd");
    CM_TRY(sv_config_batches(cfg->serve, w->batches, &w->nbatches));
    CM_TRY(open_device(w));
    CM_TRY(cm_socket_ctx_open(&w->ctx));
    CM_TRY(ln_lane_open(&w->lane, &lane));
    return open_shelf(w);
}

static void close_worker(struct worker *w)
{
    ln_lane_close(&w->lane);
    sv_shelf_close(&w->shelf);
    sv_device_close(&w->device);
    for (int i = 0; i < PENDING; i++)
        cm_message_release(&w->pending[i].message);
    cm_message_release(&w->job.message);
    wi_buffer_release(&w->job.answer);
    wi_buffer_release(&w->body);
    cm_socket_close(&w->socket);
    cm_socket_ctx_close(&w->ctx);
    if (w->done_fd >= 0)
        close(w->done_fd);
}

cm_status sv_worker_run(const struct sv_worker_config *cfg, bool *stuck)
{
    struct worker *w;
    *stuck = false;
    CM_TRY(cm_alloc(&w, 1, sizeof *w, "worker"));
    w->done_fd = -1;
    cm_status st = open_worker(w, cfg);
    while (st == CM_OK && !is_done(w)) {
        keep_link(w);
        wait_for_something(w);
        end_batch(w);
        end_load(w);
        st = sv_device_check(w->device);
        if (st == CM_OK)
            st = check_batch(w);
    }
    struct wi_header goodbye = {.type = WI_GOODBYE, .id = w->id};
    if (st == CM_OK)
        send_message(w, &goodbye, NULL);
    if (w->shelf && (is_at_work(w) || is_lost(w))) {
        *stuck = true;
        cm_socket_close(&w->socket);
        cm_socket_ctx_close(&w->ctx);
        return st;
    }
    close_worker(w);
    cm_free(&w);
    return st;
}
