/* The gateway's side of wire/worker.h. A worker that dies, falls silent or takes too long loses its
 * batch to another; whoever answers first answers, all later answers are dropped. */
#include "serve/gateway_private.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "wire/item.h"
#include "wire/text.h"

static bool same_route(const struct sv_route_id *a, const void *data, size_t n)
{
    return a->n == n && memcmp(a->byte, data, n) == 0;
}

bool sv_workers_send(struct sv_gateway *g, int w, const struct wi_header *h, const void *body)
{
    const struct sv_route_id *route = &g->backends[w].route;
    uint8_t header[WI_HEADER_NBYTES];
    struct cm_message m = {.nframes = h->body_nbytes ? 3 : 2};
    wi_header_encode(header, h);
    m.frame[0].data = route->byte;
    m.frame[0].n = route->n;
    m.frame[1].data = header;
    m.frame[1].n = sizeof header;
    m.frame[2].data = body;
    m.frame[2].n = h->body_nbytes;
    return cm_socket_send(g->workers, &m, cm_deadline_in_ms(0)) == CM_OK;
}

/* ---- batches ---- */

/* Requests of the batch that nobody has answered yet go back; those that too many workers died of
 * end. suspect: they may be what went wrong. */
static void give_back(struct sv_gateway *g, struct sv_batch *batch, bool suspect, const char *why)
{
    for (int i = 0; i < batch->n && !batch->abandoned; i++) {
        int slot = batch->slots[i];
        if (sv_batcher_place(g->batcher, slot) != SV_SENT ||
            g->requests[slot].batch != batch->number)
            continue;
        cm_metric_add(g->metrics.requeued, 1);
        if (sv_batcher_give_back(g->batcher, slot, suspect) >= SV_MAX_TRIES)
            sv_clients_fail(g, slot, WI_FAILED, why);
    }
}

/* Is there anyone to compute with the candidate what others are busy with? */
static bool candidate_is_idle(const struct sv_gateway *g)
{
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        if (g->backends[w].used && !g->backends[w].batch.number &&
            sv_rollout_is_ahead(&g->rollout, w))
            return true;
    return false;
}

void sv_workers_abandon(struct sv_gateway *g)
{
    if (!candidate_is_idle(g))
        return;
    for (int w = 0; w < SV_WORKERS_MAX; w++) {
        struct sv_batch *batch = &g->backends[w].batch;
        if (!batch->number || batch->abandoned)
            continue;
        give_back(g, batch, false, "");
        batch->abandoned = true;
    }
}

static bool is_free(const struct sv_gateway *g, int w)
{
    return g->backends[w].used && !g->backends[w].batch.number &&
           sv_rollout_can_serve(&g->rollout, w);
}

static int count_free(const struct sv_gateway *g)
{
    int n = 0;
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        n += is_free(g, w);
    return n;
}

bool sv_workers_any_free(const struct sv_gateway *g)
{
    return count_free(g) > 0;
}

bool sv_workers_any_busy(const struct sv_gateway *g)
{
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        if (g->backends[w].batch.number && !g->backends[w].batch.abandoned)
            return true;
    return false;
}

static cm_status write_body(struct sv_gateway *g, const struct sv_batch *batch, int64_t now_ns)
{
    g->batch_body.n = 0;
    for (int i = 0; i < batch->n; i++) {
        int slot = batch->slots[i];
        const struct sv_request *r = &g->requests[slot];
        int64_t left_us = (sv_batcher_deadline_ns(g->batcher, slot) - now_ns) / 1000;
        struct wi_item item = {.slot = (uint32_t)slot,
                               .top_k = r->top_k,
                               .deadline_us =
                                   left_us < UINT32_MAX ? (uint32_t)left_us : UINT32_MAX};
        CM_TRY(wi_item_add_image(&g->batch_body, item, &r->image));
    }
    return CM_OK;
}

/* died: what it computed or loaded may be why. */
static void part(struct sv_gateway *g, int w, bool died, const char *why);

/* What a worker says in words, fit for a log. */
#define SAID_NBYTES 512
static void take_words(char said[SAID_NBYTES], const struct wi_header *h, const void *body)
{
    size_t n = h->body_nbytes < SAID_NBYTES ? h->body_nbytes : SAID_NBYTES - 1;
    if (!body)
        n = 0;
    while (n > 0 && n < h->body_nbytes && (((const uint8_t *)body)[n] & 0xc0) == 0x80)
        n--; /* not inside a letter */
    bool plain = h->body == WI_BODY_TEXT && wi_text_is_plain(body, n);
    snprintf(said, SAID_NBYTES, "%.*s", plain ? (int)n : 0, plain ? (const char *)body : "");
}

