/* The list of strings of argv.h. */
#include "launcher/argv.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/mem.h"

static cm_status append(struct la_argv *a, const char *text)
{
    if (a->n + 2 > a->capacity) {
        size_t capacity = a->capacity ? 2 * a->capacity : 16;
        CM_TRY(cm_realloc(&a->item, capacity, sizeof *a->item, "argument list"));
        a->capacity = capacity;
    }
    CM_TRY(cm_strdup(&a->item[a->n], text));
    a->item[++a->n] = NULL;
    return CM_OK;
}

void la_argv_add(struct la_argv *a, const char *text)
{
    if (a->st == CM_OK)
        a->st = append(a, text);
}

void la_argv_addf(struct la_argv *a, const char *fmt, ...)
{
    char text[8192];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text) {
        a->st = CM_FAIL(CM_EINVAL, "an argument of %d bytes is too long", n);
        return;
    }
    la_argv_add(a, text);
}

void la_argv_add_all(struct la_argv *a, char *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        la_argv_add(a, items[i]);
}

cm_status la_argv_end(const struct la_argv *a)
{
    return a->st;
}

void la_argv_release(struct la_argv *a)
{
    for (size_t i = 0; i < a->n; i++)
        cm_free(&a->item[i]);
    cm_free(&a->item);
    *a = (struct la_argv){0};
}
