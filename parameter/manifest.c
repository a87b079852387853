/* The manifest in memory, to JSON and back. Hashes are hex strings: JSON numbers are doubles. */
#include "parameter/manifest.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/mem.h"
#include "parameter/seal.h"

#define INT_MAX_EXACT ((int64_t)1 << 53) /* of a JSON number */

/* ---- in memory ---- */

static cm_status set_name(char dst[PS_NAME], const char *name, const char *kind)
{
    size_t n = strlen(name);
    if (n == 0 || n >= PS_NAME)
        return CM_FAIL(CM_EINVAL, "%s name '%s' must have 1 to %d bytes", kind, name, PS_NAME - 1);
    memcpy(dst, name, n + 1);
    return CM_OK;
}

cm_status ps_manifest_set_metric(struct ps_manifest *m, const char *name, double value)
{
    struct ps_metric metric = {.value = value};
    CM_TRY(set_name(metric.name, name, "metric"));
    for (size_t i = 0; i < m->nmetrics; i++)
        if (!strcmp(m->metrics[i].name, name)) {
            m->metrics[i].value = value;
            return CM_OK;
        }
    CM_TRY(cm_realloc(&m->metrics, m->nmetrics + 1, sizeof *m->metrics, "metrics"));
    m->metrics[m->nmetrics++] = metric;
    return CM_OK;
}

double ps_manifest_metric(const struct ps_manifest *m, const char *name)
{
    for (size_t i = 0; i < m->nmetrics; i++)
        if (!strcmp(m->metrics[i].name, name))
            return m->metrics[i].value;
    return (double)NAN;
}

cm_status ps_manifest_intervene(struct ps_manifest *m, const char *kind, int64_t first_step,
                                int64_t last_step)
{
    struct ps_intervention v = {.first_step = first_step, .last_step = last_step};
    CM_TRY(set_name(v.kind, kind, "intervention"));
    if (first_step < 0 || last_step < first_step)
        return CM_FAIL(CM_EINVAL, "intervention %s: steps %" PRId64 " to %" PRId64, kind,
                       first_step, last_step);
    CM_TRY(cm_realloc(&m->interventions, m->ninterventions + 1, sizeof *m->interventions,
                      "interventions"));
    m->interventions[m->ninterventions++] = v;
    return CM_OK;
}

const struct ps_file *ps_manifest_file(const struct ps_manifest *m, const char *name)
{
    for (size_t i = 0; i < m->nfiles; i++)
        if (!strcmp(m->files[i].name, name))
            return &m->files[i];
    return NULL;
}

const struct ps_check *ps_manifest_check(const struct ps_manifest *m, const char *file,
                                         const char *name)
{
    for (size_t i = 0; i < m->nchecks; i++)
        if (!strcmp(m->checks[i].name, name) && !strcmp(m->checks[i].file, file))
            return &m->checks[i];
    return NULL;
}

bool ps_manifest_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && !strchr(name, '/') && strlen(name) < PS_NAME;
}

void ps_manifest_release(struct ps_manifest *m)
{
    for (size_t i = 0; i < m->nchecks; i++) {
        cm_free(&m->checks[i].file);
        cm_free(&m->checks[i].name);
    }
    cm_free(&m->checks);
    cm_free(&m->files);
    cm_free(&m->metrics);
    cm_free(&m->interventions);
    cm_free(&m->config);
    cm_free(&m->fingerprint);
    cm_free(&m->data_fingerprint);
    cm_free(&m->origin);
    cm_free(&m->notes);
    *m = (struct ps_manifest){0};
}

/* ---- to JSON ---- */

static void write_hash(struct cm_jw *w, uint64_t hash)
{
    char text[CM_XXH_TEXT];
    cm_xxh_format(text, hash);
    cm_jw_string(w, "xxh3", text);
}

