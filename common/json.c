/* Reading JSON: json_check.c refuses what is malformed, cJSON builds the tree, duplicate keys are
 * refused last. A struct cm_json is a cJSON node under another name; this is the one file that
 * knows. */
#include "common/json.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/file.h"
#include "common/json_check.h"
#include "common/mem.h"
#include "common/version.h"

#define WHERE 512
#define EXACT_DOUBLE                                                                               \
    0x1p53 /* below, a double that looks like an integer is the one that was written */

static const cJSON *node(const struct cm_json *v)
{
    return (const cJSON *)v;
}

static const struct cm_json *value(const cJSON *item)
{
    return (const struct cm_json *)item;
}

static void *hook_alloc(size_t nbytes)
{
    void *p;
    return cm_alloc(&p, nbytes, 1, "a JSON tree") == CM_OK ? p : NULL;
}

static void hook_free(void *p)
{
    cm_free(&p);
}

/* cJSON's allocator is a global of cJSON: set once, before its first use, to ours (so that tests
 * can make it fail). */
static void set_hooks(void)
{
    cJSON_Hooks hooks = {.malloc_fn = hook_alloc, .free_fn = hook_free};
    cJSON_InitHooks(&hooks);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static cm_status refuse_duplicates(const struct cm_json *object, const char *what)
{
    size_t n = cm_json_count(object), i = 0;
    const char **keys;
    CM_TRY(cm_alloc(&keys, n, sizeof *keys, "JSON keys"));
    CM_JSON_EACH (m, object)
        keys[i++] = cm_json_key(m);
    qsort(keys, n, sizeof *keys, compare_keys);
    cm_status st = CM_OK;
    for (i = 1; i < n && st == CM_OK; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0)
            st = CM_FAIL(CM_EFORMAT, "%s: key '%s' appears twice in one object", what, keys[i]);
    }
    cm_free(&keys);
    return st;
}

static cm_status check_keys(const struct cm_json *v, const char *what)
{
    if (cm_json_type(v) == CM_JSON_OBJECT)
        CM_TRY(refuse_duplicates(v, what));
    CM_JSON_EACH (m, v)
        CM_TRY(check_keys(m, what));
    return CM_OK;
}

cm_status cm_json_parse(struct cm_json **out, const char *text, size_t n, const char *what)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *out = NULL;
    (void)pthread_once(&once, set_hooks);
    CM_TRY(cm_json_check(text, n, what));
    const char *end;
    struct cm_json *root = (struct cm_json *)cJSON_ParseWithLengthOpts(text, n, &end, 0);
    if (!root) /* the text is well-formed: nothing else can have failed */
        return CM_FAIL(CM_ENOMEM, "%s: no memory for its JSON tree", what);
    cm_status st = check_keys(root, what);
    if (st != CM_OK)
        cm_json_close(&root);
    *out = root;
    return st;
}

cm_status cm_json_parse_file(struct cm_json **out, const char *path, size_t max_nbytes)
{
    char *text;
    size_t n;
    *out = NULL;
    CM_TRY(cm_file_read(&text, &n, path, max_nbytes));
    cm_status st = cm_json_parse(out, text, n, path);
    cm_free(&text);
    return st;
}

void cm_json_close(struct cm_json **root)
{
    cJSON_Delete((cJSON *)*root);
    *root = NULL;
}

enum cm_json_type cm_json_type(const struct cm_json *v)
{
    const cJSON *item = node(v);
    if (cJSON_IsObject(item))
        return CM_JSON_OBJECT;
    if (cJSON_IsArray(item))
        return CM_JSON_ARRAY;
    if (cJSON_IsString(item))
        return CM_JSON_STRING;
    if (cJSON_IsNumber(item))
        return CM_JSON_NUMBER;
    return cJSON_IsBool(item) ? CM_JSON_BOOL : CM_JSON_NULL;
}

static const char *type_name(enum cm_json_type type)
{
    switch (type) {
    case CM_JSON_NULL:
        return "null";
    case CM_JSON_BOOL:
        return "true or false";
    case CM_JSON_NUMBER:
        return "a number";
    case CM_JSON_STRING:
        return "a string";
    case CM_JSON_ARRAY:
        return "an array";
    case CM_JSON_OBJECT:
        return "an object";
    }
    return "nothing";
}

const char *cm_json_type_name(const struct cm_json *v)
{
    return type_name(cm_json_type(v));
}

const char *cm_json_key(const struct cm_json *member)
{
    return node(member)->string;
}

size_t cm_json_count(const struct cm_json *v)
{
    size_t n = 0;
    CM_JSON_EACH (m, v)
        n++;
    return n;
}

const struct cm_json *cm_json_first(const struct cm_json *v)
{
    return v ? value(node(v)->child) : NULL; /* only containers have children */
}

