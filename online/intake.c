#include "online/intake_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "online/dead_letters.h"
#include "online/stream_facts.h"
#include "wire/feedback.h"

#define TURN   16 /* entries of a stream before the next one's: of 8 MiB each, in memory at once */
#define FLOOD  4  /* a batch ends at this many times its size in entries, good or not */
#define WAITED 16 /* streams of one wait: each may answer with an entry, which is read again */

cm_status ol_intake_open(struct ol_intake **out, const struct ol_config *cfg,
                         const struct nn_spec *spec, const char *owner,
                         const struct ol_dedup *barred, struct cm_events *events)
{
    struct ol_intake *self;
    struct nn_image_limits limits = nn_image_limits_default;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "intake"));
    self->cfg = cfg;
    self->owner = owner;
    self->events = events;
    self->fetch = TURN;
    self->untidy = true; /* whoever was here before may have been killed amid it */
    self->shape = spec->input;
    limits.max_nbytes = (size_t)cfg->max_image_kib * 1024;
    limits.max_side = (int)cfg->max_image_side;
    CM_GOTO(st, ol_link_open(&self->link, cfg, "flywheel-online"), out);
    CM_GOTO(st, ol_redis_open(&self->captures, cfg, "flywheel-online-captures"), out);
    CM_GOTO(st, ol_resolver_init(&self->resolver, spec, &limits, self->captures, barred), out);
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
    cm_redis_close(&self->captures);
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

cm_status ol_intake_begin(struct ol_intake *in, const struct ol_state *state)
{
    char epoch[CM_UUID_TEXT];
    in->state = state;
    in->letter = 0;
    in->idle = false;
    memcpy(epoch, state->epoch, sizeof epoch);
    return ol_intake_reset(in, epoch, false);
}

