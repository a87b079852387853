#include "online/stream_facts.h"

#include <stdio.h>
#include <string.h>

#define SCAN_COUNT "1000" /* keys that one answer looks at */

/* The value of a field of a reply that lists names and values; NULL: there is none. */
static const struct cm_redis_value *field(const struct cm_redis_value *list, const char *name)
{
    for (size_t i = 0; i + 1 < list->n; i += 2)
        if (list->element[i].type == CM_REDIS_STRING && strcmp(list->element[i].string, name) == 0)
            return &list->element[i + 1];
    return NULL;
}

bool ol_facts_is_none(cm_status st)
{
    return st == CM_EINVAL &&
           (strstr(cm_error_text(), "no such key") || strstr(cm_error_text(), ": WRONGTYPE "));
}

cm_status ol_facts_get(struct ol_facts *f, struct cm_redis *redis, const char *key)
{
    const struct cm_redis_value *v;
    *f = (struct ol_facts){0};
    cm_status st = cm_redis_call(redis, &v, "XINFO", "STREAM", key, NULL);
    if (ol_facts_is_none(st))
        return CM_OK;
    CM_TRY(st);
    const struct cm_redis_value *length = field(v, "length"), *added = field(v, "entries-added"),
                                *last = field(v, "last-generated-id");
    if (!length || !added || !last || last->type != CM_REDIS_STRING ||
        !ol_id_parse(&f->last, last->string, last->n))
        return CM_FAIL(CM_EFORMAT, "%s: Redis tells no length, no count or no last id of it", key);
    f->there = true;
    f->length = length->integer;
    f->added = added->integer;
    return CM_OK;
}

cm_status ol_facts_group_stands(bool *stands, struct cm_redis *redis, const char *key,
                                const struct ol_stream *s)
{
    const struct cm_redis_value *v;
    *stands = false;
    cm_status st = cm_redis_call(redis, &v, "XINFO", "GROUPS", key, NULL);
    if (ol_facts_is_none(st))
        return CM_OK;
    CM_TRY(st);
    for (size_t i = 0; i < v->n; i++) {
        const struct cm_redis_value *name = field(&v->element[i], "name");
        const struct cm_redis_value *last = field(&v->element[i], "last-delivered-id");
        struct ol_id id;
        if (name && name->type == CM_REDIS_STRING && strcmp(name->string, OL_GROUP) == 0 && last &&
            last->type == CM_REDIS_STRING && ol_id_parse(&id, last->string, last->n))
            *stands = ol_id_compare(id, s->offset) == 0;
    }
    return CM_OK;
}

bool ol_facts_goes_on(const struct ol_facts *f, const struct ol_stream *s)
{
    return f->there && ol_id_compare(f->last, s->offset) >= 0 && f->added >= s->read;
}

int64_t ol_facts_lost(const struct ol_facts *f, const struct ol_stream *s)
{
    int64_t gone = f->added - f->length - ol_count_sum(&s->count);
    return gone > 0 ? gone : 0;
}

cm_status ol_facts_page(char cursor[OL_CURSOR], struct cm_redis *redis, ol_facts_found *found,
                        void *ctx)
{
    const struct cm_redis_value *v;
    CM_TRY(cm_redis_call(redis, &v, "SCAN", cursor, "MATCH", WI_KEY_FEEDBACK_GLOB, "COUNT",
                         SCAN_COUNT, "TYPE", "stream", NULL));
    if (v->n != 2 || v->element[0].type != CM_REDIS_STRING || v->element[0].n >= OL_CURSOR)
        return CM_FAIL(CM_EFORMAT, "an answer to SCAN that is none");
    snprintf(cursor, OL_CURSOR, "%s", v->element[0].string);
    for (size_t i = 0; i < v->element[1].n; i++) {
        const struct cm_redis_value *key = &v->element[1].element[i];
        char name[WI_OPERATOR];
        if (wi_key_operator(name, key->string, key->n))
            CM_TRY(found(ctx, name));
    }
    return CM_OK;
}

cm_status ol_facts_operators(struct cm_redis *redis, ol_facts_found *found, void *ctx)
{
    char cursor[OL_CURSOR] = "0";
    do
        CM_TRY(ol_facts_page(cursor, redis, found, ctx));
    while (strcmp(cursor, "0") != 0);
    return CM_OK;
}
