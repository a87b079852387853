#include "online/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "online/redis_link.h"
#include "online/resolve.h"
#include "online/stream_facts.h"
#include "wire/feedback.h"

#define CHUNK 16 /* entries of a stream in one reply: at 8 MiB each, what memory must bear */
#define FLOOD 4  /* a batch ends at this many times its size in entries, good or not */
#define GROUP "online"

struct source { /* a stream being read */
    char name[WI_OPERATOR];
    char key[WI_KEY];
    struct ol_id cursor; /* of the last entry in the batch */
    int64_t taken;       /* entries in the batch */
};

struct ol_intake {
    const struct ol_config *cfg;
    struct cm_events *events;
    struct nn_shape shape;
    struct ol_link link, captures;
    struct ol_resolver resolver;
    uint8_t *pixels;        /* of one image */
    struct source *sources; /* by name */
    size_t nsources;
    struct ol_dedup in_batch;

    const struct ol_state *state; /* borrowed while a batch is read */
    struct ol_batch batch;
    int64_t first_ns, scanned_ns; /* monotonic; 0: not yet */
    bool idle;                    /* the last round brought nothing: the next one waits */
    size_t letter;                /* the entry whose dead letter is next */
};

cm_status ol_intake_open(struct ol_intake **out, const struct ol_config *cfg,
                         const struct nn_spec *spec, struct cm_events *events)
{
    struct ol_intake *self;
    struct nn_image_limits limits = nn_image_limits_default;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "intake"));
    self->cfg = cfg;
    self->events = events;
    self->shape = spec->input;
    limits.max_nbytes = (size_t)cfg->max_image_kib * 1024;
    limits.max_side = (int)cfg->max_image_side;
    CM_GOTO(st, ol_link_open(&self->link, cfg, "flywheel-online"), out);
    CM_GOTO(st, ol_link_open(&self->captures, cfg, "flywheel-online-captures"), out);
    CM_GOTO(st, ol_resolver_init(&self->resolver, spec, &limits, self->captures.redis), out);
    CM_GOTO(st, cm_alloc(&self->pixels, nn_shape_count(spec->input), 1, "an image"), out);
    CM_GOTO(st, ol_dedup_init(&self->in_batch, OL_ENTRY_KEYS * (size_t)cfg->entries), out);
    *out = self;
    self = NULL;
out:
    ol_intake_close(&self);
    return st;
}

void ol_intake_close(struct ol_intake **in)
{
    struct ol_intake *self = *in;
    if (!self)
        return;
    ol_resolver_release(&self->resolver);
    ol_link_close(&self->link);
    ol_link_close(&self->captures);
    ol_batch_release(&self->batch);
    ol_dedup_release(&self->in_batch);
    cm_free(&self->sources);
    cm_free(&self->pixels);
    cm_free(in);
}

size_t ol_intake_pending(const struct ol_intake *in)
{
    return in->batch.nentries;
}

/* ---- sources ---- */

static cm_status add_source(void *ctx, const char *name)
{
    struct ol_intake *self = ctx;
    size_t at = self->nsources;
    int32_t index;
    for (size_t i = 0; i < self->nsources; i++)
        if (strcmp(self->sources[i].name, name) == 0)
            return CM_OK;
    struct source s = {0};
    if (!wi_key_feedback(s.key, name))
        return CM_FAIL(CM_EINTERNAL, "'%s' is no operator", name);
    snprintf(s.name, sizeof s.name, "%s", name);
    const struct ol_stream *known = ol_ledger_find(&self->state->ledger, name);
    if (known)
        s.cursor = known->offset;
    CM_TRY(cm_realloc(&self->sources, self->nsources + 1, sizeof s, "streams"));
    for (; at > 0 && strcmp(self->sources[at - 1].name, name) > 0; at--)
        self->sources[at] = self->sources[at - 1];
    self->sources[at] = s;
    self->nsources++;
    return ol_batch_operator(&index, &self->batch, name, s.cursor);
}

