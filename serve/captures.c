/* A ring of entries between the gateway's thread and this one's. */
#include "serve/captures.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/redis.h"
#include "wire/bytes.h"
#include "wire/feedback.h"
#include "wire/keys.h"

#define TIMEOUT_MS   1000
#define BACKOFF_MS   1000  /* after a failure; what comes meanwhile waits, then is dropped */
#define KEPT_NBYTES  65536 /* an entry's larger memory is given back after use */
#define REDIS_NBYTES 1024  /* that Redis needs beside a capture's own bytes */
#define COMMAND_ARGS (2 + 2 * WI_CAPTURE_FIELDS)

struct entry {
    struct wi_id id;
    struct wi_capture capture; /* points into bytes */
    struct wi_buffer bytes;    /* image, then classes */
};

struct sv_captures {
    struct sv_captures_config cfg;
    double left_nbytes; /* see spend(); of who puts, as the next two */
    int64_t spent_ns;
    bool told_spent;
    struct cm_redis *redis; /* the thread's */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t wake;
    struct entry *ring; /* cfg.queue; from first on, n are filled; the thread reads them unlocked */
    int first, n;
    size_t nbytes;
    bool stop;
    struct cm_deadline end; /* after stop */
};

static cm_status hset(struct cm_redis *r, const char *key, const struct wi_capture_fields *f)
{
    const char *argv[COMMAND_ARGS] = {"HSET", key};
    size_t argn[COMMAND_ARGS] = {4, strlen(key)};
    const struct cm_redis_value *reply;
    int argc = 2;
    for (size_t i = 0; i < f->n; i++) {
        argv[argc] = f->field[i].name;
        argn[argc++] = f->field[i].nname;
        argv[argc] = f->field[i].value;
        argn[argc++] = f->field[i].nvalue;
    }
    return cm_redis_command(r, &reply, argc, argv, argn, 0);
}

static cm_status run_transaction(struct sv_captures *c, const char *key,
                                 const struct wi_capture_fields *fields)
{
    const struct cm_redis_value *reply;
    char ttl[24];
    snprintf(ttl, sizeof ttl, "%.0f", c->cfg.ttl_s);
    CM_TRY(hset(c->redis, key, fields));
    CM_TRY(cm_redis_call(c->redis, &reply, "EXPIRE", key, ttl, NULL));
    return cm_redis_call(c->redis, &reply, "EXEC", NULL);
}

/* One transaction: no capture stays that does not expire. */
static cm_status write_entry(struct sv_captures *c, const struct entry *e)
{
    const struct cm_redis_value *reply;
    struct wi_capture_fields fields;
    char key[WI_KEY];
    CM_TRY(cm_fault("serve.capture"));
    wi_key_capture(key, e->id);
    CM_TRY(wi_capture_encode(&fields, &e->capture));
    CM_TRY(cm_redis_call(c->redis, &reply, "MULTI", NULL));
    cm_status st = run_transaction(c, key, &fields);
    /* Or the connection would go on collecting commands. */
    if (st != CM_OK && st != CM_ECONNECT && st != CM_ETIMEDOUT && st != CM_ECLOSED &&
        cm_redis_call(c->redis, &reply, "DISCARD", NULL) != CM_OK)
        cm_log_debug("no transaction to discard");
    return st;
}

static void wait_ms(struct sv_captures *c, int64_t ms)
{
    struct cm_deadline end = cm_deadline_in_ms(ms);
    while (!c->stop && cm_cond_wait(&c->wake, &c->lock, end))
        ;
}

static void *write_all(void *ctx)
{
    struct sv_captures *c = ctx;
    bool told = false;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->stop && c->n == 0)
            pthread_cond_wait(&c->wake, &c->lock);
        if (c->n == 0 || (c->stop && cm_deadline_passed(c->end)))
            break;
        struct entry *e = &c->ring[c->first];
        pthread_mutex_unlock(&c->lock);
        cm_status st = write_entry(c, e);
        if (st != CM_OK && !told)
            cm_error_report(CM_LOG_WARN, st, "captures are lost");
        told = st != CM_OK;
        cm_metric_add(st == CM_OK ? c->cfg.written : c->cfg.dropped, 1);
        pthread_mutex_lock(&c->lock);
        c->nbytes -= e->bytes.n;
        if (e->bytes.capacity > KEPT_NBYTES)
            wi_buffer_release(&e->bytes);
        c->first = (c->first + 1) % c->cfg.queue;
        c->n--;
        if (st != CM_OK)
            wait_ms(c, BACKOFF_MS);
    }
    cm_metric_add(c->cfg.dropped, c->n);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

