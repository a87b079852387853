/* What an alias names is in its newest change that reads; the others are its history. Writing is
 * one claim of the next number (numbered.h), made from the state that the claimant saw. */
#include "parameter/alias.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/numbered.h"
#include "parameter/seal.h"
#include "parameter/store.h"

#define FOLDER "aliases"
#define CHANGE "change.json"
#define TRIES  1000 /* each is lost to another process that changed the alias */

/* Names that no version reference can be mistaken for: a letter first, then letters, digits, - and
 * _. */
cm_status ps_alias_check_name(const char *name)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = strlen(name);
    bool plain = n > 0 && n < PS_NAME && strspn(name, legal) == n && name[0] >= 'a';
    bool number = name[0] != '\0' && strspn(name + 1, "0123456789") == n - 1;
    if (!plain || number || !strcmp(name, PS_PREVIOUS) || !strcmp(name, "latest"))
        return CM_FAIL(CM_EINVAL,
                       "'%s' cannot be an alias: a-z first, then a-z, 0-9, - and _, no "
                       "version, not 'latest' or 'previous'",
                       name);
    return CM_OK;
}

static void stem_of(char stem[PS_NUMBERED], const char *name)
{
    snprintf(stem, PS_NUMBERED, "%s.", name);
}

/* ---- change.json ---- */

static cm_status write_change(char **text, size_t *n, const struct ps_alias *a)
{
    struct cm_jw w = {0};
    ps_seal_begin(&w);
    cm_jw_string(&w, "alias", a->name);
    cm_jw_i64(&w, "number", a->number);
    cm_jw_i64(&w, "from", a->from);
    cm_jw_i64(&w, "version", a->version);
    cm_jw_string(&w, "who", a->who);
    cm_jw_string(&w, "why", a->why);
    cm_jw_f64(&w, "changed_utc_s", a->changed_utc_s);
    cm_status st = ps_seal_end(&w, text, n, NULL);
    cm_jw_release(&w);
    return st;
}

static cm_status parse_change(struct ps_alias *a, const struct cm_json *root, const char *path)
{
    const int64_t most = (int64_t)1 << 53;
    const char *who, *why;
    CM_TRY(cm_json_need_i64(root, path, "from", 0, most, &a->from));
    CM_TRY(cm_json_need_i64(root, path, "version", 1, most, &a->version));
    CM_TRY(cm_json_need_string(root, path, "who", &who));
    CM_TRY(cm_json_need_string(root, path, "why", &why));
    CM_TRY(cm_json_need_f64(root, path, "changed_utc_s", &a->changed_utc_s));
    snprintf(a->who, sizeof a->who, "%s", who);
    snprintf(a->why, sizeof a->why, "%s", why);
    return CM_OK;
}

static cm_status read_change(struct ps_alias *a, const char *folder, const char *name,
                             int64_t number)
{
    char stem[PS_NUMBERED], entry[PS_NUMBERED], dir[CM_PATH], path[CM_PATH];
    char *text = NULL;
    struct cm_json *root = NULL;
    size_t n;
    *a = (struct ps_alias){.number = number};
    snprintf(a->name, sizeof a->name, "%s", name);
    stem_of(stem, name);
    ps_numbered_format(entry, stem, number);
    CM_TRY(cm_path_join(dir, folder, entry));
    CM_TRY(cm_path_join(path, dir, CHANGE));
    CM_TRY(cm_file_read(&text, &n, path, 1 << 16));
    cm_status st = ps_seal_parse(&root, text, n, path, NULL);
    if (st == CM_OK)
        st = parse_change(a, root, path);
    cm_json_close(&root);
    cm_free(&text);
    return st;
}

/* ---- reading ---- */