static void send_batch(struct sv_gateway *g, int w, int max, int64_t now_ns)
{
    struct sv_backend *backend = &g->backends[w];
    struct sv_batch *batch = &backend->batch;
    struct cm_uuid id = cm_uuid_make();
    if (max > (int)backend->self.max_batch)
        max = (int)backend->self.max_batch;
    batch->n = sv_batcher_take(g->batcher, batch->slots, max);
    batch->number = ++g->batch_number;
    batch->version = g->rollout.serving;
    batch->sent_ns = now_ns;
    batch->abandoned = false;
    memcpy(batch->id.byte, id.byte, sizeof batch->id.byte);
    for (int i = 0; i < batch->n; i++) {
        g->requests[batch->slots[i]].batch = batch->number;
        g->requests[batch->slots[i]].sent_ns = now_ns;
    }
    cm_status st = write_body(g, batch, now_ns);
    struct wi_header h = {.type = WI_BATCH,
                          .id = batch->id,
                          .version = batch->version.number,
                          .manifest_hash = batch->version.hash,
                          .count = (uint32_t)batch->n,
                          .body = WI_BODY_ITEMS,
                          .body_nbytes = (uint32_t)g->batch_body.n};
    if (st != CM_OK || !sv_workers_send(g, w, &h, g->batch_body.data))
        part(g, w, false, st == CM_OK ? "its link is broken" : cm_error_text());
}

void sv_workers_dispatch(struct sv_gateway *g, int64_t now_ns)
{
    while (!sv_versions_is_switching(g) && sv_batcher_is_due(g->batcher, now_ns)) {
        int nfree = count_free(g), w = 0;
        if (nfree == 0)
            return;
        while (!is_free(g, w))
            w++;
        /* What is queued is shared by those that are free: half the images, half the time. Who
         * lets batches wait wants them full. */
        int queued = sv_batcher_count(g->batcher, SV_QUEUED);
        send_batch(g, w, g->serve->max_wait_ms > 0 ? queued : (queued + nfree - 1) / nfree, now_ns);
    }
}

static void take_results(struct sv_gateway *g, const struct sv_batch *batch,
                         const struct wi_header *h, const void *body)
{
    struct wi_items items = {body, h->body_nbytes, h->count};
    struct wi_item item;
    while (items.left > 0) {
        if (wi_item_next(&items, &item) != CM_OK) {
            cm_error_report(CM_LOG_WARN, CM_EFORMAT, "answer of a worker");
            return;
        }
        if (item.slot >= (uint32_t)sv_batcher_nslots(g->batcher))
            continue;
        int slot = (int)item.slot;
        struct sv_request *r = &g->requests[slot];
        if (sv_batcher_place(g->batcher, slot) != SV_SENT || r->batch != batch->number)
            continue; /* its deadline has passed */
        if (item.status == WI_OVERLOADED)
            continue; /* there was no time for it: it goes back, and travels alone */
        struct wi_header reply = {.status = item.status,
                                  .body = item.body,
                                  .version = batch->version.number,
                                  .manifest_hash = batch->version.hash,
                                  .infer_us = h->infer_us,
                                  .count = (uint32_t)batch->n,
                                  .body_nbytes = (uint32_t)item.n};
        sv_clients_reply(g, slot, reply, item.data);
    }
}

static void learn_pace(struct sv_gateway *g, const struct sv_batch *batch)
{
    double image_ns = (double)(cm_now_ns() - batch->sent_ns) / batch->n;
    g->image_ns = g->image_ns > 0 ? 0.9 * g->image_ns + 0.1 * image_ns : image_ns;
}

