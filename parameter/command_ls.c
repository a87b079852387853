/* checkpoint ls, show, verify: what is there, and whether it is as it was written. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/mem.h"
#include "parameter/alias.h"
#include "parameter/store_command.h"

/* 1536 as "1.5 KiB". */
static void size_text(char text[16], uint64_t nbytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)nbytes;
    int unit = 0;
    for (; v >= 1024 && unit < 4; unit++)
        v /= 1024;
    snprintf(text, 16, unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

static void age_text(char text[16], double since_utc_s)
{
    double s = fmax(0, cm_utc_now() - since_utc_s);
    if (s < 120)
        snprintf(text, 16, "%.0f s", s);
    else if (s < 7200)
        snprintf(text, 16, "%.0f min", s / 60);
    else if (s < 172800)
        snprintf(text, 16, "%.0f h", s / 3600);
    else
        snprintf(text, 16, "%.0f d", s / 86400);
}

static uint64_t total_nbytes(const struct ps_manifest *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->nfiles; i++)
        sum += m->files[i].nbytes;
    return sum;
}

struct aliases {
    struct ps_alias *list;
    size_t n;
};

static void print_row(const struct ps_command *c, const struct ps_version *v, const char *wrong,
                      int64_t number, const struct aliases *a)
{
    char name[PS_VERSION_TEXT], size[16], age[16], metrics[256] = "";
    size_t at = 0;
    ps_store_name(c->store, name, number);
    if (!v) {
        printf("%-9s %s\n", name, wrong);
        return;
    }
    const struct ps_manifest *m = ps_version_manifest(v);
    size_text(size, total_nbytes(m));
    age_text(age, m->created_utc_s);
    for (size_t i = 0; i < m->nmetrics && at < sizeof metrics; i++)
        at += (size_t)snprintf(metrics + at, sizeof metrics - at, "%s%s %.4g", i ? ", " : "",
                               m->metrics[i].name, m->metrics[i].value);
    printf("%-9s %8" PRId64 " %6" PRId64 "  %-8s %10s %8s  %s", name, m->step, m->epoch,
           m->producer, size, age, metrics);
    for (size_t i = 0; i < a->n; i++)
        if (a->list[i].version == number)
            printf("  <%s>", a->list[i].name);
    putchar('\n');
}

static void write_row(struct cm_jw *w, const struct ps_version *v, const char *wrong,
                      int64_t number, const struct aliases *a)
{
    cm_jw_begin(w, NULL, '{');
    cm_jw_i64(w, "version", number);
    cm_jw_bool(w, "valid", v != NULL);
    if (v) {
        const struct ps_manifest *m = ps_version_manifest(v);
        cm_jw_i64(w, "generation", m->generation);
        cm_jw_i64(w, "parent", m->parent);
        cm_jw_i64(w, "step", m->step);
        cm_jw_i64(w, "epoch", m->epoch);
        cm_jw_string(w, "producer", m->producer);
        cm_jw_f64(w, "created_utc_s", m->created_utc_s);
        cm_jw_u64(w, "nbytes", total_nbytes(m));
        cm_jw_begin(w, "metrics", '{');
        for (size_t i = 0; i < m->nmetrics; i++)
            cm_jw_f64(w, m->metrics[i].name, m->metrics[i].value);
        cm_jw_end(w);
    } else {
        cm_jw_string(w, "wrong", wrong);
    }
    cm_jw_begin(w, "aliases", '[');
    for (size_t i = 0; i < a->n; i++)
        if (a->list[i].version == number)
            cm_jw_string(w, NULL, a->list[i].name);
    cm_jw_end(w);
    cm_jw_end(w);
}

/* One row for each version; check: with all its contents hashed, else manifest and sizes only.
 * *damaged: how many cannot be used. */
