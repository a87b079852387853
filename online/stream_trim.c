#include "online/stream_trim.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "online/queue_identity.h"
#include "online/stream_facts.h"

#define GROUP "online"

static void tell_skipped(struct cm_events *events, const char *what)
{
    struct cm_jw w;
    cm_log_warn("not trimmed: %s", what);
    cm_events_begin(events, &w, "trim_skipped");
    cm_jw_string(&w, "what", what);
    cm_events_put(events, &w);
}

static cm_status trim_stream(struct cm_redis *redis, const struct ol_stream *s, bool trim,
                             struct cm_events *events)
{
    const struct cm_redis_value *v;
    struct ol_facts f;
    char key[WI_KEY], offset[OL_ID_TEXT], next[OL_ID_TEXT], nread[24], text[WI_KEY + 64];
    if (!wi_key_feedback(key, s->name) || s->read == 0)
        return CM_OK;
    CM_TRY(ol_facts_get(&f, redis, key));
    if (!ol_facts_goes_on(&f, s)) {
        snprintf(text, sizeof text, "%s is not the stream that was read", key);
        tell_skipped(events, text);
        return CM_OK;
    }
    ol_id_format(offset, s->offset);
    ol_id_format(next, ol_id_next(s->offset));
    snprintf(nread, sizeof nread, "%lld", (long long)s->read);
    cm_status st = cm_redis_call(redis, &v, "XGROUP", "CREATE", key, GROUP, offset, NULL);
    if (st != CM_OK && !(st == CM_EINVAL && strstr(cm_error_text(), "BUSYGROUP")))
        return st;
    CM_TRY(cm_redis_call(redis, &v, "XGROUP", "SETID", key, GROUP, offset, "ENTRIESREAD", nread,
                         NULL));
    return trim ? cm_redis_call(redis, &v, "XTRIM", key, "MINID", next, NULL) : CM_OK;
}

cm_status ol_trim(struct ol_trim *t, struct cm_redis *redis, const char *owner,
                  const struct ol_state *state, bool trim, struct cm_deadline deadline,
                  struct cm_events *events)
{
    const struct ol_ledger *l = &state->ledger;
    bool same;
    CM_TRY(ol_queue_confirm(&same, redis, owner, state->epoch));
    if (!same) {
        tell_skipped(events, "Redis holds other data than the state, or is another loop's");
        return CM_OK;
    }
    for (size_t i = 0; i < l->n && !cm_deadline_passed(deadline); i++) {
        t->next = t->next < l->n ? t->next : 0;
        CM_TRY(trim_stream(redis, &l->stream[t->next], trim, events));
        t->next++;
    }
    return CM_OK;
}
