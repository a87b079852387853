/* JSON: strict reading with errors that name file and path, and writing that is exact for 64-bit
 * integers. Reading refuses duplicate keys, a NUL in a string, bad UTF-8, nesting past 32 levels,
 * trailing bytes, and integers of 2^53 or more, which a double may not hold. Keys are
 * case-sensitive. */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct cm_json; /* a value; read-only, so any thread; owned by the root that cm_json_parse gave */

enum cm_json_type {
    CM_JSON_NULL,
    CM_JSON_BOOL,
    CM_JSON_NUMBER,
    CM_JSON_STRING,
    CM_JSON_ARRAY,
    CM_JSON_OBJECT
};

/* what names the source in messages: a path, "request body". */
CM_MUST_CHECK cm_status cm_json_parse(struct cm_json **out, const char *text, size_t n,
                                      const char *what);
CM_MUST_CHECK cm_status cm_json_parse_file(struct cm_json **out, const char *path,
                                           size_t max_nbytes);
void cm_json_close(struct cm_json **root); /* roots only; NULL is fine */

enum cm_json_type cm_json_type(const struct cm_json *v);
const char *cm_json_type_name(const struct cm_json *v); /* "a number", "an object" */
const char *cm_json_key(const struct cm_json *member);  /* NULL outside an object */
size_t cm_json_count(const struct cm_json *v);          /* members or elements; 0 otherwise */
const struct cm_json *
cm_json_first(const struct cm_json *v); /* NULL when empty, no container or NULL */
const struct cm_json *cm_json_next(const struct cm_json *member);
#define CM_JSON_EACH(m, container)                                                                 \
    for (const struct cm_json *m = cm_json_first(container); m; m = cm_json_next(m))

/* The member of an object, NULL when absent. */
const struct cm_json *cm_json_get(const struct cm_json *object, const char *key);

/* The value itself. Wrong type, a fraction or a number out of [lo, hi]: CM_EFORMAT, "node 3: 'pad'
 * must be …". where says what is read: "model.json: node 3". Strings live as long as the root. */
CM_MUST_CHECK cm_status cm_json_as_bool(const struct cm_json *v, const char *where, bool *out);
CM_MUST_CHECK cm_status cm_json_as_i64(const struct cm_json *v, const char *where, int64_t lo,
                                       int64_t hi, int64_t *out);
CM_MUST_CHECK cm_status cm_json_as_f64(const struct cm_json *v, const char *where, double *out);
CM_MUST_CHECK cm_status cm_json_as_string(const struct cm_json *v, const char *where,
                                          const char **out);

/* A required member of an object. CM_EFORMAT "where: 'key' is missing". */
CM_MUST_CHECK cm_status cm_json_need(const struct cm_json *object, const char *where,
                                     const char *key, enum cm_json_type type,
                                     const struct cm_json **out);
CM_MUST_CHECK cm_status cm_json_need_i64(const struct cm_json *object, const char *where,
                                         const char *key, int64_t lo, int64_t hi, int64_t *out);
CM_MUST_CHECK cm_status cm_json_need_f64(const struct cm_json *object, const char *where,
                                         const char *key, double *out);
CM_MUST_CHECK cm_status cm_json_need_string(const struct cm_json *object, const char *where,
                                            const char *key, const char **out);
/* Member "format" of a file that this program reads as major.x: CM_EFORMAT, or CM_EVERSION naming
 * both. minor (may be NULL) gets the file's. */
CM_MUST_CHECK cm_status cm_json_need_format(const struct cm_json *object, const char *where,
                                            int major, int *minor);

/* A text being built; grows; a failure to grow is kept and told by cm_jw_take. One thread at a
 * time.
 *
 *   struct cm_jw w = {0};
 *   cm_jw_begin(&w, NULL, '{');
 *   cm_jw_i64(&w, "step", 3);
 *   cm_jw_end(&w);
 *   CM_TRY(cm_jw_take(&w, &text, &n)); */
struct cm_jw {
    char *text; /* owned */
    size_t n, capacity;
    int depth;
    uint32_t has_items; /* a bit per level */
    int indent;         /* spaces per level; 0: one line */
    uint32_t arrays;    /* a bit per level: '[' */
    cm_status st;
};
/* key is NULL inside arrays and at the top. kind is '{' or '['. */
void cm_jw_begin(struct cm_jw *w, const char *key, char kind);
void cm_jw_end(struct cm_jw *w);
void cm_jw_bool(struct cm_jw *w, const char *key, bool v);
void cm_jw_i64(struct cm_jw *w, const char *key, int64_t v);
void cm_jw_u64(struct cm_jw *w, const char *key, uint64_t v);
/* The shortest text that reads back; NaN and Inf are written as null. */
void cm_jw_f64(struct cm_jw *w, const char *key, double v);
/* NULL is written as null, bytes that are no UTF-8 as U+FFFD. */
void cm_jw_string(struct cm_jw *w, const char *key, const char *v);
/* A copy of a parsed value. */
void cm_jw_value(struct cm_jw *w, const char *key, const struct cm_json *v);

#define CM_F64_TEXT 32
/* The shortest of 15, 16 or 17 digits that reads back; "nan", "inf", "-inf" else. */
void cm_f64_format(char text[CM_F64_TEXT], double v);

/* The text (NUL-terminated, from cm_alloc) becomes the caller's; w is empty again. */
CM_MUST_CHECK cm_status cm_jw_take(struct cm_jw *w, char **text, size_t *n);
/* The same to standard output, as a line. */
CM_MUST_CHECK cm_status cm_jw_print(struct cm_jw *w);
void cm_jw_release(struct cm_jw *w);

#endif
