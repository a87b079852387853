/* Before reading: is it the Redis that the state speaks of, did a stream lose what was not read,
 * which streams are there, and is there something left to trim? */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "online/intake_private.h"
#include "online/queue_identity.h"
#include "wire/feedback.h"

#define CHEAP 30 /* looks between two thorough ones */

/* ---- sources ---- */

static cm_status add_source(void *ctx, const char *name)
{
    struct ol_intake *self = ctx;
    size_t at = self->nsources;
    int32_t index;
    for (size_t i = 0; i < self->nsources; i++)
        if (strcmp(self->sources[i].name, name) == 0)
            return CM_OK;
    if (self->nsources >= OL_LEDGER_STREAMS) {
        if (!self->streams_told)
            cm_log_error("%d streams are read and no more: '%s' and others wait; remove operators' "
                         "streams that are not used any more",
                         OL_LEDGER_STREAMS, name);
        self->streams_told = true;
        return CM_OK;
    }
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

cm_status ol_intake_reset(struct ol_intake *self, const char *epoch, bool from_start)
{
    const struct ol_ledger *ledger = &self->state->ledger;
    ol_batch_release(&self->batch);
    self->batch.number = self->state->batch + 1;
    self->batch.shape = self->shape;
    snprintf(self->batch.epoch, sizeof self->batch.epoch, "%s", epoch);
    self->nsources = 0;
    ol_dedup_clear(&self->in_batch);
    self->first_ns = 0;
    self->look = (struct look){0};
    self->round = (struct round){0};
    /* One of which nothing is accounted for is found like a new one, if it is still there. */
    for (size_t i = 0; i < ledger->n; i++)
        if (ol_id_compare(ledger->stream[i].offset, (struct ol_id){0}) != 0)
            CM_TRY(add_source(self, ledger->stream[i].name));
    for (size_t i = 0; i < self->nsources && from_start; i++) {
        self->sources[i].cursor = (struct ol_id){0};
        self->batch.after[i] = (struct ol_id){0}; /* sources and operators are in one order here */
    }
    return CM_OK;
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
    char epoch[CM_UUID_TEXT], text[160];
    CM_TRY(ol_queue_epoch(epoch, self->link.redis));
    if (strcmp(epoch, self->batch.epoch) == 0)
        return CM_OK;
    bool first = self->batch.epoch[0] == '\0';
    if (!first) {
        snprintf(text, sizeof text, WI_KEY_EPOCH " was %s, is %s", self->batch.epoch, epoch);
        tell_loss(self, text);
    }
    return ol_intake_reset(self, epoch, !first);
}

/* A stream that was deleted, or that went back in time with the rest of Redis. */
static cm_status check_stream(struct ol_intake *self, const struct ol_stream *known)
{
    struct ol_facts f;
    char text[256], key[WI_KEY], was[OL_ID_TEXT], is[OL_ID_TEXT];
    int32_t i;
    bool stands = false;
    if (ol_id_compare(known->offset, (struct ol_id){0}) == 0)
        return CM_OK;
    CM_TRY(ol_batch_operator(&i, &self->batch, known->name, known->offset));
    bool from_start = ol_id_compare(self->batch.after[i], (struct ol_id){0}) == 0;
    if (from_start || !wi_key_feedback(key, known->name))
        return CM_OK;
    if (!self->look.thorough)
        CM_TRY(ol_facts_group_stands(&stands, self->link.redis, key, known));
    if (stands)
        return CM_OK;
    CM_TRY(ol_facts_get(&f, self->link.redis, key));
    if (ol_facts_goes_on(&f, known)) {
        self->look.lost += ol_facts_lost(&f, known);
        return CM_OK;
    }
    ol_id_format(was, known->offset);
    ol_id_format(is, f.last);
    snprintf(text, sizeof text, "%s had entries up to %s (%lld read), now up to %s (%lld added)",
             key, was, (long long)known->read, is, (long long)f.added);
    tell_loss(self, text);
    char epoch[CM_UUID_TEXT];
    memcpy(epoch, self->batch.epoch, sizeof epoch);
    return ol_intake_reset(self, epoch, true);
}

/* Somebody else trimmed or deleted what was not read: no fault of Redis, and nothing to read. */
static void tell_lost_entries(struct ol_intake *self)
{
    struct cm_jw w;
    if (self->look.lost > self->lost_told) {
        cm_log_error("%lld entries were removed from Redis by another before they were read "
                     "('flywheel feedback stats' tells of which operators)",
                     (long long)self->look.lost);
        cm_events_begin(self->events, &w, "entries_lost");
        cm_jw_i64(&w, "entries", self->look.lost);
        cm_events_put(self->events, &w);
    }
    self->lost_told = self->look.lost;
}

bool ol_intake_trim(struct ol_intake *self, const struct ol_state *state)
{
    struct cm_jw w;
    bool all;
    cm_status st = ol_trim(&self->trim, self->link.redis, self->owner, state, self->cfg->trim,
                           cm_deadline_in_ms(self->cfg->redis_timeout_ms), self->events, &all);
    self->untidy = st != CM_OK || !all;
    if (st == CM_OK)
        return true;
    cm_events_begin(self->events, &w, "trim_failed");
    cm_jw_string(&w, "what", cm_error_text());
    cm_events_put(self->events, &w);
    cm_error_report(CM_LOG_WARN, st, "not trimmed; it is tried again");
    return false;
}

/* Trimming that was cut off: a Redis full of what is accounted for takes no entry, and without one
 * there is no next batch to trim after. A fault is told once a batch. */
static void trim_late(struct ol_intake *self)
{
    bool ours = self->state->batch > 0 && strcmp(self->state->epoch, self->batch.epoch) == 0;
    if (!self->untidy)
        return;
    if (!ours || !ol_intake_trim(self, self->state))
        self->untidy = false;
}

static cm_status begin_look(struct ol_intake *self)
{
    bool other = !self->server_checked; /* what answers may be another */
    if (other)
        CM_TRY(ol_queue_check_server(self->link.redis));
    CM_TRY(ol_queue_claim(self->link.redis, self->owner));
    CM_TRY(check_epoch(self));
    struct look *look = &self->look;
    look->thorough = other || look->done_ns == 0 || look->cheap >= CHEAP;
    look->cheap = look->thorough ? 0 : look->cheap + 1;
    if (look->thorough)
        snprintf(look->cursor, sizeof look->cursor, "0");
    look->under_way = true;
    self->server_checked = true;
    look->next = 0;
    look->lost = 0;
    return CM_OK;
}

cm_status ol_intake_look(struct ol_intake *self, struct cm_deadline deadline, bool *due)
{
    struct look *look = &self->look;
    const struct ol_ledger *ledger = &self->state->ledger;
    int64_t now = cm_now_ns();
    *due = false;
    if (look->done_ns && now - look->done_ns < self->cfg->scan_ms * 1000000)
        return CM_OK;
    *due = true;
    if (!look->under_way)
        CM_TRY(begin_look(self));
    while (look->next < ledger->n) {
        CM_TRY(check_stream(self, &ledger->stream[look->next]));
        if (!look->under_way) /* it went back in time: everything is looked at again */
            return CM_OK;
        look->next++;
        if (cm_deadline_passed(deadline))
            return CM_OK;
    }
    do {
        CM_TRY(ol_facts_page(look->cursor, self->link.redis, add_source, self));
        if (look->thorough && cm_deadline_passed(deadline) && strcmp(look->cursor, "0") != 0)
            return CM_OK;
    } while (look->thorough && strcmp(look->cursor, "0") != 0);
    if (look->thorough)
        tell_lost_entries(self);
    trim_late(self);
    look->under_way = false;
    look->done_ns = now;
    *due = false;
    return CM_OK;
}
