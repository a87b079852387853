/* Opening a store, its numbers, and the removal of what dead generations left. draft.c writes
 * versions, store_version.c reads them, gc.c removes them. */
#include "parameter/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/numbered.h"
#include "parameter/store_private.h"

static cm_status store_make(struct ps_store **out, const char *dir, char prefix,
                            const struct ps_lease *lease)
{
    struct ps_store *s = NULL;
    *out = NULL;
    if (strlen(dir) >= sizeof s->dir)
        return CM_FAIL(CM_EINVAL, "the path of the store is too long: %.60s…", dir);
    CM_TRY(cm_alloc(&s, 1, sizeof *s, "store"));
    memcpy(s->dir, dir, strlen(dir) + 1);
    s->stem[0] = prefix;
    s->lease = lease;
    *out = s;
    return CM_OK;
}

cm_status ps_store_open(struct ps_store **out, const char *dir, char prefix)
{
    *out = NULL;
    if (!cm_path_is_dir(dir))
        return CM_FAIL(CM_ENOTFOUND, "%s: no such folder of versions", dir);
    return store_make(out, dir, prefix, NULL);
}

/* Drafts of older generations: the rename comes first, for it is what stops a writer that is still
 * alive from publishing them. */
static cm_status remove_dead_drafts(const struct ps_store *s)
{
    char **names = NULL;
    char trash[CM_PATH];
    size_t n;
    cm_status st = CM_OK;
    CM_TRY(cm_dir_list(&names, &n, s->dir));
    for (size_t i = 0; st == CM_OK && i < n; i++) {
        if (strncmp(names[i], PS_DRAFT_STEM, strlen(PS_DRAFT_STEM)) != 0)
            continue;
        int64_t generation = strtoll(names[i] + strlen(PS_DRAFT_STEM), NULL, 10);
        if (generation >= ps_lease_generation(s->lease))
            continue;
        st = ps_store_discard(s, names[i], trash);
        if (st == CM_ENOTFOUND) { /* published or removed just now */
            st = CM_OK;
        } else if (st == CM_OK) {
            cm_log_info("%s: removed %s, left half written by generation %lld", s->dir, names[i],
                        (long long)generation);
            if (cm_dir_remove(trash) != CM_OK) /* its writer lives and is still adding: gc will */
                cm_log_warn("left behind: %s", cm_error_text());
        }
    }
    cm_dir_list_free(&names, n);
    return st;
}

cm_status ps_store_open_writer(struct ps_store **out, const char *dir, char prefix,
                               const struct ps_lease *lease)
{
    *out = NULL;
    CM_TRY(cm_dir_make(dir));
    CM_TRY(store_make(out, dir, prefix, lease));
    cm_status st = lease ? remove_dead_drafts(*out) : CM_OK;
    if (st != CM_OK)
        ps_store_close(out);
    else if (lease && (st = ps_store_recover(*out)) != CM_OK) {
        cm_error_report(CM_LOG_WARN, st, "aliases not compared with the trash");
        st = CM_OK;
    }
    return st;
}

void ps_store_close(struct ps_store **s)
{
    cm_free(s);
}

const char *ps_store_dir(const struct ps_store *s)
{
    return s->dir;
}

void ps_store_name(const struct ps_store *s, char text[PS_VERSION_TEXT], int64_t version)
{
    char name[PS_NUMBERED];
    ps_numbered_format(name, s->stem, version);
    snprintf(text, PS_VERSION_TEXT, "%.*s", PS_VERSION_TEXT - 1, name);
}

cm_status ps_store_list(const struct ps_store *s, int64_t **out, size_t *n)
{
    return ps_numbered_list(out, n, s->dir, s->stem);
}

bool ps_is_damage(cm_status st)
{
    return st == CM_ECORRUPT || st == CM_EFORMAT;
}

cm_status ps_store_path(const struct ps_store *s, char path[CM_PATH], int64_t version)
{
    char name[PS_VERSION_TEXT];
    ps_store_name(s, name, version);
    return cm_path_join(path, s->dir, name);
}

cm_status ps_store_discard(const struct ps_store *s, const char *name, char trash[CM_PATH])
{
    char from[CM_PATH], to[CM_PATH], trash_name[PS_NUMBERED + 128];
    snprintf(trash_name, sizeof trash_name, PS_TRASH_STEM "%lld-%s", (long long)cm_utc_now(), name);
    CM_TRY(cm_path_join(from, s->dir, name));
    CM_TRY(cm_path_join(to, s->dir, trash_name));
    if (trash)
        memcpy(trash, to, sizeof to);
    return cm_dir_rename(from, to);
}