static cm_status write_object(struct cm_jw *w, const char *key, const char *text)
{
    if (!text)
        return CM_OK;
    struct cm_json *root = NULL;
    if (cm_json_parse(&root, text, strlen(text), key) != CM_OK)
        return CM_CONTEXT(CM_EINVAL, "manifest");
    cm_status st = CM_OK;
    if (cm_json_type(root) == CM_JSON_OBJECT)
        cm_jw_value(w, key, root);
    else
        st = CM_FAIL(CM_EINVAL, "manifest: %s is %s, not an object", key, cm_json_type_name(root));
    cm_json_close(&root);
    return st;
}

static void write_contents(struct cm_jw *w, const struct ps_manifest *m)
{
    cm_jw_begin(w, "files", '[');
    for (size_t i = 0; i < m->nfiles; i++) {
        cm_jw_begin(w, NULL, '{');
        cm_jw_string(w, "name", m->files[i].name);
        cm_jw_u64(w, "nbytes", m->files[i].nbytes);
        write_hash(w, m->files[i].hash);
        cm_jw_end(w);
    }
    cm_jw_end(w);
    cm_jw_begin(w, "tensors", '[');
    for (size_t i = 0; i < m->nchecks; i++) {
        cm_jw_begin(w, NULL, '{');
        cm_jw_string(w, "file", m->checks[i].file);
        cm_jw_string(w, "name", m->checks[i].name);
        write_hash(w, m->checks[i].hash);
        cm_jw_f64(w, "abs_max", m->checks[i].abs_max);
        cm_jw_end(w);
    }
    cm_jw_end(w);
}

static cm_status write_story(struct cm_jw *w, const struct ps_manifest *m)
{
    cm_jw_i64(w, "step", m->step);
    cm_jw_i64(w, "epoch", m->epoch);
    cm_jw_i64(w, "sample", m->sample);
    cm_jw_begin(w, "metrics", '{');
    for (size_t i = 0; i < m->nmetrics; i++)
        cm_jw_f64(w, m->metrics[i].name, m->metrics[i].value);
    cm_jw_end(w);
    cm_jw_begin(w, "interventions", '[');
    for (size_t i = 0; i < m->ninterventions; i++) {
        cm_jw_begin(w, NULL, '{');
        cm_jw_string(w, "kind", m->interventions[i].kind);
        cm_jw_i64(w, "first_step", m->interventions[i].first_step);
        cm_jw_i64(w, "last_step", m->interventions[i].last_step);
        cm_jw_end(w);
    }
    cm_jw_end(w);
    if (m->origin)
        cm_jw_string(w, "origin", m->origin);
    if (m->fingerprint)
        cm_jw_string(w, "fingerprint", m->fingerprint);
    if (m->data_fingerprint)
        cm_jw_string(w, "data_fingerprint", m->data_fingerprint);
    CM_TRY(write_object(w, "config", m->config));
    return write_object(w, "notes", m->notes);
}

cm_status ps_manifest_write(struct ps_manifest *m, char **text, size_t *n)
{
    struct cm_jw w = {0};
    char created[CM_UTC_TEXT];
    cm_utc_format(created, m->created_utc_s);

    *text = NULL;
    ps_seal_begin(&w);
    cm_jw_i64(&w, "version", m->version);
    cm_jw_i64(&w, "generation", m->generation);
    cm_jw_i64(&w, "parent", m->parent);
    cm_jw_string(&w, "producer", m->producer);
    cm_jw_string(&w, "run", m->run);
    cm_jw_f64(&w, "created_utc_s", m->created_utc_s);
    cm_jw_string(&w, "created", created); /* the same for people; not read */
    cm_status st = write_story(&w, m);
    if (st == CM_OK) {
        write_contents(&w, m);
        st = ps_seal_end(&w, text, n, &m->hash);
    }
    cm_jw_release(&w);
    return st;
}

/* ---- from JSON ---- */

static cm_status read_hash(const struct cm_json *object, const char *where, uint64_t *hash)
{
    const char *text;
    CM_TRY(cm_json_need_string(object, where, "xxh3", &text));
    if (strlen(text) != CM_XXH_TEXT - 1 || strspn(text, "0123456789abcdef") != CM_XXH_TEXT - 1 ||
        sscanf(text, "%" SCNx64, hash) != 1)
        return CM_FAIL(CM_EFORMAT, "%s: xxh3 '%s' is not 16 hex digits", where, text);
    return CM_OK;
}

