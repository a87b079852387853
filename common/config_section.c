/* One section's table against one section's JSON: defaults, checks with errors that teach, writing
 * back, help. */
#include "common/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

#define WHERE    256
#define RANGE    128
#define CHOICES  256
#define MAX_KEYS 128

/* What is being read, for messages: "FILE: section.key". */
struct place {
    const char *file, *section;
    const struct cm_key *key;
};

static bool has_range(const struct cm_key *key)
{
    return key->lo < key->hi || key->lo > key->hi;
}

/* "1..65536 (images)", or "" when any value will do. */
static void range_text(char text[RANGE], const struct cm_key *key)
{
    const char *open = key->unit ? " (" : "", *close = key->unit ? ")" : "";
    const char *unit = key->unit ? key->unit : "";
    int digits = key->type == CM_KEY_INT ? 17 : 15; /* all of an integer, none that a float lacks */
    text[0] = '\0';
    if (has_range(key))
        snprintf(text, RANGE, "%.*g..%.*g%s%s%s", digits, key->lo, digits, key->hi, open, unit,
                 close);
}

/* "a, b or c" */
static void choices_text(char text[CHOICES], const struct cm_key *key)
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; key->choices[i] && n < CHOICES; i++) {
        const char *lead = i == 0 ? "" : key->choices[i + 1] ? ", " : " or ";
        n += (size_t)snprintf(text + n, CHOICES - n, "%s%s", lead, key->choices[i]);
    }
}

static cm_status wrong_type(const struct place *at, const char *expected, const struct cm_json *v)
{
    return CM_FAIL(CM_ECONFIG, "%s: %s.%s: expected %s, found %s (%s)", at->file, at->section,
                   at->key->name, expected, cm_json_type_name(v), at->key->help);
}

static cm_status out_of_range(const struct place *at, double v)
{
    char range[RANGE];
    range_text(range, at->key);
    return CM_FAIL(CM_ECONFIG, "%s: %s.%s: %.15g is not in %s", at->file, at->section,
                   at->key->name, v, range);
}

static cm_status read_int(const struct place *at, const struct cm_json *v, int64_t *out)
{
    double d = 0;
    if (cm_json_type(v) != CM_JSON_NUMBER)
        return wrong_type(at, "an integer", v);
    CM_TRY(cm_json_as_f64(v, at->key->name, &d));
    if (has_range(at->key) && (d < at->key->lo || d > at->key->hi))
        return out_of_range(at, d);
    if (cm_json_as_i64(v, at->key->name, INT64_MIN, INT64_MAX, out) != CM_OK)
        return CM_FAIL(CM_ECONFIG, "%s: %s.%s: %.15g is not an integer", at->file, at->section,
                       at->key->name, d);
    return CM_OK;
}

static cm_status read_float(const struct place *at, const struct cm_json *v, double *out)
{
    if (cm_json_type(v) != CM_JSON_NUMBER)
        return wrong_type(at, "a number", v);
    CM_TRY(cm_json_as_f64(v, at->key->name, out));
    if (has_range(at->key) && (*out < at->key->lo || *out > at->key->hi))
        return out_of_range(at, *out);
    return CM_OK;
}

static cm_status read_string(const struct place *at, const struct cm_json *v,
                             char out[CM_CONFIG_STRING])
{
    const char *s = "";
    if (cm_json_type(v) != CM_JSON_STRING)
        return wrong_type(at, "a string", v);
    CM_TRY(cm_json_as_string(v, at->key->name, &s));
    size_t n = strlen(s);
    if (n >= CM_CONFIG_STRING)
        return CM_FAIL(CM_ECONFIG, "%s: %s.%s: %zu bytes, %d at most", at->file, at->section,
                       at->key->name, n, CM_CONFIG_STRING - 1);
    memcpy(out, s, n + 1);
    return CM_OK;
}

static cm_status read_choice(const struct place *at, const struct cm_json *v, int *out)
{
    const char *s = "";
    char choices[CHOICES];
    choices_text(choices, at->key);
    if (cm_json_type(v) != CM_JSON_STRING)
        return wrong_type(at, choices, v);
    CM_TRY(cm_json_as_string(v, at->key->name, &s));
    size_t n = 0;
    for (; at->key->choices[n]; n++) {
        if (strcmp(at->key->choices[n], s) == 0) {
            *out = (int)n;
            return CM_OK;
        }
    }
    const char *near = cm_nearest(s, at->key->choices, n);
    return CM_FAIL(CM_ECONFIG, "%s: %s.%s: '%s' is none of %s%s%s%s", at->file, at->section,
                   at->key->name, s, choices, near ? " (did you mean '" : "", near ? near : "",
                   near ? "'?)" : "");
}

/* field is the key's place in the section's struct. */
static cm_status read_key(const struct place *at, const struct cm_json *v, void *field)
{
    switch (at->key->type) {
    case CM_KEY_BOOL:
        if (cm_json_type(v) != CM_JSON_BOOL)
            return wrong_type(at, "true or false", v);
        return cm_json_as_bool(v, at->key->name, field);
    case CM_KEY_INT:
        return read_int(at, v, field);
    case CM_KEY_FLOAT:
        return read_float(at, v, field);
    case CM_KEY_STRING:
        return read_string(at, v, field);
    case CM_KEY_CHOICE:
        return read_choice(at, v, field);
    case CM_KEY_JSON: {
        enum cm_json_type type = cm_json_type(v);
        if (type != CM_JSON_OBJECT && type != CM_JSON_ARRAY && type != CM_JSON_NULL)
            return wrong_type(at, "an object or an array", v);
        *(const struct cm_json **)field = type == CM_JSON_NULL ? NULL : v;
        return CM_OK;
    }
    }
    return CM_FAIL(CM_EINTERNAL, "%s.%s: no such key type", at->section, at->key->name);
}

