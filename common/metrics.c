#include "common/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/rename.h"

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };
static const char *const kind_name[] = {"counter", "gauge", "histogram"};

struct cm_metric {
    struct cm_metric *next;
    enum kind kind;
    char *name, *labels, *help;
    _Atomic uint64_t value_bits; /* a double's: the value, or a histogram's sum */
    double *bounds;              /* (nbounds) */
    size_t nbounds;
    _Atomic uint64_t *counts; /* (nbounds + 1), not cumulative; the last is +Inf's */
};

struct cm_metrics {
    struct cm_metric *first, **last;
};

const double cm_latency_bounds_s[] = {1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2,
                                      5e-2, 0.1,  0.2,  0.5,  1,    2,    5,    10};
const size_t cm_latency_nbounds = sizeof cm_latency_bounds_s / sizeof *cm_latency_bounds_s;

static double value_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* --- registration --- */

cm_status cm_metrics_open(struct cm_metrics **out)
{
    CM_TRY(cm_alloc(out, 1, sizeof **out, "a metrics registry"));
    (*out)->last = &(*out)->first;
    return CM_OK;
}

static void metric_close(struct cm_metric *metric)
{
    cm_free(&metric->name);
    cm_free(&metric->labels);
    cm_free(&metric->help);
    cm_free(&metric->bounds);
    cm_free(&metric->counts);
    cm_free(&metric);
}

void cm_metrics_close(struct cm_metrics **m)
{
    if (!*m)
        return;
    for (struct cm_metric *metric = (*m)->first, *next; metric; metric = next) {
        next = metric->next;
        metric_close(metric);
    }
    cm_free(m);
}

/* Prometheus: [a-zA-Z_:][a-zA-Z0-9_:]* */
static bool is_name(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";
    bool digit_first = *name >= '0' && *name <= '9';
    return *name && !digit_first && name[strspn(name, letters)] == '\0';
}

static cm_status fill(struct cm_metric *metric, enum kind kind, const char *name,
                      const char *labels, const char *help, const double *bounds, size_t n)
{
    metric->kind = kind;
    CM_TRY(cm_strdup(&metric->name, name));
    CM_TRY(cm_strdup(&metric->labels, labels));
    CM_TRY(cm_strdup(&metric->help, help));
    if (kind != KIND_HISTOGRAM)
        return CM_OK;
    metric->nbounds = n;
    CM_TRY(cm_alloc(&metric->bounds, n, sizeof *metric->bounds, "a histogram"));
    CM_TRY(cm_alloc(&metric->counts, n + 1, sizeof *metric->counts, "a histogram"));
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(bounds[i]) || (i > 0 && bounds[i] <= bounds[i - 1]))
            return CM_FAIL(CM_EINVAL, "metric %s: bound %zu is not above the one before", name, i);
        metric->bounds[i] = bounds[i];
    }
    return CM_OK;
}

static cm_status add_metric(struct cm_metric **out, struct cm_metrics *m, enum kind kind,
                            const char *name, const char *labels, const char *help,
                            const double *bounds, size_t n)
{
    *out = NULL;
    if (!is_name(name))
        return CM_FAIL(CM_EINVAL, "'%s' is no metric name", name);
    for (struct cm_metric *old = m->first; old; old = old->next) {
        if (strcmp(old->name, name) != 0)
            continue;
        if (old->kind != kind)
            return CM_FAIL(CM_EINVAL, "metric %s is a %s already", name, kind_name[old->kind]);
        if (strcmp(old->labels, labels) == 0) {
            *out = old;
            return CM_OK;
        }
    }
    struct cm_metric *metric;
    CM_TRY(cm_alloc(&metric, 1, sizeof *metric, "a metric"));
    cm_status st = fill(metric, kind, name, labels, help, bounds, n);
    if (st != CM_OK) {
        metric_close(metric);
        return st;
    }
    *m->last = metric;
    m->last = &metric->next;
    *out = metric;
    return CM_OK;
}

cm_status cm_metric_counter(struct cm_metric **out, struct cm_metrics *m, const char *name,
                            const char *labels, const char *help)
{
    return add_metric(out, m, KIND_COUNTER, name, labels, help, NULL, 0);
}

cm_status cm_metric_gauge(struct cm_metric **out, struct cm_metrics *m, const char *name,
                          const char *labels, const char *help)
{
    return add_metric(out, m, KIND_GAUGE, name, labels, help, NULL, 0);
}

cm_status cm_metric_histogram(struct cm_metric **out, struct cm_metrics *m, const char *name,
                              const char *labels, const char *help, const double *bounds, size_t n)
{
    return add_metric(out, m, KIND_HISTOGRAM, name, labels, help, bounds, n);
}

/* --- updates: relaxed, because a scrape orders nothing --- */

