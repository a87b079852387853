#include "online/stream_trim.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "online/queue_identity.h"
#include "online/stream_facts.h"

static void tell_skipped(struct cm_events *events, const char *what)
{
    struct cm_jw w;
    cm_log_warn("not trimmed: %s", what);
    cm_events_begin(events, &w, "trim_skipped");
    cm_jw_string(&w, "what", what);
    cm_events_put(events, &w);
}

/* A Redis without room refuses to make a group, which only shows: the streams behind are trimmed.
 */
static cm_status show_lag(struct cm_redis *redis, const char *key, const struct ol_stream *s)
{
    const struct cm_redis_value *v;
    char offset[OL_ID_TEXT], nread[24];
    ol_id_format(offset, s->offset);
    snprintf(nread, sizeof nread, "%lld", (long long)s->read);
    cm_status st = cm_redis_call(redis, &v, "XGROUP", "SETID", key, OL_GROUP, offset, "ENTRIESREAD",
                                 nread, NULL);
    if (st == CM_EINVAL && strstr(cm_error_text(), "NOGROUP"))
        st = cm_redis_call(redis, &v, "XGROUP", "CREATE", key, OL_GROUP, offset, "ENTRIESREAD",
                           nread, NULL);
    return st == CM_ENOSPC ? CM_OK : st;
}

static cm_status trim_stream(struct cm_redis *redis, const struct ol_stream *s, bool trim,
                             struct cm_events *events)
{
    const struct cm_redis_value *v;
    struct ol_facts f;
    char key[WI_KEY], next[OL_ID_TEXT], text[WI_KEY + 64];
    if (!wi_key_feedback(key, s->name) || s->read == 0)
        return CM_OK;
    CM_TRY(ol_facts_get(&f, redis, key));
    if (!ol_facts_goes_on(&f, s)) {
        snprintf(text, sizeof text, "%s is not the stream that was read", key);
        tell_skipped(events, text);
        return CM_OK;
    }
    ol_id_format(next, ol_id_next(s->offset));
    if (trim)
        CM_TRY(cm_redis_call(redis, &v, "XTRIM", key, "MINID", next, NULL));
    return show_lag(redis, key, s);
}

cm_status ol_trim(struct ol_trim *t, struct cm_redis *redis, const char *owner,
                  const struct ol_state *state, bool trim, struct cm_deadline deadline,
                  struct cm_events *events, bool *all)
{
    const struct ol_ledger *l = &state->ledger;
    size_t done = 0;
    bool same;
    *all = true;
    CM_TRY(ol_queue_confirm(&same, redis, owner, state->epoch));
    if (!same) {
        tell_skipped(events, "Redis holds other data than the state, or is another loop's");
        return CM_OK;
    }
    for (; done < l->n && !cm_deadline_passed(deadline); done++) {
        t->next = t->next < l->n ? t->next : 0;
        /* One at fault is not the first of all the next time: the others shall be trimmed, too. */
        CM_TRY(trim_stream(redis, &l->stream[t->next++], trim, events));
    }
    *all = done == l->n;
    return CM_OK;
}