/* The numbers of all changes, ascending, readable or not; none is fine. */
static cm_status list_changes(int64_t **numbers, size_t *n, char folder[CM_PATH], const char *dir,
                              const char *name)
{
    char stem[PS_NUMBERED];
    *numbers = NULL;
    *n = 0;
    CM_TRY(ps_alias_check_name(name));
    CM_TRY(cm_path_join(folder, dir, FOLDER));
    stem_of(stem, name);
    cm_status st = ps_numbered_list(numbers, n, folder, stem);
    return st == CM_ENOTFOUND ? CM_OK : st;
}

/* A change that is damaged is passed over, *there false. What cannot be read just now is no damage:
 * whoever passed over it would take an older change for the newest. */
static cm_status try_change(struct ps_alias *a, bool *there, const char *folder, const char *name,
                            int64_t number)
{
    cm_status st = read_change(a, folder, name, number);
    *there = st == CM_OK;
    if (!ps_is_damage(st) && st != CM_ENOTFOUND)
        return st;
    cm_error_report(CM_LOG_WARN, st, "change of an alias skipped");
    return CM_OK;
}

cm_status ps_alias_history(struct ps_alias **out, size_t *n, const char *dir, const char *name)
{
    char folder[CM_PATH];
    int64_t *numbers = NULL;
    size_t count;
    *out = NULL;
    *n = 0;
    CM_TRY(list_changes(&numbers, &count, folder, dir, name));
    cm_status st = cm_alloc(out, count, sizeof **out, "history of an alias");
    for (size_t i = 0; st == CM_OK && i < count; i++) {
        bool there;
        st = try_change(&(*out)[*n], &there, folder, name, numbers[i]);
        *n += st == CM_OK && there;
    }
    if (st != CM_OK)
        cm_free(out);
    cm_free(&numbers);
    return st;
}

/* The newest change that reads, version 0 when there is none, and the highest number, readable or
 * not. */
static cm_status current_of(struct ps_alias *current, int64_t *highest, const char *dir,
                            const char *name)
{
    char folder[CM_PATH];
    int64_t *numbers = NULL;
    size_t n;
    bool there = false;
    CM_TRY(list_changes(&numbers, &n, folder, dir, name));
    *highest = n ? numbers[n - 1] : 0;
    cm_status st = CM_OK;
    while (st == CM_OK && !there && n > 0)
        st = try_change(current, &there, folder, name, numbers[--n]);
    if (!there)
        *current = (struct ps_alias){0};
    cm_free(&numbers);
    return st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ps_alias *)a)->name, ((const struct ps_alias *)b)->name);
}

/* The alias of a folder's name "champion.000012"; false when it is none. */
static bool alias_of(char name[PS_NAME], const char *entry)
{
    const char *dot = strrchr(entry, '.');
    char stem[PS_NUMBERED];
    int64_t number;
    if (!dot || dot == entry || dot - entry >= PS_NAME)
        return false;
    snprintf(name, PS_NAME, "%.*s", (int)(dot - entry), entry);
    stem_of(stem, name);
    return ps_numbered_parse(&number, entry, stem) && ps_alias_check_name(name) == CM_OK;
}

cm_status ps_alias_list(struct ps_alias **out, size_t *n, const char *dir)
{
    char folder[CM_PATH], name[PS_NAME], last[PS_NAME] = "";
    char **entries = NULL;
    size_t count;
    *out = NULL;
    *n = 0;
    CM_TRY(cm_path_join(folder, dir, FOLDER));
    if (!cm_path_is_dir(folder))
        return CM_OK;
    CM_TRY(cm_dir_list(&entries, &count, folder));
    cm_status st = cm_alloc(out, count, sizeof **out, "aliases");
    /* Sorted bytewise, the changes of one alias, having one prefix, stand together. */
    for (size_t i = 0; st == CM_OK && i < count; i++) {
        if (!alias_of(name, entries[i]) || !strcmp(name, last))
            continue;
        memcpy(last, name, sizeof last);
        st = ps_alias_get(&(*out)[*n], dir, name);
        if (st == CM_OK)
            ++*n;
        else if (st == CM_ENOTFOUND) /* no change of it reads; that was warned about */
            st = CM_OK;
    }
    if (st != CM_OK)
        cm_free(out);
    else
        qsort(*out, *n, sizeof **out, by_name);
    cm_dir_list_free(&entries, count);
    return st;
}