void ol_intake_take(struct ol_intake *in, struct ol_batch *out)
{
    *out = in->batch;
    in->batch = (struct ol_batch){0};
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

/* The next entries of one stream; *more: there may be others. Those that the deadline leaves over
 * are asked for again, and fewer at a time. */
static cm_status read_source(struct ol_intake *self, struct source *s, struct cm_deadline deadline,
                             bool *more)
{
    const struct cm_redis_value *v;
    char from[OL_ID_TEXT], count[24];
    size_t want = TURN - self->round.taken, room = room_of(self, s), i = 0;
    want = want < self->fetch ? want : self->fetch;
    want = want < room ? want : room;
    *more = false;
    if (want == 0)
        return CM_OK;
    ol_id_format(from, s->cursor);
    snprintf(count, sizeof count, "%zu", want);
    cm_status st =
        cm_redis_call(self->link.redis, &v, "XREAD", "COUNT", count, "STREAMS", s->key, from, NULL);
    if (ol_facts_is_none(st))
        return CM_OK;
    CM_TRY(st);
    if (v->type == CM_REDIS_NIL)
        return CM_OK;
    if (v->n != 1 || v->element[0].n != 2)
        return CM_FAIL(CM_EFORMAT, "%s: an answer to XREAD that is none", s->key);
    const struct cm_redis_value *entries = &v->element[0].element[1];
    if (entries->n == 0)
        return CM_FAIL(CM_EFORMAT, "%s: an answer to XREAD without entries", s->key);
    do
        CM_TRY(take_entry(self, s, &entries->element[i++]));
    while (i < entries->n && !is_full(self) && !cm_deadline_passed(deadline));
    self->round.taken += i;
    self->round.nread += i;
    bool slow = i < entries->n && !is_full(self);
    self->fetch = slow ? i : self->fetch < TURN / 2 ? 2 * self->fetch : TURN;
    *more = slow || entries->n == want;
    return CM_OK;
}

/* Goes on with the round over all streams; *over: it is complete, or the batch is full. Each batch
 * begins with another stream, so that the last by name is not the last for ever. */
static cm_status read_round(struct ol_intake *self, struct cm_deadline deadline, bool *over)
{
    struct round *round = &self->round;
    *over = false;
    for (; round->at < self->nsources; round->at++, round->taken = 0) {
        size_t first = (size_t)(self->batch.number % (int64_t)self->nsources);
        struct source *s = &self->sources[(first + round->at) % self->nsources];
        bool more = true;
        while (more && round->taken < TURN && !is_full(self)) {
            CM_TRY(read_source(self, s, deadline, &more));
            if (more && cm_deadline_passed(deadline))
                return CM_OK;
        }
        if (is_full(self))
            break;
        if (cm_deadline_passed(deadline)) {
            round->at++;
            round->taken = 0;
            return CM_OK;
        }
    }
    *over = true;
    return CM_OK;
}

/* The streams whose entries the batch may still take, from the next one to wait for on. */
static size_t list_waited(struct ol_intake *self, const struct source *list[WAITED])
{
    size_t n = 0, seen = 0;
    for (; seen < self->nsources && n < WAITED; seen++) {
        const struct source *s = &self->sources[(self->waited + seen) % self->nsources];
        if (room_of(self, s) > 0)
            list[n++] = s;
    }
    self->waited += seen;
    return n;
}

/* Until something comes, for at most poll_ms; the entry itself is read by the next round. */
static cm_status await_entries(struct ol_intake *self)
{
    enum { HEAD = 6 };
    const struct source *list[WAITED];
    const struct cm_redis_value *v;
    const char *argv[HEAD + 2 * WAITED] = {"XREAD", "COUNT", "1", "BLOCK", NULL, "STREAMS"};
    size_t argn[HEAD + 2 * WAITED], n = list_waited(self, list);
    char block[24], from[WAITED][OL_ID_TEXT];
    if (n == 0) {
        cm_sleep_us(self->cfg->poll_ms * 1000);
        return CM_OK;
    }
    snprintf(block, sizeof block, "%lld", (long long)self->cfg->poll_ms);
    argv[4] = block;
    for (size_t i = 0; i < n; i++) {
        ol_id_format(from[i], list[i]->cursor);
        argv[HEAD + i] = list[i]->key;
        argv[HEAD + n + i] = from[i];
    }
    for (size_t i = 0; i < HEAD + 2 * n; i++)
        argn[i] = strlen(argv[i]);
    cm_status st = cm_redis_command(self->link.redis, &v, (int)(HEAD + 2 * n), argv, argn,
                                    (int)self->cfg->poll_ms);
    if (!ol_facts_is_none(st))
        return st;
    cm_sleep_us(self->cfg->poll_ms * 1000); /* one of them is no stream, so none is waited for */
    return CM_OK;
}

/* An operator at its quota may have more to say, but not in this batch. */
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

/* Too few good entries decide nothing (gate.h), so they wait for others. Without any, the dead and
 * the duplicates are accounted for; and who is at its quota can give no more. */
static bool is_enough(const struct ol_intake *self)
{
    size_t good = self->batch.nimages;
    return good == 0 || good >= (size_t)self->cfg->min_entries || is_held_back(self);
}

/* One turn against a Redis that is there. */
static cm_status turn(struct ol_intake *self, bool drain, enum ol_intake_said *said)
{
    int64_t poll_ms = self->cfg->poll_ms;
    bool due = false, over;
    if (self->round.at == 0 && self->round.taken == 0) /* not amid a round: streams may be added */
        CM_TRY(ol_intake_look(self, cm_deadline_in_ms(poll_ms), &due));
    if (due)
        return CM_OK;
    if (self->idle && !drain)
        CM_TRY(await_entries(self));
    CM_TRY(read_round(self, cm_deadline_in_ms(poll_ms), &over));
    bool dry = over && self->round.nread == 0;
    self->idle = dry;
    if (over)
        self->round = (struct round){0};
    if (self->batch.nentries == 0) {
        *said = drain && dry ? OL_INTAKE_DRY : OL_INTAKE_MORE;
        return CM_OK;
    }
    if (self->first_ns == 0)
        self->first_ns = cm_now_ns();
    /* Without a time limit, a batch that quotas keep from filling up would be waited for for ever.
     */
    bool vain = dry && (drain || (self->cfg->max_wait_s <= 0 && is_held_back(self)));
    if (is_full(self) || (is_enough(self) && (is_due(self) || vain))) {
        *said = OL_INTAKE_FULL;
    } else if (drain && dry) {
        *said = OL_INTAKE_DRY;
        cm_log_info("%zu good entries wait for others (online.min_entries %lld)",
                    self->batch.nimages, (long long)self->cfg->min_entries);
    }
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

/* As ol_link_heed, but whoever drains does not wait for ever. */
static cm_status heed(struct ol_intake *self, cm_status fault, bool drain, bool *up)
{
    CM_TRY(ol_link_heed(&self->link, fault, up));
    if (*up)
        return CM_OK;
    self->server_checked = false; /* what answers next may be another */
    self->fetch = 1;              /* if it was the entries' size, the first of them may pass */
    double away = (double)(cm_now_ns() - self->link.down_ns) * 1e-9;
    if (drain && away > self->cfg->drain_wait_s)
        return CM_CONTEXT(fault, "--drain waits no longer than %g s (online.drain_wait_s)",
                          self->cfg->drain_wait_s);
    return CM_OK;
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
    return heed(in, st, drain, &up);
}

/* ---- what is written ---- */

/* Full, not away: what makes room is trimming, which comes after the commit of this very batch. */
static bool wants_trimming(const struct ol_intake *self, cm_status st)
{
    return self->cfg->trim && st == CM_ENOSPC && strstr(cm_error_text(), ": OOM ");
}

cm_status ol_intake_letters(struct ol_intake *in, const struct ol_batch *b, bool drain, bool *done)
{
    bool up;
    *done = false;
    if (rest(in))
        return CM_OK;
    cm_status st = ol_letters_send(&in->letter, b, in->link.redis, in->cfg->keep_letters,
                                   cm_deadline_in_ms(in->cfg->poll_ms));
    in->owed = wants_trimming(in, st);
    if (in->owed) {
        cm_error_report(CM_LOG_WARN, st,
                        "dead letters follow once the batch's entries are trimmed");
        *done = true;
        return CM_OK;
    }
    CM_TRY(heed(in, st, drain, &up));
    *done = in->letter == b->nentries;
    if (*done)
        in->letter = 0;
    return CM_OK;
}

static void send_owed(struct ol_intake *self, const struct ol_batch *b)
{
    struct cm_jw w;
    cm_status st = ol_letters_send(&self->letter, b, self->link.redis, self->cfg->keep_letters,
                                   cm_deadline_in_ms(self->cfg->redis_timeout_ms));
    if (st == CM_OK && self->letter < b->nentries)
        st = CM_FAIL(CM_ETIMEDOUT, "%zu of %zu entries looked at", self->letter, b->nentries);
    self->owed = false;
    self->letter = 0;
    if (st == CM_OK)
        return;
    cm_events_begin(self->events, &w, "letters_unsent");
    cm_jw_i64(&w, "batch", b->number);
    cm_jw_string(&w, "what", cm_error_text());
    cm_events_put(self->events, &w);
    cm_error_report(CM_LOG_WARN, st, "dead letters of this batch are in its log only");
}

void ol_intake_tidy(struct ol_intake *in, const struct ol_state *state, const struct ol_batch *b)
{
    ol_intake_trim(in, state);
    if (in->owed)
        send_owed(in, b);
}