static void on_answer(struct sv_gateway *g, int w, const struct wi_header *h, const void *body)
{
    struct sv_batch *batch = &g->backends[w].batch;
    char said[SAID_NBYTES];
    bool suspect = false;
    if (!batch->number || !wi_id_equal(batch->id, h->id)) {
        cm_metric_add(g->metrics.late_answers, 1);
        return;
    }
    if (batch->abandoned) {
        cm_metric_add(g->metrics.late_answers, 1);
    } else if (h->status == WI_OK && h->body == WI_BODY_ITEMS &&
               h->version == batch->version.number && h->manifest_hash == batch->version.hash) {
        suspect = true; /* what it has no result for, once it took them */
        cm_metric_observe(g->metrics.batch_images, batch->n);
        cm_metric_observe(g->metrics.infer_s, h->infer_us * 1e-6);
        learn_pace(g, batch);
        take_results(g, batch, h, body);
    } else {
        take_words(said, h, body);
        cm_log_warn("worker %s cannot compute a batch: %s: %s", g->backends[w].self.name,
                    wi_status_text(h->status), said);
        if (h->status == WI_NOT_READY)
            sv_rollout_lacks(&g->rollout, w);
        suspect = h->status != WI_NOT_READY && h->status != WI_OVERLOADED;
    }
    give_back(g, batch, suspect, "no worker could compute it");
    batch->number = 0;
}

/* ---- who is there ---- */

static int find_route(const struct sv_gateway *g, const void *data, size_t n)
{
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        if (g->backends[w].used && same_route(&g->backends[w].route, data, n))
            return w;
    return SV_NONE;
}

static void record(struct sv_gateway *g, const char *event, int w, const char *why)
{
    struct cm_jw jw;
    cm_events_begin(g->events, &jw, event);
    cm_jw_string(&jw, "worker", g->backends[w].self.name);
    cm_jw_i64(&jw, "pid", g->backends[w].self.pid);
    cm_jw_string(&jw, "device", g->backends[w].self.device);
    if (why)
        cm_jw_string(&jw, "why", why);
    cm_events_put(g->events, &jw);
}

static void part(struct sv_gateway *g, int w, bool died, const char *why)
{
    struct sv_backend *backend = &g->backends[w];
    int *slots = backend->batch.slots;
    cm_log_info("worker %s (process %u) is gone: %s", backend->self.name, backend->self.pid, why);
    record(g, "worker_gone", w, why);
    cm_metric_add(g->metrics.workers_lost, died);
    sv_rollout_part(&g->rollout, w, died, cm_now_ns());
    if (backend->batch.number)
        give_back(g, &backend->batch, died, "every worker that computed it died");
    *backend = (struct sv_backend){.batch.slots = slots};
}

/* Who is cut off comes back within three beats of its own. */
static void mourn_for(struct sv_gateway *g, int heartbeat_ms)
{
    int64_t ns = WI_SILENT_BEATS * heartbeat_ms * INT64_C(1000000);
    if (ns > g->rollout.mourn_ns)
        g->rollout.mourn_ns = ns;
}

/* A worker that is new, or new on this link. */
static int join(struct sv_gateway *g, const struct wi_header *h, const struct cm_message *m)
{
    struct wi_worker self;
    int w = 0;
    if (m->nframes != 3 || h->body != WI_BODY_WORKER || m->frame[0].n > SV_ROUTE_NBYTES ||
        wi_worker_decode(&self, m->frame[2].data, m->frame[2].n) != CM_OK) {
        cm_metric_add(g->metrics.malformed, 1);
        return SV_NONE;
    }
    for (int i = 0; i < SV_WORKERS_MAX; i++)
        if (g->backends[i].used && wi_id_equal(g->backends[i].id, h->id))
            part(g, i, false, "it came back on another link");
    while (w < SV_WORKERS_MAX && g->backends[w].used)
        w++;
    if (w == SV_WORKERS_MAX) {
        cm_log_warn("worker %s is one too many: at most %d are served", self.name, SV_WORKERS_MAX);
        return SV_NONE;
    }
    struct sv_backend *backend = &g->backends[w];
    backend->used = true;
    backend->id = h->id;
    backend->self = self;
    backend->route.n = (uint8_t)m->frame[0].n;
    memcpy(backend->route.byte, m->frame[0].data, m->frame[0].n);
    sv_rollout_join(&g->rollout, w, h->id);
    mourn_for(g, self.heartbeat_ms);
    cm_log_info("worker %s (process %u%s%s) is there", self.name, self.pid,
                self.device[0] ? ", on " : "", self.device);
    record(g, "worker_joined", w, NULL);
    return w;
}