static cm_status read_default(const struct place *at, void *field)
{
    if (!at->key->initial)
        return CM_FAIL(CM_ECONFIG, "%s: %s.%s is missing (%s)", at->file, at->section,
                       at->key->name, at->key->help);
    if (at->key->type ==
        CM_KEY_JSON) /* absent; a pointer into a parsed default would have no owner */
        return CM_OK;
    struct cm_json *v;
    CM_TRY(cm_json_parse(&v, at->key->initial, strlen(at->key->initial), at->key->name));
    cm_status st = read_key(at, v, field);
    cm_json_close(&v);
    return st;
}

static cm_status refuse_unknown(const char *file, const struct cm_section *section,
                                const struct cm_json *object)
{
    const char *names[MAX_KEYS];
    size_t n = section->nkeys < MAX_KEYS ? section->nkeys : MAX_KEYS;
    for (size_t i = 0; i < n; i++)
        names[i] = section->keys[i].name;
    CM_JSON_EACH (m, object) {
        const char *key = cm_json_key(m);
        bool known = false;
        for (size_t i = 0; i < section->nkeys && !known; i++)
            known = strcmp(key, section->keys[i].name) == 0;
        if (known)
            continue;
        const char *near = cm_nearest(key, names, n);
        if (near)
            return CM_FAIL(CM_ECONFIG, "%s: %s: unknown key '%s' (did you mean '%s'?)", file,
                           section->name, key, near);
        return CM_FAIL(CM_ECONFIG, "%s: %s: unknown key '%s'", file, section->name, key);
    }
    return CM_OK;
}

cm_status cm_config_read(const struct cm_config *cfg, const struct cm_section *section, void *into)
{
    const struct cm_json *object = cm_config_raw(cfg, section->name);
    memset(into, 0, section->size);
    if (object)
        CM_TRY(refuse_unknown(cm_config_name(cfg), section, object));
    for (size_t i = 0; i < section->nkeys; i++) {
        const struct cm_key *key = &section->keys[i];
        struct place at = {.file = cm_config_name(cfg), .section = section->name, .key = key};
        const struct cm_json *v = object ? cm_json_get(object, key->name) : NULL;
        void *field = (char *)into + key->offset;
        CM_TRY(v ? read_key(&at, v, field) : read_default(&at, field));
    }
    return CM_OK;
}

static void write_key(struct cm_jw *w, const struct cm_key *key, const void *field)
{
    const struct cm_json *json;
    switch (key->type) {
    case CM_KEY_BOOL:
        cm_jw_bool(w, key->name, *(const bool *)field);
        return;
    case CM_KEY_INT:
        cm_jw_i64(w, key->name, *(const int64_t *)field);
        return;
    case CM_KEY_FLOAT:
        cm_jw_f64(w, key->name, *(const double *)field);
        return;
    case CM_KEY_STRING:
        cm_jw_string(w, key->name, field);
        return;
    case CM_KEY_CHOICE:
        cm_jw_string(w, key->name, key->choices[*(const int *)field]);
        return;
    case CM_KEY_JSON:
        json = *(const struct cm_json *const *)field;
        if (json)
            cm_jw_value(w, key->name, json);
        else
            cm_jw_string(w, key->name, NULL);
        return;
    }
}

void cm_config_write(struct cm_jw *w, const struct cm_section *section, const void *values)
{
    cm_jw_begin(w, section->name, '{');
    for (size_t i = 0; i < section->nkeys; i++)
        write_key(w, &section->keys[i], (const char *)values + section->keys[i].offset);
    cm_jw_end(w);
}

static cm_status write_resolved(struct cm_jw *w, const struct cm_config *cfg,
                                const struct cm_section *section)
{
    void *values;
    CM_TRY(cm_alloc(&values, 1, section->size, section->name));
    cm_status st = cm_config_read(cfg, section, values);
    if (st == CM_OK)
        cm_config_write(w, section, values);
    cm_free(&values);
    return st;
}

cm_status cm_config_print(const struct cm_config *cfg, const struct cm_section *const *sections,
                          size_t n)
{
    cm_status st;
    struct cm_jw w = {.indent = 2};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_i64(&w, "schema", 1);
    for (size_t i = 0; i < n; i++)
        CM_GOTO(st, write_resolved(&w, cfg, sections[i]), out);
    cm_jw_end(&w);
    st = cm_jw_print(&w);
out:
    cm_jw_release(&w);
    return st;
}

void cm_config_help(const struct cm_section *section)
{
    static const char *const type_name[] = {"true or false", "integer", "number",
                                            "string",        "",        "JSON"};
    for (size_t i = 0; i < section->nkeys; i++) {
        const struct cm_key *key = &section->keys[i];
        char range[RANGE], choices[CHOICES] = "";
        range_text(range, key);
        if (key->type == CM_KEY_CHOICE)
            choices_text(choices, key);
        else if (!has_range(key) && key->unit)
            snprintf(range, sizeof range, "(%s)", key->unit);
        printf("  %s.%-18s %s [%s%s%s%s; %s%s]\n", section->name, key->name, key->help,
               type_name[key->type], choices, *range ? " " : "", range,
               key->initial ? "default " : "required", key->initial ? key->initial : "");
    }
}
