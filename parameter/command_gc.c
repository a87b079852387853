/* checkpoint gc and alias: the verbs that change something. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/alias.h"
#include "parameter/store_command.h"
#include "parameter/store_config.h"

/* ---- gc ---- */

/* The run's own config where there is one, options over it. */
static cm_status gc_config(struct ps_config *out, const struct ps_command *c)
{
    struct cm_config *cfg = NULL;
    char path[CM_PATH];
    CM_TRY(cm_path_join(path, c->run_dir, "config.json"));
    CM_TRY(cm_config_open(&cfg, cm_path_exists(path) ? path : NULL, NULL, 0));
    cm_status st = cm_config_read(cfg, &ps_config_section, out);
    cm_config_close(&cfg);
    CM_TRY(st);
    out->keep_last = c->keep_last >= 0 ? c->keep_last : out->keep_last;
    out->keep_every = c->keep_every >= 0 ? c->keep_every : out->keep_every;
    out->keep_best = c->keep_best >= 0 ? c->keep_best : out->keep_best;
    out->trash_minutes = c->trash_minutes >= 0 ? c->trash_minutes : out->trash_minutes;
    if (c->metric) {
        snprintf(out->best_metric, sizeof out->best_metric, "%s", c->metric);
        out->best_order = c->low ? PS_BEST_LOW : PS_BEST_HIGH;
    }
    return CM_OK;
}

static cm_status tell_removed(const struct ps_command *c, const struct ps_removed *removed)
{
    struct cm_jw w = {0};
    if (c->json) {
        cm_jw_begin(&w, NULL, '{');
        cm_jw_bool(&w, "dry", c->dry);
        cm_jw_begin(&w, "removed", '[');
        for (size_t i = 0; i < removed->n; i++)
            cm_jw_i64(&w, NULL, removed->version[i]);
        cm_jw_end(&w);
        cm_jw_end(&w);
        return cm_jw_print(&w);
    }
    for (size_t i = 0; i < removed->n; i++) {
        char name[PS_VERSION_TEXT];
        ps_store_name(c->store, name, removed->version[i]);
        printf("%s %s\n", c->dry ? "would remove" : "removed", name);
    }
    if (removed->n == 0)
        puts("nothing to remove");
    return CM_OK;
}

/* A lease in a folder that is no run would be litter. */
static cm_status need_versions(const struct ps_command *c)
{
    int64_t *numbers = NULL;
    size_t n;
    CM_TRY(ps_store_list(c->store, &numbers, &n));
    cm_free(&numbers);
    return n > 0 ? CM_OK
                 : CM_FAIL(CM_ENOTFOUND, "%s: no versions here (is it a run directory?)",
                           ps_store_dir(c->store));
}

cm_status ps_command_gc(struct ps_command *c)
{
    struct ps_config cfg;
    struct ps_lease *lease = NULL;
    struct ps_store *writer = NULL;
    struct ps_removed removed = {0};
    cm_status st;
    CM_TRY(need_versions(c));
    CM_TRY(gc_config(&cfg, c));
    struct ps_retention rule = ps_config_retention(&cfg);
    if (!c->dry) {
        CM_TRY(ps_lease_acquire(&lease, c->run_dir, "", c->force));
        CM_GOTO(st, ps_store_open_writer(&writer, ps_store_dir(c->store), 'v', lease), out);
    }
    CM_GOTO(st,
            ps_store_gc(c->dry ? c->store : writer, &rule, cfg.best_metric, cfg.trash_minutes * 60,
                        c->dry, &removed),
            out);
    st = tell_removed(c, &removed);
out:
    cm_free(&removed.version);
    ps_store_close(&writer);
    ps_lease_release(&lease);
    return st;
}

/* ---- alias ---- */

static void write_change(struct cm_jw *w, const struct ps_alias *a)
{
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "alias", a->name);
    cm_jw_i64(w, "version", a->version);
    cm_jw_i64(w, "from", a->from);
    cm_jw_i64(w, "number", a->number);
    cm_jw_string(w, "who", a->who);
    cm_jw_string(w, "why", a->why);
    cm_jw_f64(w, "changed_utc_s", a->changed_utc_s);
    cm_jw_end(w);
}

static cm_status print_changes(const struct ps_command *c, const struct ps_alias *list, size_t n)
{
    struct cm_jw w = {0};
    if (c->json) {
        cm_jw_begin(&w, NULL, '[');
        for (size_t i = 0; i < n; i++)
            write_change(&w, &list[i]);
        cm_jw_end(&w);
        return cm_jw_print(&w);
    }
    for (size_t i = 0; i < n; i++) {
        char when[CM_UTC_TEXT], to[PS_VERSION_TEXT], from[PS_VERSION_TEXT];
        cm_utc_format(when, list[i].changed_utc_s);
        ps_store_name(c->store, to, list[i].version);
        ps_store_name(c->store, from, list[i].from);
        printf("%-12s %s  since %s by %s, before %s%s%s\n", list[i].name, to, when, list[i].who,
               list[i].from ? from : "nothing", list[i].why[0] ? ": " : "", list[i].why);
    }
    return CM_OK;
}