static void add_double(_Atomic uint64_t *bits, double delta)
{
    uint64_t old = atomic_load_explicit(bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(bits, &old, bits_of(value_of(old) + delta),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void cm_metric_add(struct cm_metric *metric, double delta)
{
    if (!metric || metric->kind == KIND_HISTOGRAM)
        return;
    if (metric->kind == KIND_COUNTER && !(delta >= 0)) /* counters never go back; NaN neither */
        return;
    add_double(&metric->value_bits, delta);
}

void cm_metric_set(struct cm_metric *metric, double value)
{
    if (metric && metric->kind == KIND_GAUGE)
        atomic_store_explicit(&metric->value_bits, bits_of(value), memory_order_relaxed);
}

void cm_metric_observe(struct cm_metric *metric, double value)
{
    if (!metric || metric->kind != KIND_HISTOGRAM)
        return;
    size_t i = 0;
    while (i < metric->nbounds && !(value <= metric->bounds[i]))
        i++;
    atomic_fetch_add_explicit(&metric->counts[i], 1, memory_order_relaxed);
    add_double(&metric->value_bits, value);
}

double cm_metric_value(const struct cm_metric *metric)
{
    if (!metric)
        return 0;
    if (metric->kind != KIND_HISTOGRAM)
        return value_of(atomic_load_explicit(&metric->value_bits, memory_order_relaxed));
    uint64_t n = 0;
    for (size_t i = 0; i <= metric->nbounds; i++)
        n += atomic_load_explicit(&metric->counts[i], memory_order_relaxed);
    return (double)n;
}

/* --- exposition --- */

static void print_number(FILE *f, double v)
{
    char text[CM_F64_TEXT];
    cm_f64_format(text, v);
    fputs(isnan(v) ? "NaN" : isinf(v) ? (v > 0 ? "+Inf" : "-Inf") : text, f);
}

static void print_head(FILE *f, const struct cm_metric *metric)
{
    fprintf(f, "# HELP %s ", metric->name);
    for (const char *c = metric->help; *c; c++) {
        if (*c == '\\' || *c == '\n')
            fputc('\\', f);
        fputc(*c == '\n' ? 'n' : *c, f);
    }
    fprintf(f, "\n# TYPE %s %s\n", metric->name, kind_name[metric->kind]);
}

/* "name_suffix{labels,le="0.5"} " */
static void print_series(FILE *f, const struct cm_metric *metric, const char *suffix,
                         const char *le)
{
    bool labels = *metric->labels, braces = labels || le;
    fprintf(f, "%s%s%s%s", metric->name, suffix, braces ? "{" : "", metric->labels);
    if (le)
        fprintf(f, "%sle=\"%s\"", labels ? "," : "", le);
    fputs(braces ? "} " : " ", f);
}

static void print_histogram(FILE *f, const struct cm_metric *metric)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= metric->nbounds; i++) {
        char le[CM_F64_TEXT] = "+Inf";
        if (i < metric->nbounds)
            cm_f64_format(le, metric->bounds[i]);
        n += atomic_load_explicit(&metric->counts[i], memory_order_relaxed);
        print_series(f, metric, "_bucket", le);
        fprintf(f, "%" PRIu64 "\n", n);
    }
    print_series(f, metric, "_sum", NULL);
    print_number(f, value_of(atomic_load_explicit(&metric->value_bits, memory_order_relaxed)));
    fputc('\n', f);
    print_series(f, metric, "_count", NULL);
    fprintf(f, "%" PRIu64 "\n", n);
}

static void print_metric(FILE *f, const struct cm_metric *metric)
{
    if (metric->kind == KIND_HISTOGRAM) {
        print_histogram(f, metric);
        return;
    }
    print_series(f, metric, "", NULL);
    print_number(f, cm_metric_value(metric));
    fputc('\n', f);
}

/* The format wants all series of a name together, under one head. */
static void print_all(FILE *f, const struct cm_metrics *m)
{
    for (const struct cm_metric *metric = m->first; metric; metric = metric->next) {
        const struct cm_metric *head = m->first;
        while (strcmp(head->name, metric->name) != 0)
            head = head->next;
        if (head != metric)
            continue;
        print_head(f, head);
        for (const struct cm_metric *same = head; same; same = same->next) {
            if (strcmp(same->name, head->name) == 0)
                print_metric(f, same);
        }
    }
}

cm_status cm_metrics_text(const struct cm_metrics *m, char **text, size_t *n)
{
    *text = NULL;
    *n = 0;
    FILE *f = open_memstream(text, n); /* from malloc, as cm_alloc's memory is */
    if (!f)
        return CM_FAIL(CM_ENOMEM, "no memory for the metrics' text");
    print_all(f, m);
    bool failed = ferror(f);
    if (fclose(f) == 0 && !failed)
        return CM_OK;
    cm_free(text);
    *n = 0;
    return CM_FAIL(CM_ENOMEM, "no memory for the metrics' text");
}

static cm_status write_text(const char *path, const char *temp, const char *text, size_t n)
{
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return CM_FAIL_ERRNO("cannot create %s", temp);
    cm_status st = CM_OK;
    while (n > 0 && st == CM_OK) {
        ssize_t written = write(fd, text, n);
        if (written < 0 && errno != EINTR)
            st = CM_FAIL_ERRNO("cannot write %s", temp);
        if (written > 0) {
            text += written;
            n -= (size_t)written;
        }
    }
    if (close(fd) != 0 && st == CM_OK)
        st = CM_FAIL_ERRNO("cannot close %s", temp);
    if (st == CM_OK && (errno = cm_rename(temp, path, true)) != 0)
        st = CM_FAIL_ERRNO("cannot rename %s to %s", temp, path);
    if (st != CM_OK)
        (void)unlink(temp);
    return st;
}

cm_status cm_metrics_write(const struct cm_metrics *m, const char *path)
{
    char temp[CM_PATH], *text;
    size_t n;
    int length = snprintf(temp, sizeof temp, "%s.tmp-%ld", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof temp)
        return CM_FAIL(CM_EINVAL, "path longer than %d bytes: %.60s…", CM_PATH - 1, path);
    CM_TRY(cm_metrics_text(m, &text, &n));
    cm_status st = write_text(path, temp, text, n);
    cm_free(&text);
    return st;
}
