/* checkpoint diff: which tensors of two versions differ, by how much, and where first. Elements are
 * compared as bytes, so a NaN equals itself and -0 differs from 0: the question is whether the bits
 * are the same. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "parameter/store_command.h"

struct comparison {
    const struct ps_command *command;
    struct cm_jw w;      /* with --json: a list of what differs */
    size_t ndifferences; /* tensors and files */
};

struct difference {
    int64_t count, first; /* elements that differ; the first one's index in row-major order */
    double largest;       /* max |a - b|, NaN where a NaN is involved */
    double a, b;          /* the first one's values */
};

static struct difference compare(const struct ps_tensor *a, const struct ps_tensor *b)
{
    struct difference d = {.first = -1};
    size_t size = (size_t)ps_dtype_bits(a->dtype) / 8;
    int64_t n = ps_tensor_count(a);
    if (size == 0) { /* below a byte: in bytes */
        size = 1;
        n = (int64_t)a->nbytes;
    }
    for (int64_t i = 0; i < n; i++) {
        if (!memcmp((const char *)a->data + (size_t)i * size,
                    (const char *)b->data + (size_t)i * size, size))
            continue;
        if (d.count++ == 0) {
            d.first = i;
            d.a = ps_tensor_at(a, i);
            d.b = ps_tensor_at(b, i);
        }
        double delta = fabs(ps_tensor_at(a, i) - ps_tensor_at(b, i));
        if (!(delta <= d.largest))
            d.largest = delta;
    }
    return d;
}

/* "[1,0,2]" */
static void index_text(char text[PS_SHAPE_TEXT], const struct ps_tensor *t, int64_t i)
{
    int64_t index[PS_NDIM_MAX] = {0};
    int at = 1;
    for (int d = t->ndim - 1; d >= 0; d--) {
        index[d] = i % t->dim[d];
        i /= t->dim[d];
    }
    text[0] = '[';
    for (int d = 0; d < t->ndim; d++)
        at +=
            snprintf(text + at, (size_t)(PS_SHAPE_TEXT - at), "%s%" PRId64, d ? "," : "", index[d]);
    snprintf(text + at, (size_t)(PS_SHAPE_TEXT - at), "]");
}

static void report_missing(struct comparison *c, const char *name, const char *what)
{
    struct cm_jw *w = &c->w;
    c->ndifferences++;
    if (!c->command->json) {
        printf("%s: %s\n", name, what);
        return;
    }
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "name", name);
    cm_jw_string(w, "what", what);
    cm_jw_end(w);
}

static void report(struct comparison *c, const struct ps_tensor *t, const struct difference *d)
{
    struct cm_jw *w = &c->w;
    char where[PS_SHAPE_TEXT];
    index_text(where, t, d->first);
    c->ndifferences++;
    if (!c->command->json) {
        printf("%s: %" PRId64 " of %" PRId64 " elements differ, by %.6g at most, first at %s "
               "(%.9g, %.9g)\n",
               t->name, d->count, ps_tensor_count(t), d->largest, where, d->a, d->b);
        return;
    }
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "name", t->name);
    cm_jw_i64(w, "count", d->count);
    cm_jw_i64(w, "of", ps_tensor_count(t));
    cm_jw_f64(w, "largest", d->largest);
    cm_jw_string(w, "first", where);
    cm_jw_f64(w, "a", d->a);
    cm_jw_f64(w, "b", d->b);
    cm_jw_end(w);
}

static void compare_sets(struct comparison *c, const struct ps_tensors *a,
                         const struct ps_tensors *b)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct ps_tensor *x = &a->t[i], *y = NULL;
        if (ps_tensors_need(b, x->name, x->dtype, x->ndim, x->dim, &y) != CM_OK) {
            report_missing(c, x->name, cm_error_text());
            continue;
        }
        struct difference d = compare(x, y);
        if (d.count > 0)
            report(c, x, &d);
    }
    for (size_t i = 0; i < b->n; i++)
        if (!ps_tensors_find(a, b->t[i].name))
            report_missing(c, b->t[i].name, "only in the second");
}

static cm_status compare_file(struct comparison *c, struct ps_version *const v[2], const char *file)
{
    struct ps_tensor_file *f[2] = {NULL, NULL};
    size_t before = c->ndifferences;
    cm_status st = CM_OK;
    for (int i = 0; i < 2; i++)
        CM_GOTO(st, ps_version_map(&f[i], v[i], file), out);
    compare_sets(c, ps_tensor_file_set(f[0]), ps_tensor_file_set(f[1]));
    if (!c->command->json && c->ndifferences == before)
        printf("%s: the same %zu tensors, bit for bit\n", file, ps_tensor_file_set(f[0])->n);
out:
    for (int i = 0; i < 2; i++)
        ps_tensor_file_close(&f[i]);
    return st;
}

/* The weights, and what a resume needs besides where both versions have it. */
static cm_status compare_versions(struct comparison *c, struct ps_version *const v[2])
{
    static const char state[] = "state.safetensors";
    if (c->command->file)
        return compare_file(c, v, c->command->file);
    CM_TRY(compare_file(c, v, "model.safetensors"));
    bool has[2];
    for (int i = 0; i < 2; i++)
        has[i] = ps_manifest_file(ps_version_manifest(v[i]), state) != NULL;
    if (has[0] && has[1])
        return compare_file(c, v, state);
    if (has[0] != has[1])
        report_missing(c, state, has[0] ? "only in the first" : "only in the second");
    return CM_OK;
}

cm_status ps_command_diff(struct ps_command *c)
{
    struct ps_store *other = NULL;
    struct ps_version *v[2] = {NULL, NULL};
    struct comparison found = {.command = c};
    char run_dir[CM_PATH];
    cm_status st;
    if (c->with)
        CM_GOTO(st, ps_command_open(&other, run_dir, c->with), out);
    CM_GOTO(st, ps_version_open_ref(&v[0], c->store, c->operand[0]), out);
    CM_GOTO(st, ps_version_open_ref(&v[1], other ? other : c->store, c->operand[1]), out);
    if (c->json)
        cm_jw_begin(&found.w, NULL, '[');
    CM_GOTO(st, compare_versions(&found, v), out);
    if (c->json) {
        cm_jw_end(&found.w);
        CM_GOTO(st, cm_jw_print(&found.w), out);
    }
    if (found.ndifferences > 0)
        st = CM_FAIL(CM_EMISMATCH, "%zu differences", found.ndifferences);
out:
    for (int i = 0; i < 2; i++)
        ps_version_close(&v[i]);
    ps_store_close(&other);
    cm_jw_release(&found.w);
    return st;
}
