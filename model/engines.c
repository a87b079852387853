#include "model/engines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

void nn_engines_release(struct nn_engines *e)
{
    cm_free(&e->engine);
    *e = (struct nn_engines){0};
}

static struct nn_engine *find(const struct nn_engines *e, const char *key)
{
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->engine[i].key, key) == 0)
            return &e->engine[i];
    return NULL;
}

const struct nn_engine *nn_engines_find(const struct nn_engines *e, const char *key)
{
    return find(e, key);
}

cm_status nn_engines_add(struct nn_engines *e, const struct nn_engine *engine)
{
    struct nn_engine *known = find(e, engine->key);
    if (!known && e->n == e->room) {
        size_t room = e->room ? 2 * e->room : 16;
        CM_TRY(cm_realloc(&e->engine, room, sizeof *e->engine, "engines"));
        e->room = room;
    }
    if (!known)
        known = &e->engine[e->n++];
    *known = *engine;
    return CM_OK;
}

cm_status nn_engines_write(char **text, const struct nn_engines *e)
{
    size_t line = sizeof(struct nn_engine) + 32, at = 0;
    CM_TRY(cm_alloc(text, e->n * line + 1, 1, "engines' text"));
    for (size_t i = 0; i < e->n; i++)
        at += (size_t)snprintf(*text + at, line, "%s\t%s\t%llu\n", e->engine[i].key,
                               e->engine[i].name, (unsigned long long)e->engine[i].workspace);
    return CM_OK;
}

/* The field up to `end`, into a buffer of n; NULL when it is missing, empty or too long. */
static const char *take_field(const char *text, char end, char *field, size_t n)
{
    size_t length = strcspn(text, "\t\n");
    if (length == 0 || length >= n || text[length] != end)
        return NULL;
    memcpy(field, text, length);
    field[length] = '\0';
    return text + length + 1;
}

static const char *read_line(const char *text, struct nn_engine *engine)
{
    char number[24], *rest;
    *engine = (struct nn_engine){0};
    text = take_field(text, '\t', engine->key, sizeof engine->key);
    text = text ? take_field(text, '\t', engine->name, sizeof engine->name) : NULL;
    text = text ? take_field(text, '\n', number, sizeof number) : NULL;
    if (!text || number[0] < '0' || number[0] > '9')
        return NULL;
    errno = 0;
    engine->workspace = strtoull(number, &rest, 10);
    return errno == 0 && *rest == '\0' ? text : NULL;
}

cm_status nn_engines_read(struct nn_engines *e, const char *text)
{
    for (size_t number = 1; *text; number++) {
        struct nn_engine engine;
        text = read_line(text, &engine);
        if (!text)
            return CM_FAIL(CM_EFORMAT, "engines, line %zu: not KEY<TAB>NAME<TAB>BYTES", number);
        CM_TRY(nn_engines_add(e, &engine));
    }
    return CM_OK;
}
