#include "serve/http_reply.h"

#include <stdio.h>
#include <string.h>

#include "common/hash.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/version.h"
#include "wire/classes.h"

#define JSON "application/json"

/* Ends w and answers with it. */
static void answer(struct cm_http_request *request, int code, struct cm_jw *w, int retry_after_s)
{
    static const char no_memory[] = "{\"error\":\"out of memory\"}\n";
    char *text;
    size_t n;
    cm_jw_end(w);
    if (cm_jw_take(w, &text, &n) != CM_OK) {
        cm_http_answer(request, 500, JSON, no_memory, sizeof no_memory - 1, 0);
        return;
    }
    cm_http_answer(request, code, JSON, text, n, retry_after_s);
    cm_free(&text);
}

void sv_http_fail(struct cm_http_request *request, int code, const char *text, int retry_after_s)
{
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "error", text);
    answer(request, code, &w, retry_after_s);
}

static void write_class(struct cm_jw *w, const struct wi_class *class)
{
    cm_jw_string(w, "class", class->name);
    cm_jw_i64(w, "index", class->index);
    cm_jw_f64(w, "probability", (double)class->probability);
}

static void write_top(struct cm_jw *w, struct wi_classes classes)
{
    struct wi_class class;
    cm_jw_begin(w, "top", '[');
    while (wi_classes_next(&classes, &class)) {
        cm_jw_begin(w, NULL, '{');
        write_class(w, &class);
        cm_jw_end(w);
    }
    cm_jw_end(w);
}

static void reply_prediction(struct cm_http_request *request, const struct wi_header *h,
                             struct wi_classes classes, bool plain)
{
    struct wi_classes rest = classes;
    struct wi_class best = {0};
    char id[WI_ID_TEXT], hash[CM_XXH_TEXT], line[WI_CLASS_NAME_MAX + 2];
    struct cm_jw w = {0};
    wi_classes_next(&rest, &best);
    if (plain) {
        int n = snprintf(line, sizeof line, "%s\n", best.name);
        cm_http_answer(request, 200, "text/plain; charset=utf-8", line, (size_t)n, 0);
        return;
    }
    wi_id_format(id, h->prediction_id);
    cm_xxh_format(hash, h->manifest_hash);
    cm_jw_begin(&w, NULL, '{');
    write_class(&w, &best);
    write_top(&w, classes);
    cm_jw_string(&w, "prediction_id", id);
    cm_jw_i64(&w, "version", h->version);
    cm_jw_string(&w, "manifest_hash", hash);
    cm_jw_u64(&w, "queue_us", h->queue_us);
    cm_jw_u64(&w, "infer_us", h->infer_us);
    cm_jw_u64(&w, "batch", h->count);
    answer(request, 200, &w, 0);
}

void sv_http_reply(struct cm_http_request *request, const struct wi_header *h, const void *body,
                   bool plain)
{
    struct wi_classes classes;
    char text[512];
    if (h->status == WI_OK) {
        if (wi_classes_open(&classes, body, h->body_nbytes) == CM_OK)
            reply_prediction(request, h, classes, plain);
        else
            sv_http_fail(request, 500, cm_error_text(), 0);
        return;
    }
    int n = h->body_nbytes < sizeof text ? (int)h->body_nbytes : (int)sizeof text - 1;
    snprintf(text, sizeof text, "%.*s", n, n ? (const char *)body : "");
    int retry_s = h->retry_us ? (int)(h->retry_us / 1000000) + 1 : 0;
    /* 503, not 429: it is the server that is busy, whoever asks. */
    int code = h->status == WI_OVERLOADED ? 503 : wi_status_http(h->status);
    sv_http_fail(request, code, n ? text : wi_status_text(h->status), retry_s);
}

void sv_http_health(struct cm_http_request *request, const char *what, bool yes, const char *why)
{
    struct cm_jw w = {0};
    if (!yes) {
        sv_http_fail(request, 503, why, 1);
        return;
    }
    cm_jw_begin(&w, NULL, '{');
    cm_jw_bool(&w, what, true);
    answer(request, 200, &w, 0);
}

void sv_http_server(struct cm_http_request *request)
{
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "name", "flywheel");
    cm_jw_string(&w, "version", cm_version());
    cm_jw_begin(&w, "extensions", '[');
    cm_jw_string(&w, NULL, "image_predictions");
    cm_jw_end(&w);
    answer(request, 200, &w, 0);
}

static void write_tensor(struct cm_jw *w, const char *list, const char *name, const char *datatype,
                         const int *shape, int n)
{
    cm_jw_begin(w, list, '[');
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "name", name);
    cm_jw_string(w, "datatype", datatype);
    cm_jw_begin(w, "shape", '[');
    for (int i = 0; i < n; i++)
        cm_jw_i64(w, NULL, shape[i]);
    cm_jw_end(w);
    cm_jw_end(w);
    cm_jw_end(w);
}

void sv_http_model(struct cm_http_request *request, const struct sv_card *card)
{
    const struct nn_spec *spec = card->spec;
    const int in[] = {-1, spec->input.h, spec->input.w, spec->input.c};
    const int out[] = {-1, spec->nclasses};
    char version[24], hash[CM_XXH_TEXT];
    struct cm_jw w = {0};
    snprintf(version, sizeof version, "%lld", (long long)card->version.number);
    cm_xxh_format(hash, card->version.hash);
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "name", spec->name);
    cm_jw_begin(&w, "versions", '[');
    cm_jw_string(&w, NULL, version);
    cm_jw_end(&w);
    cm_jw_string(&w, "platform", "flywheel_safetensors");
    write_tensor(&w, "inputs", "image", "UINT8", in, 4);
    write_tensor(&w, "outputs", "probability", "FP32", out, 2);
    cm_jw_begin(&w, "classes", '[');
    for (int i = 0; i < spec->nclasses; i++)
        cm_jw_string(&w, NULL, spec->classes[i]);
    cm_jw_end(&w);
    cm_jw_string(&w, "manifest_hash", hash);
    cm_jw_i64(&w, "step", card->step);
    cm_jw_f64(&w, "created", card->created_utc_s);
    answer(request, 200, &w, 0);
}
