/* Removing versions: the rule chooses (retention.c), a rename hides, time deletes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/alias.h"
#include "parameter/store_private.h"

struct survey { /* what the rule looks at */
    struct ps_candidate *c;
    size_t n;
};

static void mark_aliased(struct survey *v, int64_t version)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->c[i].version == version)
            v->c[i].aliased = true;
}

/* Every alias's version, and what champion named before: a rollback must find it. */
static cm_status survey_aliases(struct survey *v, const struct ps_store *s)
{
    struct ps_alias *list = NULL;
    size_t n;
    CM_TRY(ps_alias_list(&list, &n, s->dir));
    for (size_t i = 0; i < n; i++) {
        mark_aliased(v, list[i].version);
        if (!strcmp(list[i].name, PS_CHAMPION))
            mark_aliased(v, list[i].from);
    }
    cm_free(&list);
    return CM_OK;
}

static cm_status survey_versions(struct survey *v, const struct ps_store *s, const char *metric)
{
    int64_t *numbers = NULL;
    CM_TRY(ps_store_list(s, &numbers, &v->n));
    cm_status st = cm_alloc(&v->c, v->n, sizeof *v->c, "versions");
    for (size_t i = 0; st == CM_OK && i < v->n; i++) {
        struct ps_version *opened = NULL;
        struct ps_candidate *c = &v->c[i];
        c->version = numbers[i];
        c->metric = (double)NAN;
        cm_status opens = ps_version_open(&opened, s, numbers[i]);
        c->valid = opens == CM_OK;
        c->unjudged = !c->valid && !ps_is_damage(opens);
        if (!c->valid) {
            if (c->unjudged)
                cm_error_report(CM_LOG_WARN, opens, "version kept");
            continue;
        }
        c->parent = ps_version_manifest(opened)->parent;
        c->metric = ps_manifest_metric(ps_version_manifest(opened), metric);
        ps_version_close(&opened);
    }
    cm_free(&numbers);
    CM_TRY(st);
    return survey_aliases(v, s);
}

static cm_status hide(struct ps_store *s, int64_t version, char trash[CM_PATH])
{
    char name[PS_VERSION_TEXT];
    if (s->lease)
        CM_TRY(ps_lease_check(s->lease));
    CM_TRY(cm_fault("store.gc"));
    ps_store_name(s, name, version);
    return ps_store_discard(s, name, trash);
}

static cm_status put_back(const struct ps_store *s, int64_t version, const char *trash)
{
    char path[CM_PATH];
    CM_TRY(ps_store_path(s, path, version));
    return cm_dir_rename(trash, path);
}

/* Hides what no rule keeps. An alias may have been set since they were looked at, so they are
 * looked at once more, and what is named by now comes back. Who sets one looks afterwards whether
 * the version is there: of the two at least one sees the other. */
static cm_status hide_all(struct ps_store *s, struct survey *v, const struct ps_retention *rule)
{
    char(*trash)[CM_PATH] = NULL; /* "" : not hidden */
    CM_TRY(cm_alloc(&trash, v->n, sizeof *trash, "removed versions"));
    cm_status st = CM_OK;
    for (size_t i = 0; i < v->n && st == CM_OK; i++)
        if (!v->c[i].why)
            st = hide(s, v->c[i].version, trash[i]);
    st = st == CM_OK ? cm_fault("store.gc.hidden") : st;
    cm_status looked = survey_aliases(v, s);
    ps_retention_choose(rule, v->c, v->n);
    st = st == CM_OK ? looked : st;
    for (size_t i = 0; i < v->n; i++) {
        if (!*trash[i] || (looked == CM_OK && !v->c[i].why))
            continue;
        cm_status back = put_back(s, v->c[i].version, trash[i]);
        st = st == CM_OK ? back : st;
    }
    cm_free(&trash);
    return st;
}

/* Of the names in dir, the newest piece of trash that was this version; NULL: none. They are
 * sorted, and their times have as many digits until the year 2286. */
static const char *find_trash(const struct ps_store *s, char *const *names, size_t n,
                              int64_t version)
{
    char name[PS_VERSION_TEXT];
    ps_store_name(s, name, version);
    for (size_t i = n; i-- > 0;) {
        if (strncmp(names[i], PS_TRASH_STEM, strlen(PS_TRASH_STEM)) != 0)
            continue;
        const char *was = strchr(names[i] + strlen(PS_TRASH_STEM), '-');
        if (was && !strcmp(was + 1, name))
            return names[i];
    }
    return NULL;
}

/* A version that is not there, but named, and in the trash. */
static cm_status recover(const struct ps_store *s, char *const *names, size_t n, int64_t version)
{
    char path[CM_PATH], trash_path[CM_PATH];
    CM_TRY(ps_store_path(s, path, version));
    const char *trash = cm_path_exists(path) ? NULL : find_trash(s, names, n, version);
    if (!trash)
        return CM_OK;
    CM_TRY(cm_path_join(trash_path, s->dir, trash));
    CM_TRY(put_back(s, version, trash_path));
    cm_log_warn("%s: put back %s, which an alias names: a gc was killed while it removed it",
                s->dir, strrchr(path, '/') + 1);
    return CM_OK;
}

cm_status ps_store_recover(const struct ps_store *s)
{
    struct ps_alias *list = NULL;
    char **names = NULL;
    size_t n, nnames = 0;
    CM_TRY(ps_alias_list(&list, &n, s->dir));
    cm_status st = n > 0 ? cm_dir_list(&names, &nnames, s->dir) : CM_OK;
    for (size_t i = 0; st == CM_OK && i < n; i++)
        st = recover(s, names, nnames, list[i].version);
    cm_dir_list_free(&names, nnames);
    cm_free(&list);
    return st;
}

/* ".trash-<utc s>-name" */
static cm_status empty_trash(const struct ps_store *s, double trash_s)
{
    char **names = NULL;
    char path[CM_PATH];
    size_t n;
    cm_status st = CM_OK;
    CM_TRY(cm_dir_list(&names, &n, s->dir));
    for (size_t i = 0; st == CM_OK && i < n; i++) {
        if (strncmp(names[i], PS_TRASH_STEM, strlen(PS_TRASH_STEM)) != 0)
            continue;
        double since = (double)strtoll(names[i] + strlen(PS_TRASH_STEM), NULL, 10);
        if (cm_utc_now() - since < trash_s)
            continue;
        st = cm_path_join(path, s->dir, names[i]);
        if (st == CM_OK)
            st = cm_dir_remove(path);
    }
    cm_dir_list_free(&names, n);
    return st;
}

cm_status ps_store_gc(struct ps_store *s, const struct ps_retention *rule, const char *metric,
                      double trash_s, bool dry, struct ps_removed *removed)
{
    struct survey v = {0};
    cm_status st;
    *removed = (struct ps_removed){0};
    CM_GOTO(st, survey_versions(&v, s, metric), out);
    ps_retention_choose(rule, v.c, v.n);
    if (!dry)
        CM_GOTO(st, hide_all(s, &v, rule), out);
    CM_GOTO(st, cm_alloc(&removed->version, v.n, sizeof *removed->version, "removed"), out);
    for (size_t i = 0; i < v.n; i++)
        if (!v.c[i].why)
            removed->version[removed->n++] = v.c[i].version;
    if (!dry)
        st = empty_trash(s, trash_s);
out:
    cm_free(&v.c);
    if (st != CM_OK) {
        cm_free(&removed->version);
        removed->n = 0;
    }
    return st;
}