/* An empty batch, every stream where the state left it, or at its beginning. */
static cm_status reset(struct ol_intake *self, const char *epoch, bool from_start)
{
    const struct ol_ledger *ledger = &self->state->ledger;
    ol_batch_release(&self->batch);
    self->batch.number = self->state->batch + 1;
    self->batch.shape = self->shape;
    snprintf(self->batch.epoch, sizeof self->batch.epoch, "%s", epoch);
    self->nsources = 0;
    ol_dedup_clear(&self->in_batch);
    self->first_ns = self->scanned_ns = 0;
    for (size_t i = 0; i < ledger->n; i++)
        CM_TRY(add_source(self, ledger->stream[i].name));
    for (size_t i = 0; i < self->nsources && from_start; i++) {
        self->sources[i].cursor = (struct ol_id){0};
        self->batch.after[i] = (struct ol_id){0}; /* sources and operators are in one order here */
    }
    return CM_OK;
}

cm_status ol_intake_begin(struct ol_intake *in, const struct ol_state *state)
{
    char epoch[CM_UUID_TEXT];
    in->state = state;
    in->letter = 0;
    in->idle = false;
    memcpy(epoch, state->epoch, sizeof epoch);
    return reset(in, epoch, false);
}

void ol_intake_take(struct ol_intake *in, struct ol_batch *out)
{
    *out = in->batch;
    in->batch = (struct ol_batch){0};
}

/* ---- is it the Redis that we know? ---- */

static void tell_loss(struct ol_intake *self, const char *what)
{
    struct cm_jw w;
    cm_log_error("Redis lost data: %s. Reading it from its beginning; what was counted before is "
                 "recognised and not trained again",
                 what);
    cm_events_begin(self->events, &w, "redis_lost_data");
    cm_jw_string(&w, "what", what);
    cm_events_put(self->events, &w);
}

static cm_status check_epoch(struct ol_intake *self)
{
    const struct cm_redis_value *v;
    char fresh[CM_UUID_TEXT], epoch[CM_UUID_TEXT], text[160];
    CM_TRY(cm_redis_call(self->link.redis, &v, "GET", WI_KEY_EPOCH, NULL));
    if (v->type == CM_REDIS_NIL) {
        cm_uuid_format(fresh, cm_uuid_make());
        CM_TRY(cm_redis_call(self->link.redis, &v, "SET", WI_KEY_EPOCH, fresh, "NX", NULL));
        CM_TRY(cm_redis_call(self->link.redis, &v, "GET", WI_KEY_EPOCH, NULL));
    }
    if (v->type != CM_REDIS_STRING || v->n == 0 || v->n >= sizeof epoch)
        return CM_FAIL(CM_EINVAL, WI_KEY_EPOCH " holds no UUID");
    snprintf(epoch, sizeof epoch, "%s", v->string);
    if (strcmp(epoch, self->batch.epoch) == 0)
        return CM_OK;
    bool first = self->batch.epoch[0] == '\0';
    if (!first) {
        snprintf(text, sizeof text, WI_KEY_EPOCH " was %s, is %s", self->batch.epoch, epoch);
        tell_loss(self, text);
    }
    return reset(self, epoch, !first);
}

/* A stream that was deleted, or that went back in time with the rest of Redis. */
static cm_status check_stream(struct ol_intake *self, const struct ol_stream *known)
{
    struct ol_facts f;
    char text[256], key[WI_KEY], was[OL_ID_TEXT], is[OL_ID_TEXT];
    int32_t i;
    CM_TRY(ol_batch_operator(&i, &self->batch, known->name, known->offset));
    bool from_start = ol_id_compare(self->batch.after[i], (struct ol_id){0}) == 0;
    if (from_start || !wi_key_feedback(key, known->name))
        return CM_OK;
    CM_TRY(ol_facts_get(&f, self->link.redis, key));
    if (f.there && ol_id_compare(f.last, known->offset) >= 0 && f.added >= known->read)
        return CM_OK;
    ol_id_format(was, known->offset);
    ol_id_format(is, f.last);
    snprintf(text, sizeof text, "%s had entries up to %s (%lld read), now up to %s (%lld added)",
             key, was, (long long)known->read, is, (long long)f.added);
    tell_loss(self, text);
    char epoch[CM_UUID_TEXT];
    memcpy(epoch, self->batch.epoch, sizeof epoch);
    return reset(self, epoch, true);
}

