/* Writing JSON into a growing text. A fault (no memory, a misuse) is kept in w->st; later calls do
 * nothing, and cm_jw_take tells it. */
#include "common/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json_check.h"
#include "common/mem.h"
#include "common/utf8.h"

/* Room for n bytes and a NUL. */
static bool reserve(struct cm_jw *w, size_t n)
{
    if (w->st != CM_OK)
        return false;
    if (w->n + n < w->capacity)
        return true;
    size_t capacity = 2 * w->capacity + n + 256;
    w->st = cm_realloc(&w->text, capacity, 1, "a JSON text");
    if (w->st != CM_OK)
        return false;
    w->capacity = capacity;
    return true;
}

static void put(struct cm_jw *w, const char *text, size_t n)
{
    if (!reserve(w, n))
        return;
    memcpy(w->text + w->n, text, n);
    w->n += n;
    w->text[w->n] = '\0';
}

static void put_text(struct cm_jw *w, const char *text)
{
    put(w, text, strlen(text));
}

static void put_newline(struct cm_jw *w)
{
    if (w->indent == 0)
        return;
    put(w, "\n", 1);
    for (int i = 0; i < w->indent * w->depth; i++)
        put(w, " ", 1);
}

/* What RFC 8259 wants escaped and what a terminal would obey, and U+FFFD for bytes that are no
 * UTF-8 (a file name may hold any): what is written can always be read. */
static void put_string(struct cm_jw *w, const char *s)
{
    size_t n = strlen(s);
    put(w, "\"", 1);
    while (n > 0) {
        size_t length = cm_utf8_length(s, n);
        char c = *s;
        char escape[8];
        if (length == 0) {
            put_text(w, "\xef\xbf\xbd");
            length = 1;
        } else if (c == '"' || c == '\\') {
            put(w, (char[]){'\\', c}, 2);
        } else if (c == '\n') {
            put_text(w, "\\n");
        } else if (cm_utf8_is_control(s, length)) { /* U+0080 and more end in their number */
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)s[length - 1]);
            put_text(w, escape);
        } else {
            put(w, s, length);
        }
        s += length;
        n -= length;
    }
    put(w, "\"", 1);
}

static uint32_t level_bit(const struct cm_jw *w)
{
    return UINT32_C(1) << (unsigned)(w->depth - 1) % CM_JSON_DEPTH;
}

/* The comma, newline and key that stand before an item. */
static void put_lead(struct cm_jw *w, const char *key)
{
    bool keyed = w->depth > 0 && !(w->arrays & level_bit(w));
    if (w->st == CM_OK && keyed != (key != NULL))
        w->st = CM_FAIL(CM_EINTERNAL, "JSON writer: %s", keyed ? "a member without a key" : key);
    if (w->st == CM_OK && w->depth == 0 && w->n > 0)
        w->st = CM_FAIL(CM_EINTERNAL, "JSON writer: a second value at the top");
    if (w->depth > 0) {
        if (w->has_items & level_bit(w))
            put(w, ",", 1);
        w->has_items |= level_bit(w);
        put_newline(w);
    }
    if (key) {
        put_string(w, key);
        put_text(w, w->indent ? ": " : ":");
    }
}

void cm_jw_begin(struct cm_jw *w, const char *key, char kind)
{
    put_lead(w, key);
    if (w->st == CM_OK && w->depth == CM_JSON_DEPTH)
        w->st = CM_FAIL(CM_EINTERNAL, "JSON writer: more than %d levels", CM_JSON_DEPTH);
    put(w, &kind, 1);
    if (w->st != CM_OK)
        return; /* depth stays in step with what was written; cm_jw_end does nothing either */
    w->depth++;
    w->has_items &= ~level_bit(w);
    w->arrays = kind == '[' ? w->arrays | level_bit(w) : w->arrays & ~level_bit(w);
}

void cm_jw_end(struct cm_jw *w)
{
    if (w->st == CM_OK && w->depth == 0)
        w->st = CM_FAIL(CM_EINTERNAL, "JSON writer: nothing to end");
    if (w->st != CM_OK)
        return;
    bool array = w->arrays & level_bit(w), items = w->has_items & level_bit(w);
    w->depth--;
    if (items)
        put_newline(w);
    put(w, array ? "]" : "}", 1);
}

