#include "online/ledger.h"

#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "wire/text.h"

#define COUNT_MAX 9007199254740991 /* the largest integer that JSON readers agree on */

void ol_ledger_release(struct ol_ledger *l)
{
    cm_free(&l->stream);
    l->n = 0;
}

struct ol_stream *ol_ledger_find(const struct ol_ledger *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->stream[i].name, name) == 0)
            return &l->stream[i];
    return NULL;
}

cm_status ol_ledger_add(struct ol_stream **out, struct ol_ledger *l, const char *name)
{
    *out = ol_ledger_find(l, name);
    if (*out)
        return CM_OK;
    CM_TRY(cm_realloc(&l->stream, l->n + 1, sizeof *l->stream, "ledger"));
    size_t at = l->n;
    for (; at > 0 && strcmp(l->stream[at - 1].name, name) > 0; at--)
        l->stream[at] = l->stream[at - 1];
    l->stream[at] = (struct ol_stream){0};
    snprintf(l->stream[at].name, sizeof l->stream[at].name, "%s", name);
    l->n++;
    *out = &l->stream[at];
    return CM_OK;
}

void ol_stream_account(struct ol_stream *s, struct ol_id id, enum ol_fate fate)
{
    s->offset = id;
    s->read++;
    switch (fate) {
    case OL_TRAINED:
        s->count.trained++;
        break;
    case OL_REJECTED:
        s->count.rejected++;
        break;
    case OL_DEAD:
        s->count.dead++;
        break;
    case OL_DUPLICATE:
        s->count.duplicate++;
        break;
    }
}

void ol_stream_restart(struct ol_stream *s)
{
    s->offset = (struct ol_id){0};
    s->read = 0;
}

int64_t ol_count_sum(const struct ol_count *c)
{
    return c->trained + c->rejected + c->dead + c->duplicate;
}

void ol_ledger_write(const struct ol_ledger *l, struct cm_jw *w)
{
    cm_jw_begin(w, "streams", '[');
    for (size_t i = 0; i < l->n; i++) {
        const struct ol_stream *s = &l->stream[i];
        char offset[OL_ID_TEXT];
        ol_id_format(offset, s->offset);
        cm_jw_begin(w, NULL, '{');
        cm_jw_string(w, "operator", s->name);
        cm_jw_string(w, "offset", offset);
        cm_jw_i64(w, "read", s->read);
        cm_jw_i64(w, "trained", s->count.trained);
        cm_jw_i64(w, "rejected", s->count.rejected);
        cm_jw_i64(w, "dead", s->count.dead);
        cm_jw_i64(w, "duplicate", s->count.duplicate);
        cm_jw_end(w);
    }
    cm_jw_end(w);
}

static cm_status read_stream(struct ol_ledger *l, const struct cm_json *v, const char *where)
{
    const char *name, *offset;
    struct ol_stream *s;
    CM_TRY(cm_json_need_string(v, where, "operator", &name));
    if (!wi_text_is_name(name, strlen(name), WI_OPERATOR - 1) || ol_ledger_find(l, name))
        return CM_FAIL(CM_EFORMAT, "%s: 'operator' is no name, or comes twice", where);
    CM_TRY(ol_ledger_add(&s, l, name));
    CM_TRY(cm_json_need_string(v, where, "offset", &offset));
    if (!ol_id_parse(&s->offset, offset, strlen(offset)))
        return CM_FAIL(CM_EFORMAT, "%s: %s: 'offset' is no stream id", where, name);
    CM_TRY(cm_json_need_i64(v, where, "read", 0, COUNT_MAX, &s->read));
    CM_TRY(cm_json_need_i64(v, where, "trained", 0, COUNT_MAX, &s->count.trained));
    CM_TRY(cm_json_need_i64(v, where, "rejected", 0, COUNT_MAX, &s->count.rejected));
    CM_TRY(cm_json_need_i64(v, where, "dead", 0, COUNT_MAX, &s->count.dead));
    CM_TRY(cm_json_need_i64(v, where, "duplicate", 0, COUNT_MAX, &s->count.duplicate));
    if (s->read > ol_count_sum(&s->count))
        return CM_FAIL(CM_EFORMAT, "%s: %s: %lld entries read, %lld accounted for", where, name,
                       (long long)s->read, (long long)ol_count_sum(&s->count));
    return CM_OK;
}

cm_status ol_ledger_read(struct ol_ledger *l, const struct cm_json *object, const char *where)
{
    const struct cm_json *streams;
    *l = (struct ol_ledger){0};
    CM_TRY(cm_json_need(object, where, "streams", CM_JSON_ARRAY, &streams));
    CM_JSON_EACH (v, streams) {
        cm_status st = read_stream(l, v, where);
        if (st != CM_OK) {
            ol_ledger_release(l);
            return st;
        }
    }
    return CM_OK;
}
