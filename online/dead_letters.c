#include "online/dead_letters.h"

#include <stdio.h>

#include "wire/keys.h"

static cm_status send_letter(const struct ol_batch *b, const struct ol_entry *e,
                             struct cm_redis *redis, int64_t most)
{
    const struct cm_redis_value *v;
    char key[WI_KEY], source[WI_KEY + OL_ID_TEXT], id[OL_ID_TEXT];
    char limit[24], batch[24], time[CM_UTC_TEXT];
    const char *name = b->operators[e->operator_index];
    if (!wi_key_feedback(key, name))
        return CM_FAIL(CM_EINTERNAL, "'%s' is no operator", name);
    ol_id_format(id, e->id);
    snprintf(source, sizeof source, "%s/%s", key, id);
    snprintf(limit, sizeof limit, "%lld", (long long)most);
    snprintf(batch, sizeof batch, "%lld", (long long)b->number);
    cm_utc_format(time, cm_utc_now());
    return cm_redis_call(redis, &v, "XADD", WI_KEY_DLQ, "MAXLEN", "~", limit, "*", "source", source,
                         "operator", name, "entry", id, "reason", e->reason ? e->reason : "",
                         "batch", batch, "time", time, NULL);
}

cm_status ol_letters_send(size_t *next, const struct ol_batch *b, struct cm_redis *redis,
                          int64_t most, struct cm_deadline deadline)
{
    for (; *next < b->nentries; ++*next) {
        const struct ol_entry *e = &b->entries[*next];
        if (e->fate != OL_DEAD)
            continue;
        if (cm_deadline_passed(deadline))
            return CM_OK;
        CM_TRY(send_letter(b, e, redis, most));
    }
    return CM_OK;
}
