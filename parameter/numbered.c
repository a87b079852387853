#include "parameter/numbered.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define CLAIM ".claim-"

void ps_numbered_format(char text[PS_NUMBERED], const char *stem, int64_t number)
{
    snprintf(text, PS_NUMBERED, "%s%06" PRId64, stem, number);
}

bool ps_numbered_parse(int64_t *number, const char *name, const char *stem)
{
    size_t n = strlen(stem);
    if (strncmp(name, stem, n) != 0 || strspn(name + n, "0123456789") > 15)
        return false;
    int64_t value = strtoll(name + n, NULL, 10);
    char canonical[PS_NUMBERED];
    ps_numbered_format(canonical, stem, value);
    if (value < 1 || strcmp(canonical, name) != 0)
        return false;
    *number = value;
    return true;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

cm_status ps_numbered_list(int64_t **out, size_t *n, const char *dir, const char *stem)
{
    char **names = NULL;
    size_t nnames;
    *out = NULL;
    *n = 0;
    CM_TRY(cm_dir_list(&names, &nnames, dir));
    cm_status st = cm_alloc(out, nnames, sizeof **out, "list of numbers");
    for (size_t i = 0; st == CM_OK && i < nnames; i++)
        if (ps_numbered_parse(&(*out)[*n], names[i], stem))
            ++*n;
    if (st == CM_OK) /* names are sorted bytewise: 1000000 comes before 999999 */
        qsort(*out, *n, sizeof **out, ascending);
    cm_dir_list_free(&names, nnames);
    return st;
}

cm_status ps_numbered_highest(int64_t *out, const char *dir, const char *stem)
{
    int64_t *list = NULL;
    size_t n;
    *out = 0;
    CM_TRY(ps_numbered_list(&list, &n, dir, stem));
    if (n > 0)
        *out = list[n - 1];
    cm_free(&list);
    return CM_OK;
}

/* Best effort: what stays does no harm, and the next winner tries again. */
static void discard(const char *path)
{
    struct cm_error record;
    cm_error_save(&record);
    if (cm_dir_remove(path) != CM_OK)
        cm_log_warn("left behind: %s", cm_error_text());
    cm_error_restore(&record);
}

/* Claims of the same stem for numbers up to this one have lost, or their makers died. A maker still
 * alive finds its claim gone, which ps_numbered_claim takes as having lost. */
static void remove_losers(const char *dir, const char *stem, int64_t number)
{
    char **names = NULL;
    char path[CM_PATH], prefix[PS_NUMBERED];
    size_t n;
    if (cm_dir_list(&names, &n, dir) != CM_OK)
        return;
    snprintf(prefix, sizeof prefix, CLAIM "%s", stem);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(names[i], prefix, strlen(prefix)) != 0)
            continue;
        if (strtoll(names[i] + strlen(prefix), NULL, 10) > number)
            continue;
        if (cm_path_join(path, dir, names[i]) == CM_OK)
            discard(path);
    }
    cm_dir_list_free(&names, n);
}

cm_status ps_numbered_claim(const char *dir, const char *stem, int64_t number, const char *file,
                            const char *text, size_t n, const char *fault)
{
    char name[PS_NUMBERED], uuid[CM_UUID_TEXT], claim[PS_NUMBERED + 64];
    char from[CM_PATH], to[CM_PATH], path[CM_PATH];
    cm_status st;
    ps_numbered_format(name, stem, number);
    cm_uuid_format(uuid, cm_uuid_make());
    snprintf(claim, sizeof claim, CLAIM "%s-%s", name, uuid);
    CM_TRY(cm_path_join(to, dir, name));
    CM_TRY(cm_path_join(from, dir, claim));
    CM_TRY(cm_path_join(path, from, file));

    CM_TRY(cm_dir_make_new(from));
    CM_GOTO(st, cm_file_replace(path, text, n), out);
    CM_GOTO(st, cm_fault(fault), out);
    CM_GOTO(st, cm_dir_rename(from, to), out);
    remove_losers(dir, stem, number);
    return CM_OK;
out:
    if (st == CM_ENOTFOUND && cm_path_is_dir(dir)) /* a winner has removed the claim */
        st = CM_FAIL(CM_EEXIST, "%s: another was first", to);
    discard(from);
    return st;
}