cm_status sv_captures_start(struct sv_captures **out, const struct sv_captures_config *cfg)
{
    struct cm_redis_config redis = {.address = cfg->redis,
                                    .user = cfg->user,
                                    .password = cfg->password,
                                    .timeout_ms = TIMEOUT_MS,
                                    .name = "flywheel-capture"};
    struct sv_captures *c = NULL;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_redis_check_address(cfg->redis));
    CM_TRY(cm_alloc(&c, 1, sizeof *c, "captures"));
    c->cfg = *cfg;
    c->left_nbytes = 0.5 * (double)cfg->kept_nbytes;
    c->spent_ns = cm_now_ns();
    pthread_mutex_init(&c->lock, NULL);
    cm_cond_init(&c->wake);
    CM_GOTO(st, cm_alloc(&c->ring, (size_t)cfg->queue, sizeof *c->ring, "captures"), out);
    CM_GOTO(st, cm_redis_open(&c->redis, &redis), out);
    int code = pthread_create(&c->thread, NULL, write_all, c);
    if (code) {
        st = CM_FAIL(CM_EIO, "cannot start a thread: %s", strerror(code));
        goto out;
    }
    c->started = true;
    *out = c;
    c = NULL;
out:
    sv_captures_stop(&c, 0);
    return st;
}

/* Half the room may be taken at once, and comes back over a capture's life: so what is alive, taken
 * in the last ttl_s, is never more than all of it. */
static bool spend(struct sv_captures *c, size_t n)
{
    double half = 0.5 * (double)c->cfg.kept_nbytes, nbytes = (double)(n + REDIS_NBYTES);
    int64_t now_ns = cm_now_ns();
    c->left_nbytes += half * (double)(now_ns - c->spent_ns) * 1e-9 / c->cfg.ttl_s;
    if (c->left_nbytes > half)
        c->left_nbytes = half;
    c->spent_ns = now_ns;
    if (nbytes <= c->left_nbytes) {
        c->left_nbytes -= nbytes;
        return true;
    }
    if (!c->told_spent)
        cm_log_warn("not every answer is captured: there are more of them than Redis has room for "
                    "(serve.capture_mib) while a capture is kept (serve.capture_ttl_s)");
    c->told_spent = true;
    return false;
}

static cm_status fill(struct entry *e, struct wi_id id, const struct wi_capture *capture)
{
    uint8_t *p;
    e->bytes.n = 0;
    CM_TRY(wi_buffer_grow(&e->bytes, &p, capture->image.n + capture->nclasses));
    memcpy(p, capture->image.data, capture->image.n);
    memcpy(p + capture->image.n, capture->classes, capture->nclasses);
    e->id = id;
    e->capture = *capture;
    e->capture.image.data = p;
    e->capture.classes = p + capture->image.n;
    return CM_OK;
}

void sv_captures_put(struct sv_captures *c, struct wi_id prediction_id,
                     const struct wi_capture *capture)
{
    size_t n = capture->image.n + capture->nclasses;
    struct entry *e = NULL;
    pthread_mutex_lock(&c->lock);
    if (capture->image.n <= WI_FEEDBACK_IMAGE_MAX && c->n < c->cfg.queue &&
        c->nbytes + n <= c->cfg.max_nbytes)
        e = &c->ring[(c->first + c->n) % c->cfg.queue];
    pthread_mutex_unlock(&c->lock);
    /* Entries past the filled ones are this thread's. */
    if (!e || !spend(c, n) || fill(e, prediction_id, capture) != CM_OK) {
        cm_metric_add(c->cfg.dropped, 1);
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->n++;
    c->nbytes += n;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

void sv_captures_stop(struct sv_captures **captures, int ms)
{
    struct sv_captures *c = *captures;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    c->end = cm_deadline_in_ms(ms);
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    if (c->started)
        pthread_join(c->thread, NULL);
    for (int i = 0; c->ring && i < c->cfg.queue; i++)
        wi_buffer_release(&c->ring[i].bytes);
    cm_free(&c->ring);
    cm_redis_close(&c->redis);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    cm_free(captures);
}
