/* A thread for each connection. In an open loop they share one plan of moments: whoever is free
 * takes the next one, and counts from it even when it comes late. */
#include <pthread.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "serve/http_client.h"
#include "serve/load_private.h"

#define CONNECTIONS_MAX 256

struct shared {
    const struct sv_load_target *target;
    const struct sv_load_plan *plan;
    int64_t end_ns;
    pthread_mutex_t lock; /* guards the moments */
    uint32_t moment;
    int64_t planned_ns;
};

struct connection {
    struct shared *shared;
    struct sv_load_result result;
    cm_status st;
    pthread_t thread;
};

/* The moment of this connection's next request; false: there is none before the end. */
static bool next_moment(struct shared *s, int64_t *planned_ns)
{
    if (s->plan->rate <= 0) {
        *planned_ns = cm_now_ns();
        return *planned_ns < s->end_ns;
    }
    pthread_mutex_lock(&s->lock);
    s->planned_ns += sv_load_gap_ns(s->plan, s->moment++);
    *planned_ns = s->planned_ns;
    pthread_mutex_unlock(&s->lock);
    int64_t left_ns = *planned_ns - cm_now_ns();
    if (left_ns > 0 && *planned_ns < s->end_ns)
        cm_sleep_us(left_ns / 1000);
    return *planned_ns < s->end_ns;
}

static cm_status ask(struct connection *c, struct sv_http_client *client, int64_t planned_ns)
{
    const struct sv_load_target *t = c->shared->target;
    const uint8_t *pixels = t->pixels + (size_t)(c->result.sent % t->nimages) * t->nbytes;
    const char *answer = "";
    int code = 0;
    c->result.sent++;
    cm_status st =
        sv_http_client_post(client, "/predict?top_k=1", "application/octet-stream", pixels,
                            t->nbytes, cm_deadline_in_ms(t->timeout_ms), &code, &answer);
    if (st != CM_OK) {
        if (c->result.unanswered++ == 0)
            cm_error_report(CM_LOG_WARN, st, "first unanswered request");
        return CM_OK;
    }
    if (code != 200) {
        if (c->result.failed++ == 0)
            cm_log_warn("first failed answer: %d: %s", code, answer);
        return CM_OK;
    }
    return sv_load_add(&c->result, cm_now_ns() - planned_ns);
}

static void *run(void *ctx)
{
    struct connection *c = ctx;
    const struct sv_load_target *t = c->shared->target;
    struct sv_http_client *client = NULL;
    int64_t planned_ns;
    c->st = sv_http_client_open(&client, t->http_host, t->http_port);
    while (c->st == CM_OK && next_moment(c->shared, &planned_ns))
        c->st = ask(c, client, planned_ns);
    sv_http_client_close(&client);
    return NULL;
}

static cm_status merge(struct sv_load_result *into, const struct sv_load_result *r)
{
    into->sent += r->sent;
    into->failed += r->failed;
    into->unanswered += r->unanswered;
    for (int64_t i = 0; i < r->answered; i++)
        CM_TRY(sv_load_add(into, r->latency_ns[i]));
    return CM_OK;
}

cm_status sv_load_http(struct sv_load_result *out, const struct sv_load_target *t,
                       const struct sv_load_plan *plan)
{
    struct shared shared = {.target = t, .plan = plan};
    struct connection *all;
    int n = plan->outstanding < CONNECTIONS_MAX ? plan->outstanding : CONNECTIONS_MAX, started = 0;
    cm_status st = CM_OK;
    *out = (struct sv_load_result){0};
    CM_TRY(cm_alloc(&all, (size_t)n, sizeof *all, "connections"));
    pthread_mutex_init(&shared.lock, NULL);
    int64_t began_ns = shared.planned_ns = cm_now_ns();
    shared.end_ns = began_ns + (int64_t)(plan->seconds * 1e9);
    for (; started < n && st == CM_OK; started++) {
        all[started].shared = &shared;
        int code = pthread_create(&all[started].thread, NULL, run, &all[started]);
        if (code) {
            st = CM_FAIL(CM_EIO, "cannot start a thread: %s", strerror(code));
            break;
        }
    }
    for (int i = 0; i < started; i++) {
        pthread_join(all[i].thread, NULL);
        if (st == CM_OK)
            st = all[i].st;
        if (st == CM_OK)
            st = merge(out, &all[i].result);
        sv_load_release(&all[i].result);
    }
    out->seconds = (double)(cm_now_ns() - began_ns) * 1e-9;
    sv_load_sort(out);
    pthread_mutex_destroy(&shared.lock);
    cm_free(&all);
    return st;
}