const struct cm_json *cm_json_next(const struct cm_json *member)
{
    return value(node(member)->next);
}

const struct cm_json *cm_json_get(const struct cm_json *object, const char *key)
{
    return value(cJSON_GetObjectItemCaseSensitive(node(object), key));
}

cm_status cm_json_as_bool(const struct cm_json *v, const char *where, bool *out)
{
    if (cm_json_type(v) != CM_JSON_BOOL)
        return CM_FAIL(CM_EFORMAT, "%s must be true or false, not %s", where, cm_json_type_name(v));
    *out = cJSON_IsTrue(node(v));
    return CM_OK;
}

cm_status cm_json_as_i64(const struct cm_json *v, const char *where, int64_t lo, int64_t hi,
                         int64_t *out)
{
    if (cm_json_type(v) != CM_JSON_NUMBER)
        return CM_FAIL(CM_EFORMAT, "%s must be an integer, not %s", where, cm_json_type_name(v));
    double d = node(v)->valuedouble; /* never valueint: it saturates at INT_MAX */
    if (d != trunc(d))
        return CM_FAIL(CM_EFORMAT, "%s must be an integer, not %.15g", where, d);
    if (fabs(d) >= EXACT_DOUBLE || (int64_t)d < lo || (int64_t)d > hi)
        return CM_FAIL(CM_EFORMAT,
                       "%s must be an integer from %" PRId64 " to %" PRId64 ", not %.15g", where,
                       lo, hi, d);
    *out = (int64_t)d;
    return CM_OK;
}

cm_status cm_json_as_f64(const struct cm_json *v, const char *where, double *out)
{
    if (cm_json_type(v) != CM_JSON_NUMBER)
        return CM_FAIL(CM_EFORMAT, "%s must be a number, not %s", where, cm_json_type_name(v));
    *out = node(v)->valuedouble;
    return CM_OK;
}

cm_status cm_json_as_string(const struct cm_json *v, const char *where, const char **out)
{
    if (cm_json_type(v) != CM_JSON_STRING)
        return CM_FAIL(CM_EFORMAT, "%s must be a string, not %s", where, cm_json_type_name(v));
    *out = node(v)->valuestring;
    return CM_OK;
}

/* The member, and "where: 'key'" for messages about it. */
static cm_status find(const struct cm_json *object, const char *where, const char *key,
                      const struct cm_json **out, char member_where[WHERE])
{
    if (cm_json_type(object) != CM_JSON_OBJECT)
        return CM_FAIL(CM_EFORMAT, "%s must be an object, not %s", where,
                       cm_json_type_name(object));
    *out = cm_json_get(object, key);
    if (!*out)
        return CM_FAIL(CM_EFORMAT, "%s: '%s' is missing", where, key);
    snprintf(member_where, WHERE, "%s: '%s'", where, key);
    return CM_OK;
}

cm_status cm_json_need(const struct cm_json *object, const char *where, const char *key,
                       enum cm_json_type type, const struct cm_json **out)
{
    char member_where[WHERE];
    const struct cm_json *v = NULL;
    CM_TRY(find(object, where, key, &v, member_where));
    if (cm_json_type(v) != type)
        return CM_FAIL(CM_EFORMAT, "%s must be %s, not %s", member_where, type_name(type),
                       cm_json_type_name(v));
    *out = v;
    return CM_OK;
}

cm_status cm_json_need_i64(const struct cm_json *object, const char *where, const char *key,
                           int64_t lo, int64_t hi, int64_t *out)
{
    char member_where[WHERE];
    const struct cm_json *v = NULL;
    CM_TRY(find(object, where, key, &v, member_where));
    return cm_json_as_i64(v, member_where, lo, hi, out);
}

cm_status cm_json_need_f64(const struct cm_json *object, const char *where, const char *key,
                           double *out)
{
    char member_where[WHERE];
    const struct cm_json *v = NULL;
    CM_TRY(find(object, where, key, &v, member_where));
    return cm_json_as_f64(v, member_where, out);
}

cm_status cm_json_need_string(const struct cm_json *object, const char *where, const char *key,
                              const char **out)
{
    char member_where[WHERE];
    const struct cm_json *v = NULL;
    CM_TRY(find(object, where, key, &v, member_where));
    return cm_json_as_string(v, member_where, out);
}

cm_status cm_json_need_format(const struct cm_json *object, const char *where, int major,
                              int *minor)
{
    const char *format;
    int theirs, ignored;
    CM_TRY(cm_json_need_string(object, where, "format", &format));
    if (!cm_format_parse(&theirs, minor ? minor : &ignored, format, strlen(format)))
        return CM_FAIL(CM_EFORMAT, "%s: format '%s' is not MAJOR.MINOR", where, format);
    if (theirs != major)
        return CM_FAIL(CM_EVERSION, "%s: format %s, this program reads %d.x", where, format, major);
    return CM_OK;
}
