#include "serve/model_shelf.h"

#include "common/mem.h"

#define MODELS 4 /* two are kept; one may still compute, one has just been loaded */

struct sv_shelf {
    struct sv_model *models[MODELS];
    struct sv_version served, wanted; /* by the gateway; wanted: what it asked for last */
    struct sv_version loading, next;  /* number 0: none */
    struct sv_loader *loader;
    bool ended;
};

cm_status sv_shelf_open(struct sv_shelf **out, const struct sv_model_config *cfg, int retry_ms,
                        int done_fd)
{
    struct sv_shelf *s = NULL;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&s, 1, sizeof *s, "models"));
    CM_GOTO(st, sv_loader_open(&s->loader, cfg, retry_ms, done_fd), out);
    *out = s;
    s = NULL;
out:
    sv_shelf_close(&s);
    return st;
}

void sv_shelf_close(struct sv_shelf **s)
{
    if (!*s)
        return;
    for (int i = 0; (*s)->loader && i < MODELS; i++)
        sv_loader_recycle((*s)->loader, &(*s)->models[i]);
    sv_loader_close(&(*s)->loader);
    cm_free(s);
}

struct sv_model *sv_shelf_find(const struct sv_shelf *s, struct sv_version v)
{
    for (int i = 0; i < MODELS; i++)
        if (s->models[i] && sv_version_equal(sv_model_version(s->models[i]), v))
            return s->models[i];
    return NULL;
}

void sv_shelf_serve(struct sv_shelf *s, struct sv_version v)
{
    if (v.number)
        s->served = v;
}

static void begin(struct sv_shelf *s)
{
    if (!s->next.number || s->loading.number || s->ended)
        return;
    s->loading = s->next;
    s->next = (struct sv_version){0};
    sv_loader_start(s->loader, s->loading);
}

bool sv_shelf_ask(struct sv_shelf *s, struct sv_version v)
{
    s->wanted = v;
    s->next = (struct sv_version){0};
    if (sv_shelf_find(s, v))
        return true;
    if (sv_version_equal(v, s->loading))
        return false;
    s->next = v;
    return false;
}

static void keep(struct sv_shelf *s, struct sv_model *model)
{
    for (int i = 0; i < MODELS; i++) {
        if (!s->models[i]) {
            s->models[i] = model;
            return;
        }
    }
    sv_loader_recycle(s->loader, &model); /* cannot be: before a load there are at most three */
}

bool sv_shelf_take(struct sv_shelf *s, struct sv_load *out)
{
    if (!sv_loader_take(s->loader, out))
        return false;
    s->loading = (struct sv_version){0};
    if (out->model)
        keep(s, out->model);
    return true;
}

void sv_shelf_tidy(struct sv_shelf *s, const struct sv_model *in_use)
{
    for (int i = 0; i < MODELS; i++) {
        if (!s->models[i] || s->models[i] == in_use)
            continue;
        struct sv_version v = sv_model_version(s->models[i]);
        if (!sv_version_equal(v, s->served) && !sv_version_equal(v, s->wanted))
            sv_loader_recycle(s->loader, &s->models[i]);
    }
    begin(s);
}

bool sv_shelf_is_loading(const struct sv_shelf *s)
{
    return s->loading.number != 0;
}

void sv_shelf_end(struct sv_shelf *s)
{
    s->ended = true;
    sv_loader_hurry(s->loader);
}