void cm_jw_bool(struct cm_jw *w, const char *key, bool v)
{
    put_lead(w, key);
    put_text(w, v ? "true" : "false");
}

void cm_jw_i64(struct cm_jw *w, const char *key, int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, v);
    put_lead(w, key);
    put_text(w, text);
}

void cm_jw_u64(struct cm_jw *w, const char *key, uint64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, v);
    put_lead(w, key);
    put_text(w, text);
}

/* The fewest that give v again: 15 always survive decimal, double, decimal; 17 double, decimal,
 * double. */
static int digits_of(double v)
{
    char text[CM_F64_TEXT];
    int digits = 15;
    while (digits < 17) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
        digits++;
    }
    return digits;
}

void cm_f64_format(char text[CM_F64_TEXT], double v)
{
    snprintf(text, CM_F64_TEXT, "%.*g", digits_of(v), v);
}

void cm_jw_f64(struct cm_jw *w, const char *key, double v)
{
    char text[CM_F64_TEXT];
    put_lead(w, key);
    if (!isfinite(v)) {
        put_text(w, "null");
        return;
    }
    cm_f64_format(text, v);
    put_text(w, text);
    if (fabs(v) >= 0x1p53 && !strpbrk(text, ".e"))
        put_text(w, ".0"); /* the reader refuses integers of 2^53 or more, and this is not meant to
                              be one */
}

void cm_jw_string(struct cm_jw *w, const char *key, const char *v)
{
    put_lead(w, key);
    if (v)
        put_string(w, v);
    else
        put_text(w, "null");
}

static void write_number(struct cm_jw *w, const char *key, const struct cm_json *v)
{
    double d = 0;
    if (cm_json_as_f64(v, "a number", &d) != CM_OK)
        w->st = CM_EINTERNAL;
    else if (d == trunc(d) && fabs(d) < 0x1p53)
        cm_jw_i64(w, key, (int64_t)d);
    else
        cm_jw_f64(w, key, d);
}

void cm_jw_value(struct cm_jw *w, const char *key, const struct cm_json *v)
{
    const char *string = NULL;
    bool flag = false;
    switch (cm_json_type(v)) {
    case CM_JSON_NULL:
        cm_jw_string(w, key, NULL);
        return;
    case CM_JSON_BOOL:
        w->st = w->st != CM_OK ? w->st : cm_json_as_bool(v, "a flag", &flag);
        cm_jw_bool(w, key, flag);
        return;
    case CM_JSON_NUMBER:
        write_number(w, key, v);
        return;
    case CM_JSON_STRING:
        w->st = w->st != CM_OK ? w->st : cm_json_as_string(v, "a string", &string);
        cm_jw_string(w, key, string);
        return;
    case CM_JSON_ARRAY:
    case CM_JSON_OBJECT:
        cm_jw_begin(w, key, cm_json_type(v) == CM_JSON_ARRAY ? '[' : '{');
        CM_JSON_EACH (m, v)
            cm_jw_value(w, cm_json_key(m), m);
        cm_jw_end(w);
        return;
    }
}

cm_status cm_jw_take(struct cm_jw *w, char **text, size_t *n)
{
    *text = NULL;
    *n = 0;
    cm_status st = w->st;
    if (st == CM_OK && (w->depth != 0 || w->n == 0))
        st = CM_FAIL(CM_EINTERNAL, "JSON writer: taken with %d open levels", w->depth);
    if (st == CM_OK) {
        *text = w->text;
        *n = w->n;
        w->text = NULL;
    }
    cm_jw_release(w);
    return st;
}

cm_status cm_jw_print(struct cm_jw *w)
{
    char *text;
    size_t n;
    CM_TRY(cm_jw_take(w, &text, &n));
    bool written = puts(text) != EOF && fflush(stdout) == 0;
    cm_status st = written ? CM_OK : CM_FAIL_ERRNO("standard output");
    cm_free(&text);
    return st;
}

void cm_jw_release(struct cm_jw *w)
{
    cm_free(&w->text);
    *w = (struct cm_jw){.indent = w->indent};
}
