#include "serve/endpoints.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/json.h"
#include "common/mem.h"

#define FILE_NAME   "serve.json"
#define LOCK_NAME   "serve.lock"
#define FILE_NBYTES 65536

cm_status sv_endpoints_write(const struct sv_endpoints *e, const char *run_dir)
{
    char path[CM_PATH], *text;
    size_t n;
    struct cm_jw w = {.indent = 2};
    CM_TRY(cm_path_join(path, run_dir, FILE_NAME));
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "format", "1.0");
    cm_jw_string(&w, "clients", e->clients);
    cm_jw_string(&w, "workers", e->workers);
    cm_jw_string(&w, "announce", e->announce);
    cm_jw_string(&w, "http_host", e->http_host);
    cm_jw_i64(&w, "http_port", e->http_port);
    cm_jw_i64(&w, "pid", e->pid);
    cm_jw_string(&w, "life", e->life);
    cm_jw_end(&w);
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = cm_file_replace(path, text, n);
    cm_free(&text);
    return st;
}

static cm_status take_text(const struct cm_json *root, const char *where, const char *key,
                           char *out, size_t size)
{
    const char *text;
    CM_TRY(cm_json_need_string(root, where, key, &text));
    if (strlen(text) >= size)
        return CM_FAIL(CM_EFORMAT, "%s: '%s' is longer than %zu bytes", where, key, size - 1);
    memcpy(out, text, strlen(text) + 1);
    return CM_OK;
}

static cm_status take_fields(struct sv_endpoints *e, const struct cm_json *root, const char *path)
{
    int64_t port;
    CM_TRY(cm_json_need_format(root, path, 1, NULL));
    CM_TRY(take_text(root, path, "clients", e->clients, sizeof e->clients));
    CM_TRY(take_text(root, path, "workers", e->workers, sizeof e->workers));
    CM_TRY(take_text(root, path, "announce", e->announce, sizeof e->announce));
    CM_TRY(take_text(root, path, "http_host", e->http_host, sizeof e->http_host));
    CM_TRY(take_text(root, path, "life", e->life, sizeof e->life));
    CM_TRY(cm_json_need_i64(root, path, "http_port", 0, 65535, &port));
    CM_TRY(cm_json_need_i64(root, path, "pid", 1, INT32_MAX, &e->pid));
    e->http_port = (int)port;
    return CM_OK;
}

cm_status sv_endpoints_read(struct sv_endpoints *e, const char *run_dir)
{
    char path[CM_PATH];
    struct cm_json *root;
    *e = (struct sv_endpoints){0};
    CM_TRY(cm_path_join(path, run_dir, FILE_NAME));
    CM_TRY(cm_json_parse_file(&root, path, FILE_NBYTES));
    cm_status st = take_fields(e, root, path);
    cm_json_close(&root);
    return st;
}

void sv_endpoints_remove(const char *run_dir)
{
    char path[CM_PATH];
    if (cm_path_join(path, run_dir, FILE_NAME) == CM_OK)
        unlink(path);
}

void sv_endpoint_choose(char out[SV_ENDPOINT], const char *configured, const char *run_dir,
                        const char *name)
{
    struct sockaddr_un address;
    char *whole = realpath(run_dir, NULL);
    const char *dir = whole ? whole : run_dir;
    if (*configured)
        snprintf(out, SV_ENDPOINT, "%.*s", SV_ENDPOINT - 1, configured);
    else if (strlen(dir) + 1 + strlen(name) < sizeof address.sun_path)
        snprintf(out, SV_ENDPOINT, "ipc://%s/%s", dir, name);
    else
        snprintf(out, SV_ENDPOINT, "tcp://127.0.0.1:0");
    free(whole);
}

cm_status sv_run_lock(int *fd, const char *run_dir)
{
    char path[CM_PATH], holder[32] = "";
    CM_TRY(cm_path_join(path, run_dir, LOCK_NAME));
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        return CM_FAIL_ERRNO("cannot open %s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) < 0) {
        cm_status st;
        if (errno == EWOULDBLOCK) {
            ssize_t n = pread(*fd, holder, sizeof holder - 1, 0);
            holder[n > 0 ? strspn(holder, "0123456789") : 0] = '\0';
            st = CM_FAIL(CM_EBUSY, "%s: another gateway (process %s) serves this run directory",
                         run_dir, *holder ? holder : "unknown");
        } else {
            st = CM_FAIL_ERRNO("cannot lock %s", path);
        }
        close(*fd);
        *fd = -1;
        return st;
    }
    int n = snprintf(holder, sizeof holder, "%ld\n", (long)getpid());
    if (ftruncate(*fd, 0) < 0 || pwrite(*fd, holder, (size_t)n, 0) != n) {
        cm_status st = CM_FAIL_ERRNO("cannot write %s", path);
        sv_run_unlock(fd);
        return st;
    }
    return CM_OK;
}

void sv_run_unlock(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
