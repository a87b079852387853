#include "serve/client_load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "serve/load_private.h"
#include "wire/client.h"

#define MOST_OUTSTANDING 65536 /* of an open loop; past it the server has lost anyway */

void sv_load_release(struct sv_load_result *r)
{
    cm_free(&r->latency_ns);
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

void sv_load_sort(struct sv_load_result *r)
{
    if (r->answered)
        qsort(r->latency_ns, (size_t)r->answered, sizeof *r->latency_ns, by_value);
}

double sv_load_quantile_us(const struct sv_load_result *r, double q)
{
    if (r->answered == 0)
        return 0;
    int64_t i = (int64_t)(q * (double)r->answered);
    return (double)r->latency_ns[i < r->answered ? i : r->answered - 1] * 1e-3;
}

cm_status sv_load_add(struct sv_load_result *r, int64_t latency_ns)
{
    if ((size_t)r->answered == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 4096;
        CM_TRY(cm_realloc(&r->latency_ns, capacity, sizeof *r->latency_ns, "latencies"));
        r->capacity = capacity;
    }
    r->latency_ns[r->answered++] = latency_ns;
    return CM_OK;
}

int64_t sv_load_gap_ns(const struct sv_load_plan *plan, uint32_t i)
{
    float u = cm_rng_unit(cm_rng_u32(plan->seed, CM_RNG_SYNTHETIC, 1, 0, i));
    return (int64_t)(-log(1 - (double)u) / plan->rate * 1e9);
}

/* ---- ZeroMQ ---- */

struct run {
    const struct sv_load_target *target;
    const struct sv_load_plan *plan;
    struct sv_load_result *result;
    struct wi_client *client;
    int64_t end_ns;
    int64_t version; /* of the last answer */
};

static bool is_over(const struct run *r, int64_t now_ns)
{
    return r->plan->stop ? atomic_load(r->plan->stop) : now_ns >= r->end_ns;
}

static cm_status ask(struct run *r, int64_t planned_ns)
{
    const struct sv_load_target *t = r->target;
    const uint8_t *pixels = t->pixels + (size_t)(r->result->sent % t->nimages) * t->nbytes;
    struct wi_question q = {.image = {.kind = WI_IMAGE_PIXELS, .data = pixels, .n = t->nbytes},
                            .top_k = 1,
                            .timeout_ms = t->timeout_ms,
                            .tag = (uint64_t)planned_ns};
    r->result->sent++;
    cm_status st = wi_client_submit(r->client, &q, NULL);
    if (st != CM_EBUSY)
        return st;
    r->result->unanswered++;
    return CM_OK;
}

static cm_status take(struct run *r, const struct wi_answer *a)
{
    struct sv_load_result *out = r->result;
    if (a->st != CM_OK) {
        out->unanswered++;
        return CM_OK;
    }
    if (a->header.status != WI_OK) {
        if (out->failed++ == 0)
            cm_log_warn("first failed answer: %s: %.*s", wi_status_text(a->header.status),
                        (int)a->header.body_nbytes, a->body ? (const char *)a->body : "");
        return CM_OK;
    }
    out->changes += r->version && a->header.version != r->version;
    r->version = a->header.version;
    if (r->plan->version)
        atomic_store(r->plan->version, r->version);
    return sv_load_add(out, cm_now_ns() - (int64_t)a->tag);
}

/* Takes answers until a moment, or the first one when any is. */
static cm_status take_until(struct run *r, int64_t at_ns, bool any)
{
    struct wi_answer a;
    for (;;) {
        cm_status st = wi_client_poll(r->client, &a, (struct cm_deadline){at_ns});
        if (st == CM_ETIMEDOUT)
            return CM_OK;
        if (st == CM_ENOTFOUND) {
            int64_t left_ns = at_ns - cm_now_ns();
            if (!any && left_ns > 0)
                cm_sleep_us(left_ns / 1000);
            return CM_OK;
        }
        CM_TRY(st);
        CM_TRY(take(r, &a));
        if (any)
            return CM_OK;
    }
}

static cm_status run_open(struct run *r)
{
    int64_t planned_ns = cm_now_ns();
    for (uint32_t i = 0; !is_over(r, cm_now_ns()); i++) {
        planned_ns += sv_load_gap_ns(r->plan, i);
        if (planned_ns > cm_now_ns())
            CM_TRY(take_until(r, planned_ns, false));
        CM_TRY(ask(r, planned_ns));
    }
    return CM_OK;
}

static cm_status run_closed(struct run *r)
{
    while (!is_over(r, cm_now_ns())) {
        while (wi_client_outstanding(r->client) < r->plan->outstanding)
            CM_TRY(ask(r, cm_now_ns()));
        CM_TRY(take_until(r, INT64_MAX, true));
    }
    return CM_OK;
}

static cm_status take_rest(struct run *r)
{
    while (wi_client_outstanding(r->client) > 0)
        CM_TRY(take_until(r, INT64_MAX, true));
    /* An answer that nobody waits for has come twice, or late. */
    struct wi_client_stats stats = wi_client_stats(r->client);
    if (stats.dropped > stats.timed_out)
        r->result->twice = (int64_t)(stats.dropped - stats.timed_out);
    return CM_OK;
}

cm_status sv_load_zmq(struct sv_load_result *out, const struct sv_load_target *t,
                      const struct sv_load_plan *plan)
{
    struct run r = {.target = t, .plan = plan, .result = out};
    struct wi_client_config cfg = {.endpoint = t->endpoint,
                                   .max_outstanding =
                                       plan->rate > 0 ? MOST_OUTSTANDING : plan->outstanding};
    cm_status st;
    *out = (struct sv_load_result){0};
    CM_TRY(wi_client_open(&r.client, &cfg));
    int64_t began_ns = cm_now_ns();
    r.end_ns = began_ns + (int64_t)(plan->seconds * 1e9);
    CM_GOTO(st, plan->rate > 0 ? run_open(&r) : run_closed(&r), out);
    CM_GOTO(st, take_rest(&r), out);
    out->seconds = (double)(cm_now_ns() - began_ns) * 1e-9;
    sv_load_sort(out);
out:
    wi_client_close(&r.client);
    return st;
}
