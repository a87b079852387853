#include "serve/http_route.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PARTS 6

struct part {
    const char *s;
    size_t n;
};

/* "/a/b" and "/a/b/" are {a, b}; -1: too many, or an empty one. */
static int split(struct part parts[MAX_PARTS], const char *path)
{
    int n = 0;
    if (*path++ != '/')
        return -1;
    while (*path) {
        size_t length = strcspn(path, "/");
        if (n == MAX_PARTS || length == 0)
            return -1;
        parts[n++] = (struct part){path, length};
        path += length;
        path += *path == '/';
    }
    return n;
}

static bool is(struct part part, const char *word)
{
    return strlen(word) == part.n && memcmp(part.s, word, part.n) == 0;
}

static bool take_name(struct sv_target *out, struct part part)
{
    if (part.n >= sizeof out->name)
        return false;
    memcpy(out->name, part.s, part.n);
    out->name[part.n] = '\0';
    return true;
}

/* "7" or "v000007". */
static bool take_version(struct sv_target *out, struct part part)
{
    const char *digits = part.s + (*part.s == 'v');
    size_t n = part.n - (size_t)(*part.s == 'v');
    if (n < 1 || n > 18 || strspn(digits, "0123456789") < n)
        return false;
    out->version = strtoll(digits, NULL, 10);
    return out->version > 0;
}

static bool find_model(struct sv_target *out, const struct part *p, int n)
{
    out->route = SV_ROUTE_MODEL;
    if (n > 3 && is(p[n - 1], "ready")) {
        out->route = SV_ROUTE_MODEL_READY;
        n--;
    }
    if (n != 3 && !(n == 5 && is(p[3], "versions") && take_version(out, p[4])))
        return false;
    return take_name(out, p[2]);
}

static bool find_get(struct sv_target *out, const struct part *p, int n)
{
    if (n == 1 && is(p[0], "metrics"))
        out->route = SV_ROUTE_METRICS;
    else if (n == 1 && is(p[0], "v2"))
        out->route = SV_ROUTE_SERVER;
    else if (n == 3 && is(p[0], "v2") && is(p[1], "health") && is(p[2], "live"))
        out->route = SV_ROUTE_LIVE;
    else if (n == 3 && is(p[0], "v2") && is(p[1], "health") && is(p[2], "ready"))
        out->route = SV_ROUTE_READY;
    else
        return n >= 3 && is(p[0], "v2") && is(p[1], "models") && find_model(out, p, n);
    return true;
}

static bool find_post(struct sv_target *out, const struct part *p, int n)
{
    out->route = SV_ROUTE_PREDICT;
    if (n == 1 && is(p[0], "predict"))
        return true;
    return (n == 2 || n == 3) && is(p[0], "predictions") && take_name(out, p[1]) &&
           (n == 2 || take_version(out, p[2]));
}

int sv_route_find(struct sv_target *out, const char *method, const char *path)
{
    struct part parts[MAX_PARTS];
    struct sv_target get = {0}, post = {0};
    *out = (struct sv_target){0};
    int n = split(parts, path);
    bool has_get = n >= 0 && find_get(&get, parts, n);
    bool has_post = n >= 0 && find_post(&post, parts, n);
    if (!has_get && !has_post)
        return 404;
    bool wants_get = !strcmp(method, "GET") || !strcmp(method, "HEAD");
    bool wants_post = !strcmp(method, "POST");
    if (!(has_get && wants_get) && !(has_post && wants_post))
        return 405;
    *out = has_get ? get : post;
    return 0;
}