static cm_status read_name(const struct cm_json *object, const char *where, const char *key,
                           char dst[PS_NAME])
{
    const char *text;
    CM_TRY(cm_json_need_string(object, where, key, &text));
    if (strlen(text) >= PS_NAME)
        return CM_FAIL(CM_EFORMAT, "%s: '%s' has %zu bytes, at most %d", where, key, strlen(text),
                       PS_NAME - 1);
    memcpy(dst, text, strlen(text) + 1);
    return CM_OK;
}

static cm_status read_files(struct ps_manifest *m, const struct cm_json *root, const char *what)
{
    const struct cm_json *list;
    CM_TRY(cm_json_need(root, what, "files", CM_JSON_ARRAY, &list));
    CM_TRY(cm_alloc(&m->files, cm_json_count(list), sizeof *m->files, "files of a manifest"));
    CM_JSON_EACH (item, list) {
        struct ps_file *f = &m->files[m->nfiles];
        int64_t nbytes;
        CM_TRY(read_name(item, what, "name", f->name));
        if (!ps_manifest_plain_name(f->name) || ps_manifest_file(m, f->name))
            return CM_FAIL(CM_EFORMAT, "%s: file name '%s' is twice there or no plain name", what,
                           f->name);
        CM_TRY(cm_json_need_i64(item, what, "nbytes", 0, INT_MAX_EXACT, &nbytes));
        CM_TRY(read_hash(item, what, &f->hash));
        f->nbytes = (uint64_t)nbytes;
        m->nfiles++;
    }
    return CM_OK;
}

static cm_status read_checks(struct ps_manifest *m, const struct cm_json *root, const char *what)
{
    const struct cm_json *list;
    CM_TRY(cm_json_need(root, what, "tensors", CM_JSON_ARRAY, &list));
    CM_TRY(cm_alloc(&m->checks, cm_json_count(list), sizeof *m->checks, "tensors of a manifest"));
    CM_JSON_EACH (item, list) {
        struct ps_check *c = &m->checks[m->nchecks++];
        const char *file, *name;
        CM_TRY(cm_json_need_string(item, what, "file", &file));
        CM_TRY(cm_json_need_string(item, what, "name", &name));
        CM_TRY(cm_strdup(&c->file, file));
        CM_TRY(cm_strdup(&c->name, name));
        CM_TRY(read_hash(item, what, &c->hash));
        const struct cm_json *abs_max = cm_json_get(item, "abs_max");
        c->abs_max = (double)NAN;
        if (abs_max && cm_json_type(abs_max) != CM_JSON_NULL)
            CM_TRY(cm_json_as_f64(abs_max, what, &c->abs_max));
    }
    return CM_OK;
}

static cm_status read_metrics(struct ps_manifest *m, const struct cm_json *root, const char *what)
{
    const struct cm_json *list;
    CM_TRY(cm_json_need(root, what, "metrics", CM_JSON_OBJECT, &list));
    CM_JSON_EACH (item, list) {
        double value = (double)NAN;
        if (cm_json_type(item) != CM_JSON_NULL)
            CM_TRY(cm_json_as_f64(item, what, &value));
        cm_status st = ps_manifest_set_metric(m, cm_json_key(item), value);
        if (st != CM_OK)
            return CM_CONTEXT(st == CM_EINVAL ? CM_EFORMAT : st, "%s", what);
    }
    CM_TRY(cm_json_need(root, what, "interventions", CM_JSON_ARRAY, &list));
    CM_JSON_EACH (item, list) {
        const char *kind;
        int64_t first, last;
        CM_TRY(cm_json_need_string(item, what, "kind", &kind));
        CM_TRY(cm_json_need_i64(item, what, "first_step", 0, INT_MAX_EXACT, &first));
        CM_TRY(cm_json_need_i64(item, what, "last_step", 0, INT_MAX_EXACT, &last));
        cm_status st = ps_manifest_intervene(m, kind, first, last);
        if (st != CM_OK)
            return CM_CONTEXT(st == CM_EINVAL ? CM_EFORMAT : st, "%s", what);
    }
    return CM_OK;
}

