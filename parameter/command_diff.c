/* checkpoint diff: which tensors of two versions differ, by how much, and where first. Elements are
 * compared as bytes, so a NaN equals itself and -0 differs from 0: the question is whether the bits
 * are the same. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "parameter/store_command.h"

struct difference {
    int64_t count, first; /* elements that differ; the first one's index in row-major order */
    double largest;       /* max |a - b|, NaN where a NaN is involved */
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
        d.first = d.count++ ? d.first : i;
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

static void report(struct cm_jw *w, bool json, const char *name, const char *what,
                   const struct difference *d, const char *where)
{
    if (!json) {
        if (d)
            printf("%s: %" PRId64 " elements differ, by %.6g at most, first at %s\n", name,
                   d->count, d->largest, where);
        else
            printf("%s: %s\n", name, what);
        return;
    }
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "name", name);
    if (d) {
        cm_jw_i64(w, "count", d->count);
        cm_jw_f64(w, "largest", d->largest);
        cm_jw_string(w, "first", where);
    } else {
        cm_jw_string(w, "what", what);
    }
    cm_jw_end(w);
}

static void compare_sets(struct ps_command *c, struct cm_jw *w, const struct ps_tensors *a,
                         const struct ps_tensors *b)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct ps_tensor *x = &a->t[i], *y = NULL;
        if (ps_tensors_need(b, x->name, x->dtype, x->ndim, x->dim, &y) != CM_OK) {
            report(w, c->json, x->name, cm_error_text(), NULL, NULL);
            c->found = true;
            continue;
        }
        struct difference d = compare(x, y);
        if (d.count == 0)
            continue;
        char where[PS_SHAPE_TEXT];
        index_text(where, x, d.first);
        report(w, c->json, x->name, NULL, &d, where);
        c->found = true;
    }
    for (size_t i = 0; i < b->n; i++)
        if (!ps_tensors_find(a, b->t[i].name)) {
            report(w, c->json, b->t[i].name, "only in the second", NULL, NULL);
            c->found = true;
        }
}

cm_status ps_command_diff(struct ps_command *c)
{
    const char *file = c->file ? c->file : "model.safetensors";
    struct ps_version *v[2] = {NULL, NULL};
    struct ps_tensor_file *f[2] = {NULL, NULL};
    struct cm_jw w = {0};
    cm_status st = CM_OK;
    for (int i = 0; i < 2; i++) {
        CM_GOTO(st, ps_version_open_ref(&v[i], c->store, c->operand[i]), out);
        CM_GOTO(st, ps_version_map(&f[i], v[i], file), out);
    }
    if (c->json)
        cm_jw_begin(&w, NULL, '[');
    compare_sets(c, &w, ps_tensor_file_set(f[0]), ps_tensor_file_set(f[1]));
    if (c->json) {
        cm_jw_end(&w);
        st = ps_command_print(&w);
    } else if (!c->found) {
        printf("%s: the same %zu tensors, bit for bit\n", file, ps_tensor_file_set(f[0])->n);
    }
out:
    for (int i = 0; i < 2; i++) {
        ps_tensor_file_close(&f[i]);
        ps_version_close(&v[i]);
    }
    cm_jw_release(&w);
    return st;
}
