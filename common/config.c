/* The config file as a whole: reading it, overriding it, and its sections' names. The keys of a
 * section are in config_section.c. Overrides are written into a new text that is parsed again, so
 * every reader sees one tree. */
#include "common/config.h"

#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/mem.h"

#define FILE_NBYTES ((size_t)1 << 20)
#define SECTION     64

static const char *const section_names[] = {"model", "data",  "train",  "allreduce",
                                            "store", "serve", "online", "cluster"};
#define NSECTIONS (sizeof section_names / sizeof *section_names)

struct cm_config {
    struct cm_json *root;
    char *name;
};

static cm_status check_root(const struct cm_config *cfg)
{
    if (cm_json_type(cfg->root) != CM_JSON_OBJECT)
        return CM_FAIL(CM_ECONFIG, "%s: must be an object, not %s", cfg->name,
                       cm_json_type_name(cfg->root));
    int64_t schema;
    const struct cm_json *v = cm_json_get(cfg->root, "schema");
    if (!v)
        return CM_FAIL(CM_ECONFIG, "%s: \"schema\": 1 is missing", cfg->name);
    if (cm_json_as_i64(v, "schema", 1, 1, &schema) != CM_OK)
        return CM_FAIL(CM_ECONFIG, "%s: schema must be 1, the only one that this build reads",
                       cfg->name);
    CM_JSON_EACH (m, cfg->root) {
        const char *key = cm_json_key(m);
        bool known = strcmp(key, "schema") == 0 || strcmp(key, "run") == 0;
        for (size_t i = 0; i < NSECTIONS && !known; i++)
            known = strcmp(key, section_names[i]) == 0;
        const char *near = known ? NULL : cm_nearest(key, section_names, NSECTIONS);
        if (!known && near)
            return CM_FAIL(CM_ECONFIG, "%s: unknown section '%s' (did you mean '%s'?)", cfg->name,
                           key, near);
        if (!known)
            return CM_FAIL(
                CM_ECONFIG,
                "%s: unknown section '%s'; there are model, data, train, allreduce, store, "
                "serve, online and cluster",
                cfg->name, key);
        if (strcmp(key, "run") == 0 && cm_json_type(m) != CM_JSON_STRING)
            return CM_FAIL(CM_ECONFIG, "%s: run must be a string, the path of the run directory",
                           cfg->name);
        bool is_section = strcmp(key, "schema") != 0 && strcmp(key, "run") != 0;
        if (is_section && cm_json_type(m) != CM_JSON_OBJECT)
            return CM_FAIL(CM_ECONFIG, "%s: %s must be an object, not %s", cfg->name, key,
                           cm_json_type_name(m));
    }
    return CM_OK;
}

/* The value of a --set: JSON where it is JSON, else the word itself. */
static void write_set_value(struct cm_jw *w, const char *key, const char *text)
{
    struct cm_json *v;
    cm_status st = cm_json_parse(&v, text, strlen(text), "--set");
    if (st == CM_OK) {
        cm_jw_value(w, key, v);
        cm_json_close(&v);
    } else if (st == CM_EFORMAT) {
        cm_jw_string(w, key, text);
    } else {
        w->st = st;
    }
}

/* root with section.key = text, as a text. */
static void write_with_set(struct cm_jw *w, const struct cm_json *root, const char *section,
                           const char *key, const char *text)
{
    cm_jw_begin(w, NULL, '{');
    CM_JSON_EACH (m, root) {
        if (strcmp(cm_json_key(m), section) != 0)
            cm_jw_value(w, cm_json_key(m), m);
    }
    cm_jw_begin(w, section, '{');
    const struct cm_json *old = cm_json_get(root, section);
    if (old) {
        CM_JSON_EACH (m, old) {
            if (strcmp(cm_json_key(m), key) != 0)
                cm_jw_value(w, cm_json_key(m), m);
        }
    }
    write_set_value(w, key, text);
    cm_jw_end(w);
    cm_jw_end(w);
}