static cm_status look_around(struct ol_intake *self)
{
    int64_t now = cm_now_ns();
    if (self->scanned_ns && now - self->scanned_ns < self->cfg->scan_ms * 1000000)
        return CM_OK;
    CM_TRY(check_epoch(self));
    for (size_t i = 0; i < self->state->ledger.n; i++)
        CM_TRY(check_stream(self, &self->state->ledger.stream[i]));
    CM_TRY(ol_facts_operators(self->link.redis, add_source, self));
    self->scanned_ns = now;
    return CM_OK;
}

/* ---- reading ---- */

static bool is_full(const struct ol_intake *self)
{
    size_t entries = (size_t)self->cfg->entries;
    return self->batch.nimages >= entries || self->batch.nentries >= FLOOD * entries;
}

static size_t room_of(const struct ol_intake *self, const struct source *s)
{
    int64_t room = self->cfg->entries - (int64_t)self->batch.nimages;
    if (self->cfg->quota && self->cfg->quota - s->taken < room)
        room = self->cfg->quota - s->taken;
    return room < 0 ? 0 : (size_t)room;
}

static bool is_known(const struct ol_intake *self, uint64_t hash)
{
    return ol_dedup_has(&self->state->dedup, hash) || ol_dedup_has(&self->in_batch, hash);
}

/* An entry of a reply: [id, [field, value, …]]. */
static cm_status take_entry(struct ol_intake *self, struct source *s,
                            const struct cm_redis_value *v)
{
    struct wi_field field[WI_FEEDBACK_ENTRY_MAX];
    struct ol_entry e = {0};
    int32_t label = 0;
    bool good;
    if (v->n != 2 || !ol_id_parse(&e.id, v->element[0].string, v->element[0].n))
        return CM_FAIL(CM_EFORMAT, "%s: an entry that is none", s->key);
    const struct cm_redis_value *pair = v->element[1].element;
    size_t n = v->element[1].n / 2;
    for (size_t i = 0; i < n && i < WI_FEEDBACK_ENTRY_MAX; i++)
        field[i] = (struct wi_field){.name = pair[2 * i].string,
                                     .nname = pair[2 * i].n,
                                     .value = pair[2 * i + 1].string,
                                     .nvalue = pair[2 * i + 1].n};
    CM_TRY(ol_resolve(&self->resolver, s->name, field, n, &good, &e, &label, self->pixels));

    char reason[OL_REASON];
    e.fate = OL_TRAINED;
    if (!good) {
        e.fate = OL_DEAD;
        snprintf(reason, sizeof reason, "%s", cm_error_text());
        e.reason = reason;
    } else if (is_known(self, e.content) || is_known(self, ol_entry_delivery(s->name, &e))) {
        e.fate = OL_DUPLICATE;
    }
    CM_TRY(ol_batch_operator(&e.operator_index, &self->batch, s->name, s->cursor));
    CM_TRY(ol_batch_add(&self->batch, &e, self->pixels, label));
    if (e.fate == OL_TRAINED) {
        ol_dedup_add(&self->in_batch, e.content);
        ol_dedup_add(&self->in_batch, ol_entry_delivery(s->name, &e));
    }
    s->cursor = e.id;
    s->taken++;
    return CM_OK;
}

