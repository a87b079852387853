/* The texts are compared as wholes first; the slow walk only happens to explain a difference. */
#include "parameter/agree.h"

#include <stdio.h>
#include <string.h>

#include "common/mem.h"

cm_status ps_agree_text(char **text, size_t *n, const struct ps_tensors *set)
{
    size_t capacity = 1;
    for (size_t i = 0; i < set->n; i++)
        capacity += strlen(set->t[i].name) + PS_SHAPE_TEXT + 2;
    CM_TRY(cm_alloc(text, capacity, 1, "text of shapes"));
    size_t at = 0;
    for (size_t i = 0; i < set->n; i++) {
        const struct ps_tensor *t = &set->t[i];
        char shape[PS_SHAPE_TEXT];
        ps_tensor_describe(shape, t->dtype, t->ndim, t->dim);
        size_t start = at;
        at += (size_t)snprintf(*text + at, capacity - at, "%s", t->name);
        for (char *c = *text + start; *c; c++)
            if (*c == ' ' || *c == '\n')
                *c = '_';
        at += (size_t)snprintf(*text + at, capacity - at, " %s\n", shape);
    }
    *n = at;
    return CM_OK;
}

struct line { /* "item value" inside a text; borrowed */
    const char *item, *value;
    int nitem, nvalue;
};

/* The line at *at, which moves behind it; false at the end. */
static bool next_line(struct line *line, const char **at)
{
    if (!**at)
        return false;
    size_t n = strcspn(*at, "\n"), nitem = strcspn(*at, " \n");
    line->item = *at;
    line->nitem = (int)nitem;
    line->value = *at + nitem + (nitem < n);
    line->nvalue = (int)(n - nitem - (nitem < n));
    *at += n + ((*at)[n] == '\n');
    return true;
}

static bool same(const char *a, int na, const char *b, int nb)
{
    return na == nb && !memcmp(a, b, (size_t)na);
}

static bool find(struct line *found, const char *text, const struct line *item)
{
    while (next_line(found, &text))
        if (same(found->item, found->nitem, item->item, item->nitem))
            return true;
    return false;
}

cm_status ps_agree_check(const char *mine, const char *theirs, const char *who)
{
    if (!strcmp(mine, theirs))
        return CM_OK;
    struct line a, b;
    for (const char *at = mine; next_line(&a, &at);) {
        if (!find(&b, theirs, &a))
            return CM_FAIL(CM_EMISMATCH, "%s has no %.*s, which is %.*s here", who, a.nitem, a.item,
                           a.nvalue, a.value);
        if (!same(a.value, a.nvalue, b.value, b.nvalue))
            return CM_FAIL(CM_EMISMATCH, "%s: %.*s is %.*s, here %.*s", who, a.nitem, a.item,
                           b.nvalue, b.value, a.nvalue, a.value);
    }
    for (const char *at = theirs; next_line(&b, &at);)
        if (!find(&a, mine, &b))
            return CM_FAIL(CM_EMISMATCH, "%s has %.*s (%.*s), which is not here", who, b.nitem,
                           b.item, b.nvalue, b.value);
    const char *x = mine, *y = theirs;
    while (next_line(&a, &x) && next_line(&b, &y))
        if (!same(a.item, a.nitem, b.item, b.nitem))
            return CM_FAIL(CM_EMISMATCH, "%s has %.*s where %.*s is here: same items, other order",
                           who, b.nitem, b.item, a.nitem, a.item);
    return CM_FAIL(CM_EMISMATCH, "%s: an item is there twice on one side only", who);
}

cm_status ps_agree_tensors(const struct ps_tensors *have, const struct ps_tensors *want, bool exact,
                           const char *what)
{
    for (size_t i = 0; i < want->n; i++) {
        const struct ps_tensor *w = &want->t[i], *h = NULL;
        if (ps_tensors_need(have, w->name, w->dtype, w->ndim, w->dim, &h) != CM_OK)
            return CM_CONTEXT(CM_EMISMATCH, "%s", what);
    }
    for (size_t i = 0; exact && i < have->n; i++)
        if (!ps_tensors_find(want, have->t[i].name))
            return CM_FAIL(CM_EMISMATCH, "%s: tensor %s is not one of this network", what,
                           have->t[i].name);
    return CM_OK;
}
