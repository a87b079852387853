/* flywheel bench serve CONFIG: latency and rate of a running gateway over ZeroMQ and HTTP, steady
 * and while the champion changes under load. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "parameter/alias.h"
#include "parameter/store.h"
#include "serve/client_command.h"
#include "serve/client_load.h"
#include "serve/serve_program.h"
#include "serve/version_spec.h"

#define IMAGES           64
#define TIMEOUT_MS       30000 /* of a request, and of a swap: only what hangs takes as long */
#define SATURATING       256   /* requests out at a time */
#define HTTP_CONNECTIONS 32
#define SHARE_OF_MOST    0.3 /* of the saturated rate: what an open loop asks for by default */

struct options {
    struct sv_program_options common;
    double rate, seconds;
    int64_t reloads;
};

static const struct cm_opt opts[] = {
    SV_PROGRAM_OPTS(struct options, common),
    {"rate", 0, CM_OPT_FLOAT, offsetof(struct options, rate), "R",
     "requests per second of the open loops; 0: 0.3 of what the server can do (0)"},
    {"seconds", 0, CM_OPT_FLOAT, offsetof(struct options, seconds), "S", "of each part (5)"},
    {"reloads", 0, CM_OPT_INT, offsetof(struct options, reloads), "N",
     "flip the champion N times between its two newest versions under load (0)"},
};

static const struct cm_command command = {
    .name = "flywheel bench serve",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Measure latency and rate of a running gateway.",
    .details = "Latencies of open loops count from the planned moment of a request. The last line\n"
               "is one JSON object. Exit code 1 when a request failed, was not answered, or was\n"
               "answered twice.",
    .opts = opts,
    .nopts = sizeof opts / sizeof opts[0],
    .sections = sv_program_sections,
};

struct bench {
    struct options options;
    struct sv_program program;
    struct sv_endpoints there;
    struct sv_load_target target;
    uint8_t *pixels; /* (IMAGES, nbytes), random */
    struct cm_jw json;
    bool failed;
};

static cm_status make_images(struct bench *b)
{
    struct ps_store *store = NULL;
    struct ps_version *version = NULL;
    struct nn_spec *spec = NULL;
    cm_status st;
    CM_TRY(ps_store_open(&store, b->program.store_dir, 'v'));
    CM_GOTO(st, ps_version_open_ref(&version, store, b->program.serve.alias), out);
    CM_GOTO(st, sv_version_spec(&spec, version), out);
    b->target.nbytes = nn_shape_count(spec->input);
    CM_GOTO(st, cm_alloc(&b->pixels, IMAGES, b->target.nbytes, "images"), out);
    for (size_t i = 0; i < IMAGES * b->target.nbytes; i++)
        b->pixels[i] = (uint8_t)cm_rng_u32(1, CM_RNG_SYNTHETIC, 0, 0, (uint32_t)i);
out:
    nn_spec_close(&spec);
    ps_version_close(&version);
    ps_store_close(&store);
    return st;
}

/* A row of the table and a member of the JSON. */
static void report(struct bench *b, const char *name, const struct sv_load_result *r)
{
    double rate = r->seconds > 0 ? (double)r->answered / r->seconds : 0;
    double p50 = sv_load_quantile_us(r, 0.5), p99 = sv_load_quantile_us(r, 0.99);
    printf("%-22s %9lld %7lld %10lld %6lld %11.0f %9.0f %9.0f\n", name, (long long)r->sent,
           (long long)r->failed, (long long)r->unanswered, (long long)r->twice, rate, p50, p99);
    cm_jw_begin(&b->json, name, '{');
    cm_jw_i64(&b->json, "requests", r->sent);
    cm_jw_i64(&b->json, "failed", r->failed);
    cm_jw_i64(&b->json, "unanswered", r->unanswered);
    cm_jw_i64(&b->json, "twice", r->twice);
    cm_jw_f64(&b->json, "images_per_s", rate);
    cm_jw_f64(&b->json, "p50_us", p50);
    cm_jw_f64(&b->json, "p99_us", p99);
    cm_jw_end(&b->json);
    b->failed = b->failed || r->failed || r->unanswered || r->twice;
}

typedef cm_status (*load_function)(struct sv_load_result *out, const struct sv_load_target *t,
                                   const struct sv_load_plan *plan);