void sv_workers_take(struct sv_gateway *g, struct cm_message *m)
{
    struct wi_header h;
    const void *body = m->nframes == 3 ? m->frame[2].data : NULL;
    if (m->nframes < 2 || m->nframes > 3 ||
        wi_header_decode(&h, m->frame[1].data, m->frame[1].n, body ? m->frame[2].n : 0) != CM_OK) {
        cm_metric_add(g->metrics.malformed, 1);
        return;
    }
    int w = find_route(g, m->frame[0].data, m->frame[0].n);
    if (w != SV_NONE && h.type == WI_READY) {
        part(g, w, true, "it starts anew");
        w = SV_NONE;
    }
    if (w == SV_NONE && (h.type == WI_READY || h.type == WI_HEARTBEAT))
        w = join(g, &h, m);
    if (w == SV_NONE)
        return; /* the worker's next heartbeat introduces it */
    g->backends[w].heard_ns = cm_now_ns();
    struct sv_version v = {h.version, h.manifest_hash};
    char said[SAID_NBYTES];
    switch (h.type) {
    case WI_LOADED:
        sv_rollout_loaded(&g->rollout, w, v);
        break;
    case WI_REFUSED:
        take_words(said, &h, body);
        sv_versions_refused(g, w, v, h.status == WI_NOT_READY, said);
        break;
    case WI_ANSWER:
        on_answer(g, w, &h, body);
        break;
    case WI_GOODBYE:
        part(g, w, false, "it said goodbye");
        break;
    default: /* READY, HEARTBEAT, and types of a later minor */
        break;
    }
}

static bool beat(struct sv_gateway *g, int w, int64_t now_ns)
{
    struct sv_backend *backend = &g->backends[w];
    struct wi_header h = {.type = WI_HEARTBEAT,
                          .id = backend->id,
                          .version = g->rollout.serving.number,
                          .manifest_hash = g->rollout.serving.hash};
    backend->beat_ns = now_ns;
    return sv_workers_send(g, w, &h, NULL);
}

void sv_workers_beat_all(struct sv_gateway *g)
{
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        if (g->backends[w].used)
            beat(g, w, cm_now_ns());
}

/* A worker ends by itself when a batch takes as long; whoever cannot even do that is given up a
 * little later. */
static int64_t batch_limit_ns(const struct sv_gateway *g)
{
    return g->serve->batch_timeout_ms * INT64_C(1000000);
}

/* A gateway that was itself stopped or starved heard nobody, and what came meanwhile may still be
 * on its way from the I/O thread: a worker gets its time again, and on a new link, as it found the
 * gateway silent, the time to introduce itself before the old one is found broken. */
static void excuse(struct sv_backend *backend, int64_t missed_ns, int64_t now_ns)
{
    backend->heard_ns = backend->beat_ns = now_ns;
    backend->batch.sent_ns += missed_ns;
}

void sv_workers_tend(struct sv_gateway *g, int64_t now_ns)
{
    int64_t missed_ns = now_ns - g->tended_ns;
    int on[SV_DEVICES] = {0};
    g->tended_ns = now_ns;
    for (int w = 0; w < SV_WORKERS_MAX; w++) {
        struct sv_backend *backend = &g->backends[w];
        int64_t period_ns = backend->self.heartbeat_ms * INT64_C(1000000);
        if (!backend->used)
            continue;
        if (missed_ns > period_ns)
            excuse(backend, missed_ns, now_ns);
        if (now_ns - backend->heard_ns > WI_SILENT_BEATS * period_ns)
            part(g, w, true, "it is silent");
        else if (backend->batch.number &&
                 now_ns - backend->batch.sent_ns > batch_limit_ns(g) + 2 * period_ns)
            part(g, w, true, "its batch takes too long");
        else if (now_ns - backend->beat_ns >= period_ns && !beat(g, w, now_ns))
            part(g, w, true, "its link is broken");
        if (backend->used)
            on[strncmp(backend->self.device, "cuda", 4) == 0 ? SV_ON_GPU : SV_ON_CPU]++;
    }
    cm_metric_set(g->metrics.workers, sv_rollout_live(&g->rollout));
    cm_metric_set(g->metrics.workers_on[SV_ON_CPU], on[SV_ON_CPU]);
    cm_metric_set(g->metrics.workers_on[SV_ON_GPU], on[SV_ON_GPU]);
}

cm_status sv_workers_open(struct sv_gateway *g)
{
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        CM_TRY(cm_alloc(&g->backends[w].batch.slots, (size_t)g->serve->max_batch, sizeof(int),
                        "batches"));
    return CM_OK;
}

void sv_workers_close(struct sv_gateway *g)
{
    for (int w = 0; w < SV_WORKERS_MAX; w++)
        cm_free(&g->backends[w].batch.slots);
    wi_buffer_release(&g->batch_body);
}
