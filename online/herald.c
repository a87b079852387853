#include "online/herald.h"

#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"

#define SERVE_JSON_NBYTES 65536
#define LINGER_MS         500 /* at the end of the program, for the last news */

cm_status ol_herald_open(struct ol_herald *h, const char *run_dir)
{
    *h = (struct ol_herald){0};
    CM_TRY(cm_path_join(h->path, run_dir, "serve.json"));
    return cm_socket_ctx_open(&h->ctx);
}

void ol_herald_close(struct ol_herald *h)
{
    cm_socket_close(&h->socket);
    cm_socket_ctx_close(&h->ctx);
}

/* "" when there is no gateway, or one without that endpoint. */
static void read_endpoint(const struct ol_herald *h, char endpoint[CM_CONFIG_STRING])
{
    struct cm_json *json;
    const char *text;
    endpoint[0] = '\0';
    if (!cm_path_exists(h->path) || cm_json_parse_file(&json, h->path, SERVE_JSON_NBYTES) != CM_OK)
        return;
    if (cm_json_need_string(json, h->path, "announce", &text) == CM_OK)
        snprintf(endpoint, CM_CONFIG_STRING, "%s", text);
    cm_json_close(&json);
}

void ol_herald_look(struct ol_herald *h)
{
    static const struct cm_socket_config pub = {
        .type = CM_SOCKET_PUB, .linger_ms = LINGER_MS, .conflate = true};
    char endpoint[CM_CONFIG_STRING];
    read_endpoint(h, endpoint);
    if (strcmp(endpoint, h->endpoint) == 0)
        return;
    cm_socket_close(&h->socket);
    h->endpoint[0] = '\0';
    if (!*endpoint)
        return;
    cm_status st = cm_socket_open(&h->socket, h->ctx, &pub);
    if (st == CM_OK)
        st = cm_socket_connect(h->socket, endpoint);
    if (st == CM_OK)
        memcpy(h->endpoint, endpoint, sizeof endpoint);
    else
        cm_error_report(CM_LOG_WARN, st, "no announcements to the gateway");
}

void ol_herald_tell(struct ol_herald *h, const struct wi_announce *news)
{
    uint8_t bytes[WI_ANNOUNCE_NBYTES];
    if (!h->endpoint[0])
        return;
    wi_announce_encode(bytes, news);
    struct cm_message m = {.nframes = 1, .frame[0] = {bytes, sizeof bytes}};
    cm_status st = cm_socket_send(h->socket, &m, cm_deadline_in_ms(0));
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "announcement");
}