/* Closed at 1, closed at many, open: over one transport. *p99_us: of the open loop. */
static cm_status measure(struct bench *b, const char *transport, load_function load,
                         int outstanding, double *rate, double *p99_us)
{
    struct sv_load_plan plan = {.outstanding = 1, .seconds = b->options.seconds, .seed = 1};
    struct sv_load_result r;
    char name[64];
    CM_TRY(load(&r, &b->target, &plan));
    snprintf(name, sizeof name, "%s_closed_1", transport);
    report(b, name, &r);
    sv_load_release(&r);

    plan.outstanding = outstanding;
    CM_TRY(load(&r, &b->target, &plan));
    snprintf(name, sizeof name, "%s_closed_%d", transport, outstanding);
    report(b, name, &r);
    double most = r.seconds > 0 ? (double)r.answered / r.seconds : 0;
    sv_load_release(&r);

    plan.rate = b->options.rate > 0 ? b->options.rate : SHARE_OF_MOST * most;
    if (plan.rate <= 0)
        return CM_FAIL(CM_EIO, "%s: nothing was answered", transport);
    CM_TRY(load(&r, &b->target, &plan));
    snprintf(name, sizeof name, "%s_open", transport);
    report(b, name, &r);
    *rate = plan.rate;
    *p99_us = sv_load_quantile_us(&r, 0.99);
    sv_load_release(&r);
    return CM_OK;
}

/* ---- reloads under load ---- */

struct flipper {
    const struct bench *bench;
    int64_t versions[2];
    int64_t swaps; /* seen in an answer */
    atomic_bool done;
    _Atomic int64_t version; /* of the newest answer */
    cm_status st;
    char reason[256];
};

static cm_status flip_all(struct flipper *f)
{
    const char *dir = f->bench->program.store_dir, *alias = f->bench->program.serve.alias;
    for (int64_t i = 0; i < f->bench->options.reloads; i++) {
        int64_t next = f->versions[atomic_load(&f->version) == f->versions[0]];
        CM_TRY(ps_alias_set(NULL, dir, alias, PS_ANY, next, "bench", "bench serve --reloads"));
        struct cm_deadline deadline = cm_deadline_in_ms(TIMEOUT_MS);
        while (atomic_load(&f->version) != next) {
            if (cm_deadline_passed(deadline))
                return CM_FAIL(CM_ETIMEDOUT, "version %lld did not answer within %d ms",
                               (long long)next, TIMEOUT_MS);
            cm_sleep_us(1000);
        }
        f->swaps++;
    }
    return CM_OK;
}

/* Back to what the alias named before the first flip, however the flips ended. */
static cm_status restore(const struct flipper *f)
{
    const char *dir = f->bench->program.store_dir, *alias = f->bench->program.serve.alias;
    return ps_alias_set(NULL, dir, alias, PS_ANY, f->versions[0], "bench", "bench serve is done");
}

static void *flip(void *ctx)
{
    struct flipper *f = ctx;
    struct cm_deadline deadline = cm_deadline_in_ms(TIMEOUT_MS);
    while (atomic_load(&f->version) == 0 && !cm_deadline_passed(deadline))
        cm_sleep_us(1000);
    f->st = flip_all(f);
    if (f->st != CM_OK)
        snprintf(f->reason, sizeof f->reason, "%s", cm_error_text());
    atomic_store(&f->done, true);
    return NULL;
}

/* What the alias names, and the newest other version. */
static cm_status choose_versions(const struct bench *b, int64_t versions[2])
{
    struct ps_store *store;
    struct ps_alias now;
    int64_t *all = NULL;
    size_t n = 0;
    cm_status st;
    CM_TRY(ps_store_open(&store, b->program.store_dir, 'v'));
    CM_GOTO(st, ps_alias_get(&now, b->program.store_dir, b->program.serve.alias), out);
    CM_GOTO(st, ps_store_list(store, &all, &n), out);
    versions[0] = now.version;
    versions[1] = 0;
    for (size_t i = 0; i < n; i++)
        if (all[i] != now.version)
            versions[1] = all[i];
    if (!versions[1])
        st = CM_FAIL(CM_ENOTFOUND, "%s: --reloads needs two versions", b->program.store_dir);
out:
    cm_free(&all);
    ps_store_close(&store);
    return st;
}