/* Optional members: a text as it is, an object as its JSON. */
static cm_status read_text(char **dst, const struct cm_json *root, const char *what,
                           const char *key)
{
    const struct cm_json *v = cm_json_get(root, key);
    const char *text;
    if (!v)
        return CM_OK;
    CM_TRY(cm_json_as_string(v, what, &text));
    return cm_strdup(dst, text);
}

static cm_status read_object(char **dst, const struct cm_json *root, const char *what,
                             const char *key)
{
    const struct cm_json *v = cm_json_get(root, key);
    if (!v)
        return CM_OK;
    CM_TRY(cm_json_need(root, what, key, CM_JSON_OBJECT, &v));
    struct cm_jw w = {0};
    size_t n;
    cm_jw_value(&w, NULL, v);
    cm_status st = cm_jw_take(&w, dst, &n);
    cm_jw_release(&w);
    return st;
}

static cm_status read_story(struct ps_manifest *m, const struct cm_json *root, const char *what)
{
    const char *run;
    CM_TRY(cm_json_need_i64(root, what, "version", 1, INT_MAX_EXACT, &m->version));
    CM_TRY(cm_json_need_i64(root, what, "generation", 0, INT_MAX_EXACT, &m->generation));
    CM_TRY(cm_json_need_i64(root, what, "parent", 0, INT_MAX_EXACT, &m->parent));
    CM_TRY(read_name(root, what, "producer", m->producer));
    CM_TRY(cm_json_need_string(root, what, "run", &run));
    if (strlen(run) >= sizeof m->run)
        return CM_FAIL(CM_EFORMAT, "%s: run '%s' is no UUID", what, run);
    memcpy(m->run, run, strlen(run) + 1);
    CM_TRY(cm_json_need_f64(root, what, "created_utc_s", &m->created_utc_s));
    CM_TRY(cm_json_need_i64(root, what, "step", 0, INT_MAX_EXACT, &m->step));
    CM_TRY(cm_json_need_i64(root, what, "epoch", 0, INT_MAX_EXACT, &m->epoch));
    CM_TRY(cm_json_need_i64(root, what, "sample", 0, INT_MAX_EXACT, &m->sample));
    CM_TRY(read_text(&m->origin, root, what, "origin"));
    CM_TRY(read_text(&m->fingerprint, root, what, "fingerprint"));
    CM_TRY(read_text(&m->data_fingerprint, root, what, "data_fingerprint"));
    CM_TRY(read_object(&m->config, root, what, "config"));
    return read_object(&m->notes, root, what, "notes");
}

cm_status ps_manifest_parse(struct ps_manifest *out, const char *text, size_t n, const char *what)
{
    struct ps_manifest m = {0};
    struct cm_json *root = NULL;
    cm_status st;
    *out = m;
    CM_TRY(ps_seal_parse(&root, text, n, what, &m.hash));
    CM_GOTO(st, read_story(&m, root, what), out);
    CM_GOTO(st, read_metrics(&m, root, what), out);
    CM_GOTO(st, read_files(&m, root, what), out);
    CM_GOTO(st, read_checks(&m, root, what), out);
    *out = m;
    m = (struct ps_manifest){0};
out:
    cm_json_close(&root);
    ps_manifest_release(&m);
    return st;
}

cm_status ps_manifest_load(struct ps_manifest *out, const char *path)
{
    char *text = NULL;
    size_t n;
    *out = (struct ps_manifest){0};
    CM_TRY(cm_file_read(&text, &n, path, PS_MANIFEST_NBYTES));
    cm_status st = ps_manifest_parse(out, text, n, path);
    cm_free(&text);
    return st;
}