/* The next entries of one stream. */
static cm_status read_source(struct ol_intake *self, struct source *s, size_t *nread)
{
    const struct cm_redis_value *v;
    char from[OL_ID_TEXT], count[24];
    size_t room = room_of(self, s);
    *nread = 0;
    if (room == 0 || is_full(self))
        return CM_OK;
    ol_id_format(from, s->cursor);
    snprintf(count, sizeof count, "%zu", room < CHUNK ? room : CHUNK);
    CM_TRY(cm_redis_call(self->link.redis, &v, "XREAD", "COUNT", count, "STREAMS", s->key, from,
                         NULL));
    if (v->type == CM_REDIS_NIL)
        return CM_OK;
    if (v->n != 1 || v->element[0].n != 2)
        return CM_FAIL(CM_EFORMAT, "%s: an answer to XREAD that is none", s->key);
    const struct cm_redis_value *entries = &v->element[0].element[1];
    for (size_t i = 0; i < entries->n && !is_full(self); i++, ++*nread)
        CM_TRY(take_entry(self, s, &entries->element[i]));
    return CM_OK;
}

/* A round over all streams. */
static cm_status read_round(struct ol_intake *self, size_t *nread)
{
    *nread = 0;
    for (size_t i = 0; i < self->nsources; i++) {
        size_t n;
        CM_TRY(read_source(self, &self->sources[i], &n));
        *nread += n;
    }
    return CM_OK;
}

/* Until something comes, for at most poll_ms; the entry itself is read by the next round. */
static cm_status await_entries(struct ol_intake *self)
{
    const struct cm_redis_value *v;
    size_t n = self->nsources, used = 0;
    const char **argv;
    char block[24], (*from)[OL_ID_TEXT];
    if (n == 0) {
        cm_sleep_us(self->cfg->poll_ms * 1000);
        return CM_OK;
    }
    CM_TRY(cm_alloc(&argv, 6 + 2 * n, sizeof *argv, "a command"));
    cm_status st = cm_alloc(&from, n, sizeof *from, "a command");
    size_t *argn = NULL;
    if (st == CM_OK)
        st = cm_alloc(&argn, 6 + 2 * n, sizeof *argn, "a command");
    if (st == CM_OK) {
        snprintf(block, sizeof block, "%lld", (long long)self->cfg->poll_ms);
        const char *const head[] = {"XREAD", "COUNT", "1", "BLOCK", block, "STREAMS"};
        for (; used < 6; used++)
            argv[used] = head[used];
        for (size_t i = 0; i < n; i++, used++)
            argv[used] = self->sources[i].key;
        for (size_t i = 0; i < n; i++, used++) {
            ol_id_format(from[i], self->sources[i].cursor);
            argv[used] = from[i];
        }
        for (size_t i = 0; i < used; i++)
            argn[i] = strlen(argv[i]);
        st = cm_redis_command(self->link.redis, &v, (int)used, argv, argn, (int)self->cfg->poll_ms);
    }
    cm_free(&argn);
    cm_free(&from);
    cm_free(&argv);
    return st;
}

/* An operator at its quota may have more to say, but not in this batch: waiting is in vain. */
static bool is_held_back(const struct ol_intake *self)
{
    for (size_t i = 0; i < self->nsources && self->cfg->quota; i++)
        if (self->sources[i].taken >= self->cfg->quota)
            return true;
    return false;
}

static bool is_due(const struct ol_intake *self)
{
    double waited = (double)(cm_now_ns() - self->first_ns) * 1e-9;
    return self->cfg->max_wait_s > 0 && waited >= self->cfg->max_wait_s;
}

/* One turn against a Redis that is there. */
static cm_status turn(struct ol_intake *self, bool drain, enum ol_intake_said *said)
{
    size_t nread;
    CM_TRY(look_around(self));
    if (self->idle && !drain)
        CM_TRY(await_entries(self));
    CM_TRY(read_round(self, &nread));
    self->idle = nread == 0;
    if (self->batch.nentries == 0) {
        *said = drain && nread == 0 ? OL_INTAKE_DRY : OL_INTAKE_MORE;
        return CM_OK;
    }
    if (self->first_ns == 0)
        self->first_ns = cm_now_ns();
    bool over = nread == 0 && (drain || is_held_back(self));
    *said = is_full(self) || is_due(self) || over ? OL_INTAKE_FULL : OL_INTAKE_MORE;
    return CM_OK;
}