static cm_status measure_reloads(struct bench *b, double rate, double steady_p99_us)
{
    struct flipper f = {.bench = b};
    struct sv_load_plan plan = {.rate = rate, .stop = &f.done, .version = &f.version, .seed = 2};
    struct sv_load_result r;
    pthread_t thread;
    CM_TRY(choose_versions(b, f.versions));
    int code = pthread_create(&thread, NULL, flip, &f);
    if (code)
        return CM_FAIL(CM_EIO, "cannot start a thread: %s", strerror(code));
    cm_status st = sv_load_zmq(&r, &b->target, &plan);
    pthread_join(thread, NULL);
    struct cm_error why;
    cm_error_save(&why); /* st's, which is still to be told */
    cm_status restored = restore(&f);
    if (restored != CM_OK)
        cm_error_report(CM_LOG_ERROR, restored, "naming the former version again");
    cm_error_restore(&why);
    CM_TRY(st);
    if (f.st != CM_OK)
        cm_log_error("%s", f.reason);
    double p99_us = sv_load_quantile_us(&r, 0.99);
    double ratio = steady_p99_us > 0 ? p99_us / steady_p99_us : 0;
    printf("%-22s %9lld %7lld %10lld %6lld %11.0f %9.0f %9.0f   %lld swaps, p99 x %.2f\n", "reload",
           (long long)r.sent, (long long)r.failed, (long long)r.unanswered, (long long)r.twice,
           (double)r.answered / r.seconds, sv_load_quantile_us(&r, 0.5), p99_us, (long long)f.swaps,
           ratio);
    cm_jw_begin(&b->json, "reload", '{');
    cm_jw_i64(&b->json, "requests", r.sent);
    cm_jw_i64(&b->json, "swaps", f.swaps);
    cm_jw_i64(&b->json, "changes_seen", r.changes);
    cm_jw_i64(&b->json, "failed", r.failed);
    cm_jw_i64(&b->json, "unanswered", r.unanswered);
    cm_jw_i64(&b->json, "twice", r.twice);
    cm_jw_f64(&b->json, "p50_us", sv_load_quantile_us(&r, 0.5));
    cm_jw_f64(&b->json, "p99_us", p99_us);
    cm_jw_f64(&b->json, "p99_ratio", ratio);
    cm_jw_end(&b->json);
    b->failed =
        b->failed || r.failed || r.unanswered || r.twice || f.st != CM_OK || r.changes != f.swaps;
    sv_load_release(&r);
    return CM_OK;
}

static cm_status run(struct bench *b)
{
    double rate, p99_us, http_rate, http_p99_us;
    CM_TRY(sv_find_gateway(&b->there, b->program.run_dir));
    CM_TRY(make_images(b));
    b->target.endpoint = b->there.clients;
    b->target.http_host = b->there.http_host;
    b->target.http_port = b->there.http_port;
    b->target.pixels = b->pixels;
    b->target.nimages = IMAGES;
    b->target.timeout_ms = TIMEOUT_MS;
    printf("%-22s %9s %7s %10s %6s %11s %9s %9s\n", "", "requests", "failed", "unanswered", "twice",
           "images/s", "p50 us", "p99 us");
    cm_jw_begin(&b->json, NULL, '{');
    cm_jw_begin(&b->json, "serve", '{');
    CM_TRY(measure(b, "zmq", sv_load_zmq, SATURATING, &rate, &p99_us));
    if (b->there.http_port)
        CM_TRY(measure(b, "http", sv_load_http, HTTP_CONNECTIONS, &http_rate, &http_p99_us));
    if (b->options.reloads > 0)
        CM_TRY(measure_reloads(b, rate, p99_us));
    cm_jw_end(&b->json);
    cm_jw_end(&b->json);
    CM_TRY(cm_jw_print(&b->json));
    return b->failed ? CM_FAIL(CM_EIO, "not every request was answered once, as it should be")
                     : CM_OK;
}

cm_status sv_command_bench(int argc, char **argv)
{
    struct bench b = {.options = {.seconds = 5}};
    char **operands;
    int noperands;
    bool done;
    CM_TRY(cm_args_parse(&command, argc, argv, &b.options, &operands, &noperands, &done));
    if (done)
        return CM_OK;
    cm_status st = sv_program_open(&b.program, operands[0], &b.options.common, &done);
    if (st == CM_OK && !done)
        st = run(&b);
    cm_jw_release(&b.json);
    cm_free(&b.pixels);
    sv_program_close(&b.program);
    return st;
}
