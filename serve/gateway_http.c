/* HTTP beside ZeroMQ. A server thread looks at a request, refuses what can be refused without
 * knowing anything, and puts the rest into the gateway's mailbox; the gateway's thread answers. */
#include "serve/gateway_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/mem.h"
#include "serve/http_reply.h"

#define DEFAULT_TOP_K 5

/* ---- on a server thread ---- */

/* A whole number in the query; false: there is one, and it is none of lo to hi. */
static bool take_number(const struct cm_http_request *request, const char *name, int64_t lo,
                        int64_t hi, int64_t *out)
{
    const char *text = cm_http_query(request, name);
    char *end;
    if (!text)
        return true;
    size_t n = strlen(text);
    *out = strtoll(text, &end, 10);
    return n > 0 && n < 12 && !*end && *out >= lo && *out <= hi;
}

/* The image is the form's "file", or the body. Pixels have to be declared, or any text of the right
 * length would be an image. */
static cm_status take_image(struct wi_image *out, struct cm_http_request *request)
{
    const char *type = cm_http_header(request, "Content-Type");
    bool form = type && strncasecmp(type, "multipart/form-data", 19) == 0;
    size_t n;
    const void *data = form ? cm_http_field(request, "file", &n) : cm_http_body(request, &n);
    if (!data)
        return CM_FAIL(CM_EFORMAT, "the form has no field 'file'");
    *out = wi_image_guess(data, n);
    bool pixels = out->kind == WI_IMAGE_PIXELS && type &&
                  strncasecmp(type, "application/octet-stream", 24) == 0;
    if (n == 0)
        return CM_FAIL(CM_EFORMAT, "the image is empty");
    if (out->kind == WI_IMAGE_FILE || pixels)
        return CM_OK;
    const unsigned char *p = data;
    return CM_FAIL(CM_EFORMAT,
                   "%zu bytes that begin with %02x %02x are neither JPEG nor PNG; pixels as the "
                   "model takes them need 'Content-Type: application/octet-stream'",
                   n, p[0], n > 1 ? p[1] : 0);
}

/* Refused here and now, and counted. */
static void turn_away(struct sv_gateway *g, struct cm_http_request *request, int code,
                      enum wi_status status, const char *text)
{
    cm_metric_add(g->metrics.answers[SV_HTTP][status], 1);
    sv_http_fail(request, code, text, code == 503 ? 1 : 0);
}

static bool fill_call(struct sv_gateway *g, struct sv_call *call, struct cm_http_request *request)
{
    const char *accept = cm_http_header(request, "Accept");
    int64_t top_k = DEFAULT_TOP_K;
    if (!take_number(request, "top_k", 0, UINT16_MAX, &top_k) ||
        !take_number(request, "timeout_ms", 1, INT32_MAX, &call->timeout_ms)) {
        turn_away(g, request, 400, WI_BAD_INPUT, "top_k is 0 to 65535, timeout_ms at least 1");
        return false;
    }
    call->top_k = (uint16_t)top_k;
    call->plain = accept && strncmp(accept, "text/plain", 10) == 0;
    if (take_image(&call->image, request) != CM_OK) {
        turn_away(g, request, 400, WI_BAD_INPUT, cm_error_text());
        return false;
    }
    return true;
}

void sv_http_handle(void *ctx, struct cm_http_request *request)
{
    struct sv_gateway *g = ctx;
    struct sv_target target;
    struct sv_call *call;
    int code = sv_route_find(&target, cm_http_method(request), cm_http_path(request));
    if (code) {
        turn_away(g, request, code, WI_UNSUPPORTED,
                  code == 405 ? "this path does not take this method"
                              : "no such path; POST an image to /predict");
        return;
    }
    if (cm_alloc(&call, 1, sizeof *call, "HTTP request") != CM_OK) {
        turn_away(g, request, 503, WI_OVERLOADED, "out of memory");
        return;
    }
    call->letter.kind = SV_LETTER_CALL;
    call->request = request;
    call->target = target;
    if (target.route == SV_ROUTE_PREDICT && !fill_call(g, call, request)) {
        cm_free(&call);
        return;
    }
    if (!sv_mailbox_put(&g->mailbox, &call->letter)) {
        turn_away(g, request, 503, WI_STOPPING, "the server is stopping");
        cm_free(&call);
    }
}

/* ---- on the gateway's thread ---- */

static void answer_metrics(struct sv_gateway *g, struct cm_http_request *request)
{
    char *text;
    size_t n;
    if (cm_metrics_text(g->metrics.registry, &text, &n) != CM_OK) {
        sv_http_fail(request, 500, cm_error_text(), 0);
        return;
    }
    cm_http_answer(request, 200, "text/plain; version=0.0.4; charset=utf-8", text, n, 0);
    cm_free(&text);
}

static bool is_ready(const struct sv_gateway *g)
{
    return g->phase == SV_RUNNING && sv_rollout_is_ready(&g->rollout);
}

/* Is it the model that is served, by name and version? Else the text says what is. */
static bool is_served(const struct sv_gateway *g, const struct sv_target *t, char text[256])
{
    const struct sv_card *card = g->serving;
    if (!*t->name)
        return true;
    if (!card)
        snprintf(text, 256, "no model is served yet");
    else if (strcmp(t->name, card->spec->name) != 0)
        snprintf(text, 256, "no model '%s' is served, but '%s'", t->name, card->spec->name);
    else if (t->version && t->version != card->version.number)
        snprintf(text, 256, "version %lld is not served, but %lld", (long long)t->version,
                 (long long)card->version.number);
    else
        return true;
    return false;
}

/* Pixels that cannot be the model's are refused here, where both sizes can be told. */
static bool fits(const struct sv_gateway *g, const struct wi_image *image, char text[256])
{
    const struct nn_spec *spec = g->serving ? g->serving->spec : NULL;
    if (!spec || image->kind != WI_IMAGE_PIXELS || image->n == nn_shape_count(spec->input))
        return true;
    snprintf(text, 256, "%zu bytes are neither JPEG nor PNG, nor the %zu of %d x %d x %d pixels",
             image->n, nn_shape_count(spec->input), spec->input.h, spec->input.w, spec->input.c);
    return false;
}

static void answer_state(struct sv_gateway *g, const struct sv_call *call)
{
    const char *why =
        g->phase == SV_RUNNING ? "no verified version can answer yet" : "the server is stopping";
    switch (call->target.route) {
    case SV_ROUTE_LIVE:
        sv_http_health(call->request, "live", true, "");
        break;
    case SV_ROUTE_READY:
    case SV_ROUTE_MODEL_READY:
        sv_http_health(call->request, "ready", is_ready(g), why);
        break;
    case SV_ROUTE_SERVER:
        sv_http_server(call->request);
        break;
    case SV_ROUTE_MODEL:
        sv_http_model(call->request, g->serving);
        break;
    case SV_ROUTE_METRICS:
        answer_metrics(g, call->request);
        break;
    case SV_ROUTE_PREDICT: /* answered elsewhere */
        break;
    }
}

void sv_http_take(struct sv_gateway *g, struct sv_call *call)
{
    char text[256];
    if (!is_served(g, &call->target, text)) {
        turn_away(g, call->request, 404, WI_UNSUPPORTED, text);
    } else if (call->target.route != SV_ROUTE_PREDICT) {
        answer_state(g, call);
    } else if (!fits(g, &call->image, text)) {
        turn_away(g, call->request, 400, WI_BAD_INPUT, text);
    } else {
        sv_clients_call(g, call);
        return;
    }
    cm_free(&call);
}