/* Sleeps, in a pause of the link, for at most poll_ms. True: it is still pausing. */
static bool rest(struct ol_intake *self)
{
    int left = ol_link_wait_ms(&self->link);
    if (left == 0)
        return false;
    cm_sleep_us((int64_t)(left < self->cfg->poll_ms ? left : self->cfg->poll_ms) * 1000);
    return ol_link_wait_ms(&self->link) > 0;
}

cm_status ol_intake_turn(struct ol_intake *in, bool drain, enum ol_intake_said *said)
{
    bool up;
    *said = OL_INTAKE_MORE;
    if (rest(in))
        return CM_OK;
    cm_status st = turn(in, drain, said);
    if (st != CM_OK)
        *said = OL_INTAKE_MORE;
    return ol_link_heed(&in->link, st, &up);
}

/* ---- what is written ---- */

static cm_status send_letter(struct ol_intake *self, const struct ol_batch *b,
                             const struct ol_entry *e)
{
    const struct cm_redis_value *v;
    char source[WI_KEY + OL_ID_TEXT], id[OL_ID_TEXT], most[24], batch[24], time[CM_UTC_TEXT];
    const char *name = b->operators[e->operator_index];
    ol_id_format(id, e->id);
    snprintf(source, sizeof source, "fw:feedback:%s/%s", name, id);
    snprintf(most, sizeof most, "%lld", (long long)self->cfg->keep_letters);
    snprintf(batch, sizeof batch, "%lld", (long long)b->number);
    cm_utc_format(time, cm_utc_now());
    return cm_redis_call(self->link.redis, &v, "XADD", WI_KEY_DLQ, "MAXLEN", "~", most, "*",
                         "source", source, "operator", name, "entry", id, "reason",
                         e->reason ? e->reason : "", "batch", batch, "time", time, NULL);
}

cm_status ol_intake_letters(struct ol_intake *in, const struct ol_batch *b, bool *done)
{
    bool up = true;
    *done = false;
    if (rest(in))
        return CM_OK;
    while (in->letter < b->nentries && up) {
        const struct ol_entry *e = &b->entries[in->letter];
        if (e->fate == OL_DEAD)
            CM_TRY(ol_link_heed(&in->link, send_letter(in, b, e), &up));
        in->letter += up;
    }
    *done = up;
    if (up)
        in->letter = 0;
    return CM_OK;
}

static cm_status tidy_stream(struct ol_intake *self, const struct ol_stream *s)
{
    struct cm_redis *redis = self->link.redis;
    const struct cm_redis_value *v;
    char key[WI_KEY], offset[OL_ID_TEXT], next[OL_ID_TEXT], nread[24];
    if (!wi_key_feedback(key, s->name) || s->read == 0)
        return CM_OK;
    ol_id_format(offset, s->offset);
    ol_id_format(next, ol_id_next(s->offset));
    snprintf(nread, sizeof nread, "%lld", (long long)s->read);
    cm_status st = cm_redis_call(redis, &v, "XGROUP", "CREATE", key, GROUP, offset, NULL);
    if (st != CM_OK && !(st == CM_EINVAL && strstr(cm_error_text(), "BUSYGROUP")))
        return st;
    CM_TRY(cm_redis_call(redis, &v, "XGROUP", "SETID", key, GROUP, offset, "ENTRIESREAD", nread,
                         NULL));
    return self->cfg->trim ? cm_redis_call(redis, &v, "XTRIM", key, "MINID", next, NULL) : CM_OK;
}

void ol_intake_tidy(struct ol_intake *in, const struct ol_ledger *ledger)
{
    for (size_t i = 0; i < ledger->n; i++) {
        cm_status st = tidy_stream(in, &ledger->stream[i]);
        if (st == CM_OK)
            continue;
        cm_error_report(CM_LOG_DEBUG, st, "trimming after the next batch instead");
        return;
    }
}