static cm_status apply_set(struct cm_config *cfg, const char *set)
{
    const char *dot = strchr(set, '.'), *equals = strchr(set, '=');
    if (!dot || !equals || dot > equals || dot == set || equals == dot + 1 ||
        equals - set >= SECTION)
        return CM_FAIL(CM_ECONFIG, "--set %s: must be section.key=value", set);
    char section[SECTION], key[SECTION];
    snprintf(section, sizeof section, "%.*s", (int)(dot - set), set);
    snprintf(key, sizeof key, "%.*s", (int)(equals - dot - 1), dot + 1);
    const struct cm_json *old = cm_json_get(cfg->root, section);
    if (strcmp(section, "schema") == 0 || (old && cm_json_type(old) != CM_JSON_OBJECT))
        return CM_FAIL(CM_ECONFIG, "--set %s: '%s' is no section", set, section);

    struct cm_jw w = {0};
    char *text;
    size_t n;
    write_with_set(&w, cfg->root, section, key, equals + 1);
    CM_TRY(cm_jw_take(&w, &text, &n));
    struct cm_json *merged;
    cm_status st = cm_json_parse(&merged, text, n, set);
    cm_free(&text);
    if (st != CM_OK)
        return st;
    cm_json_close(&cfg->root);
    cfg->root = merged;
    return CM_OK;
}

static cm_status open_text(struct cm_config **out, const char *text, size_t n, const char *name,
                           const char *const *sets, size_t nsets)
{
    cm_status st;
    struct cm_config *self = NULL;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "a config"));
    CM_GOTO(st, cm_strdup(&self->name, name), out);
    CM_GOTO(st, cm_json_parse(&self->root, text, n, name), out);
    for (size_t i = 0; i < nsets && cm_json_type(self->root) == CM_JSON_OBJECT; i++)
        CM_GOTO(st, apply_set(self, sets[i]), out);
    CM_GOTO(st, check_root(self), out);
    *out = self;
    self = NULL;
out:
    cm_config_close(&self);
    return st == CM_EFORMAT ? CM_ECONFIG : st; /* malformed JSON is a bad config: exit code 2 */
}

cm_status cm_config_open(struct cm_config **out, const char *path, const char *const *sets,
                         size_t nsets)
{
    static const char empty[] = "{\"schema\": 1}";
    *out = NULL;
    if (!path)
        return open_text(out, empty, sizeof empty - 1, "command line", sets, nsets);
    char *text;
    size_t n;
    cm_status st = cm_file_read(&text, &n, path, FILE_NBYTES);
    if (st != CM_OK) /* missing, a folder, too large: whoever named it named the wrong file */
        return st == CM_ENOMEM ? st : CM_ECONFIG;
    st = open_text(out, text, n, path, sets, nsets);
    cm_free(&text);
    return st;
}

cm_status cm_config_parse(struct cm_config **out, const char *text, size_t n, const char *what)
{
    return open_text(out, text, n, what, NULL, 0);
}

void cm_config_close(struct cm_config **cfg)
{
    struct cm_config *self = *cfg;
    if (!self)
        return;
    if (self->root)
        cm_json_close(&self->root);
    cm_free(&self->name);
    cm_free(cfg);
}

const struct cm_json *cm_config_raw(const struct cm_config *cfg, const char *section)
{
    return cm_json_get(cfg->root, section);
}

const char *cm_config_name(const struct cm_config *cfg)
{
    return cfg->name;
}

cm_status cm_config_run_dir(const struct cm_config *cfg, const char *chosen, char dir[CM_PATH])
{
    const struct cm_json *run = cm_json_get(cfg->root, "run");
    const char *path = chosen;
    if (!path && run)
        CM_TRY(cm_json_as_string(run, cfg->name, &path));
    if (path && path[0])
        return snprintf(dir, CM_PATH, "%s", path) < CM_PATH
                   ? CM_OK
                   : CM_FAIL(CM_ECONFIG, "%s: run: path too long", cfg->name);
    const char *slash = strrchr(cfg->name, '/');
    const char *base = slash ? slash + 1 : cfg->name;
    const char *dot = strrchr(base, '.');
    int n = dot && dot > base ? (int)(dot - base) : (int)strlen(base);
    snprintf(dir, CM_PATH, "runs/%.*s", n, base);
    return CM_OK;
}