static cm_status not_set(const char *dir, const char *name)
{
    char known[256] = "";
    struct ps_alias *list = NULL;
    size_t n = 0, at = 0;
    if (ps_alias_list(&list, &n, dir) != CM_OK)
        n = 0;
    for (size_t i = 0; i < n && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, " %s", list[i].name);
    cm_free(&list);
    return CM_FAIL(CM_ENOTFOUND, "%s: no alias '%s' (there %s:%s)", dir, name,
                   n == 1 ? "is" : "are", n ? known : " none");
}

cm_status ps_alias_get(struct ps_alias *out, const char *dir, const char *name)
{
    bool previous = !strcmp(name, PS_PREVIOUS);
    int64_t highest;
    CM_TRY(current_of(out, &highest, dir, previous ? PS_CHAMPION : name));
    if (previous) {
        snprintf(out->name, sizeof out->name, PS_PREVIOUS);
        out->version = out->from;
        out->from = 0; /* not kept: it would be another alias's story */
    }
    if (out->version > 0)
        return CM_OK;
    if (previous)
        return CM_FAIL(CM_ENOTFOUND, "%s: %s never changed, so there is no previous", dir,
                       PS_CHAMPION);
    return not_set(dir, name);
}

/* ---- changing ---- */

/* One try. CM_EEXIST: another change came between. */
static cm_status change(struct ps_alias *a, const char *dir, int64_t expected)
{
    char folder[CM_PATH], stem[PS_NUMBERED];
    struct ps_alias current;
    char *text = NULL;
    size_t n;
    CM_TRY(current_of(&current, &a->number, dir, a->name));
    if (expected != PS_ANY && current.version != expected)
        return CM_FAIL(CM_EMISMATCH,
                       "alias %s names version %" PRId64 ", not %" PRId64
                       " as expected (0: nothing); last change by '%s'",
                       a->name, current.version, expected, current.who);
    a->number++;
    a->from = current.version;
    a->changed_utc_s = cm_utc_now();
    CM_TRY(cm_path_join(folder, dir, FOLDER));
    CM_TRY(cm_dir_make(folder));
    stem_of(stem, a->name);
    CM_TRY(write_change(&text, &n, a));
    cm_status st = ps_numbered_claim(folder, stem, a->number, CHANGE, text, n, "store.alias");
    cm_free(&text);
    return st;
}

cm_status ps_alias_set(struct ps_alias *out, const char *dir, const char *name, int64_t expected,
                       int64_t version, const char *who, const char *why)
{
    struct ps_alias a = {.version = version};
    CM_TRY(ps_alias_check_name(name));
    if (version < 1)
        return CM_FAIL(CM_EINVAL, "alias %s: %" PRId64 " is no version", name, version);
    snprintf(a.name, sizeof a.name, "%s", name);
    snprintf(a.who, sizeof a.who, "%s", who);
    snprintf(a.why, sizeof a.why, "%s", why);
    cm_status st = CM_EEXIST;
    for (int i = 0; i < TRIES && st == CM_EEXIST; i++)
        st = change(&a, dir, expected);
    if (st == CM_OK && out)
        *out = a;
    return st;
}

cm_status ps_alias_rollback(struct ps_alias *out, const char *dir, const char *name,
                            const char *who, const char *why)
{
    struct ps_alias current;
    CM_TRY(ps_alias_get(&current, dir, name));
    if (current.from == 0)
        return CM_FAIL(CM_ENOTFOUND, "alias %s named nothing before version %" PRId64, name,
                       current.version);
    return ps_alias_set(out, dir, name, current.version, current.from, who, why);
}