static cm_status alias_get(const struct ps_command *c)
{
    const char *dir = ps_store_dir(c->store);
    struct ps_alias *list = NULL, one;
    size_t n;
    if (c->noperands > 1) {
        CM_TRY(ps_alias_get(&one, dir, c->operand[1]));
        return print_changes(c, &one, 1);
    }
    CM_TRY(ps_alias_list(&list, &n, dir));
    cm_status st = print_changes(c, list, n);
    cm_free(&list);
    return st;
}

static cm_status number_of(int64_t *number, const struct ps_command *c, const char *ref)
{
    struct ps_version *v = NULL;
    CM_TRY(ps_version_open_ref(&v, c->store, ref));
    cm_status st = ps_version_verify(v); /* nobody should be sent to a damaged version */
    *number = ps_version_number(v);
    ps_version_close(&v);
    return st;
}

/* --expect: a number alone, for the alias may name a version that is damaged or gone. */
static cm_status expected_of(int64_t *expected, const char *text)
{
    char *end;
    *expected = 0;
    if (!strcmp(text, "none"))
        return CM_OK;
    *expected = strtoll(text + (text[0] == 'v'), &end, 10);
    if (*end || *expected < 1)
        return CM_FAIL(CM_EUSAGE, "--expect: '%s' is neither a version (v000123, 123) nor 'none'",
                       text);
    return CM_OK;
}

/* A version may be removed while an alias is being set to it: gc looks at the aliases once more
 * after it has hidden versions (gc.c), this looks at the version after the alias is set, so one of
 * them sees the other. When it is gone the alias goes back to what it named. */
static cm_status settle_change(const struct ps_command *c, const struct ps_alias *made)
{
    const char *dir = ps_store_dir(c->store);
    struct ps_version *v = NULL;
    struct cm_error why;
    cm_status st = ps_version_open(&v, c->store, made->version);
    ps_version_close(&v);
    if (st != CM_ENOTFOUND)
        return print_changes(c, made, 1);
    cm_error_save(&why);
    if (made->from > 0 && ps_alias_set(NULL, dir, made->name, made->version, made->from, made->who,
                                       "the version was removed meanwhile") != CM_OK)
        cm_log_warn("alias %s still names it: %s", made->name, cm_error_text());
    cm_error_restore(&why);
    return CM_CONTEXT(st, "version %" PRId64 " was removed meanwhile, alias %s cannot name it",
                      made->version, made->name);
}

static cm_status alias_set(const struct ps_command *c, const char *who)
{
    struct ps_alias made;
    int64_t version, expected = PS_ANY;
    if (c->noperands < 3)
        return CM_FAIL(CM_EUSAGE, "flywheel checkpoint alias: set wants DIR NAME VERSION");
    CM_TRY(number_of(&version, c, c->operand[2]));
    if (c->expect)
        CM_TRY(expected_of(&expected, c->expect));
    CM_TRY(ps_alias_set(&made, ps_store_dir(c->store), c->operand[1], expected, version, who,
                        c->why ? c->why : ""));
    return settle_change(c, &made);
}

cm_status ps_command_alias(struct ps_command *c)
{
    const char *verb = c->noperands > 0 ? c->operand[0] : "get";
    const char *name = c->noperands > 1 ? c->operand[1] : PS_CHAMPION;
    const char *user = getenv("USER"), *who = c->who ? c->who : user ? user : "unknown";
    struct ps_alias *list = NULL, made;
    size_t n;
    if (!strcmp(verb, "get"))
        return alias_get(c);
    if (!strcmp(verb, "set"))
        return alias_set(c, who);
    if (!strcmp(verb, "rollback")) {
        CM_TRY(ps_alias_rollback(&made, ps_store_dir(c->store), name, who, c->why ? c->why : ""));
        return settle_change(c, &made);
    }
    if (strcmp(verb, "history") != 0)
        return CM_FAIL(CM_EUSAGE,
                       "flywheel checkpoint alias: '%s' is none of get, set, rollback, "
                       "history",
                       verb);
    CM_TRY(ps_alias_history(&list, &n, ps_store_dir(c->store), name));
    cm_status st = print_changes(c, list, n);
    cm_free(&list);
    return st;
}