static cm_status list_versions(struct ps_command *c, const int64_t *numbers, size_t n, bool check,
                               size_t *damaged)
{
    struct aliases a = {0};
    struct cm_jw w = {0};
    *damaged = 0;
    CM_TRY(ps_alias_list(&a.list, &a.n, ps_store_dir(c->store)));
    if (c->json)
        cm_jw_begin(&w, NULL, '[');
    else if (n == 0) /* perhaps a folder above: silence would pass for "all is well" */
        printf("%s: no versions\n", ps_store_dir(c->store));
    else if (!check)
        printf("%-9s %8s %6s  %-8s %10s %8s  %s\n", "version", "step", "epoch", "producer", "size",
               "age", "metrics");
    for (size_t i = 0; i < n; i++) {
        struct ps_version *v = NULL;
        cm_status st = ps_version_open(&v, c->store, numbers[i]);
        if (st == CM_OK && check && (st = ps_version_verify(v)) != CM_OK)
            ps_version_close(&v);
        *damaged += st != CM_OK;
        if (c->json)
            write_row(&w, v, cm_error_text(), numbers[i], &a);
        else if (check && v)
            printf("%-9s ok, %zu files\n", strrchr(ps_version_dir(v), '/') + 1,
                   ps_version_manifest(v)->nfiles);
        else
            print_row(c, v, cm_error_text(), numbers[i], &a);
        ps_version_close(&v);
    }
    cm_free(&a.list);
    if (!c->json)
        return CM_OK;
    cm_jw_end(&w);
    return cm_jw_print(&w);
}

cm_status ps_command_ls(struct ps_command *c)
{
    int64_t *numbers = NULL;
    size_t n;
    CM_TRY(ps_store_list(c->store, &numbers, &n));
    size_t damaged; /* news in a list, no failure of listing */
    cm_status st = list_versions(c, numbers, n, false, &damaged);
    cm_free(&numbers);
    return st;
}

cm_status ps_command_verify(struct ps_command *c)
{
    int64_t *numbers = NULL;
    size_t n = 1, damaged;
    cm_status st;
    if (c->noperands > 0) {
        struct ps_version *v = NULL;
        CM_TRY(ps_version_open_ref(&v, c->store, c->operand[0]));
        int64_t number = ps_version_number(v);
        ps_version_close(&v);
        st = list_versions(c, &number, n, true, &damaged);
    } else {
        CM_TRY(ps_store_list(c->store, &numbers, &n));
        st = list_versions(c, numbers, n, true, &damaged);
        cm_free(&numbers);
    }
    if (st == CM_OK && damaged > 0)
        return CM_FAIL(CM_ECORRUPT, "%zu of %zu versions cannot be used", damaged, n);
    return st;
}

static void print_story(const struct ps_manifest *m, const char *dir)
{
    char created[CM_UTC_TEXT], hash[CM_XXH_TEXT];
    cm_utc_format(created, m->created_utc_s);
    cm_xxh_format(hash, m->hash);
    printf("%s\n  manifest    %s\n  written     %s by %s, generation %" PRId64 ", run %s\n", dir,
           hash, created, m->producer, m->generation, m->run);
    printf("  position    step %" PRId64 ", epoch %" PRId64 ", sample %" PRId64 "\n", m->step,
           m->epoch, m->sample);
    printf("  parent      %" PRId64 "\n", m->parent);
    if (m->origin)
        printf("  origin      %s\n", m->origin);
    for (size_t i = 0; i < m->nmetrics; i++)
        printf("  metric      %s = %.6g\n", m->metrics[i].name, m->metrics[i].value);
    for (size_t i = 0; i < m->ninterventions; i++)
        printf("  intervened  %s, steps %" PRId64 " to %" PRId64 "\n", m->interventions[i].kind,
               m->interventions[i].first_step, m->interventions[i].last_step);
    for (size_t i = 0; i < m->nfiles; i++) {
        cm_xxh_format(hash, m->files[i].hash);
        printf("  file        %-20s %12" PRIu64 " bytes  %s\n", m->files[i].name,
               m->files[i].nbytes, hash);
    }
    for (size_t i = 0; i < m->nchecks; i++)
        printf("  tensor      %s: %s, largest %.6g\n", m->checks[i].file, m->checks[i].name,
               m->checks[i].abs_max);
    if (m->fingerprint)
        printf("fingerprint\n%s", m->fingerprint);
    if (m->data_fingerprint)
        printf("data\n%s", m->data_fingerprint);
}

cm_status ps_command_show(struct ps_command *c)
{
    struct ps_version *v = NULL;
    char path[CM_PATH];
    char *text = NULL;
    size_t n;
    cm_status st;
    CM_TRY(ps_version_open_ref(&v, c->store, c->noperands > 0 ? c->operand[0] : "latest"));
    if (!c->json) {
        print_story(ps_version_manifest(v), ps_version_dir(v));
        ps_version_close(&v);
        return CM_OK;
    }
    CM_GOTO(st, cm_path_join(path, ps_version_dir(v), "manifest.json"), out);
    CM_GOTO(st, cm_file_read(&text, &n, path, PS_MANIFEST_NBYTES), out);
    fputs(text, stdout);
out:
    cm_free(&text);
    ps_version_close(&v);
    return st;
}
