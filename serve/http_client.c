#include "serve/http_client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/mem.h"

#define ANSWER_NBYTES 65536 /* of head and body */

struct sv_http_client {
    const char *host;
    int port;
    int fd; /* -1: not connected */
    size_t n;
    char answer[ANSWER_NBYTES + 1];
};

cm_status sv_http_client_open(struct sv_http_client **out, const char *host, int port)
{
    CM_TRY(cm_alloc(out, 1, sizeof **out, "HTTP client"));
    (*out)->host = host;
    (*out)->port = port;
    (*out)->fd = -1;
    return CM_OK;
}

static void disconnect(struct sv_http_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void sv_http_client_close(struct sv_http_client **c)
{
    if (!*c)
        return;
    disconnect(*c);
    cm_free(c);
}

static cm_status await(const struct sv_http_client *c, short events, struct cm_deadline deadline)
{
    struct pollfd p = {.fd = c->fd, .events = events};
    int n;
    do
        n = poll(&p, 1, cm_deadline_left_ms(deadline));
    while (n < 0 && errno == EINTR);
    return n > 0 ? CM_OK : CM_FAIL(CM_ETIMEDOUT, "%s:%d does not answer", c->host, c->port);
}

/* The outcome of a connect under way. */
static cm_status finish_connect(const struct sv_http_client *c, struct cm_deadline deadline)
{
    int code = 0;
    socklen_t n = sizeof code;
    CM_TRY(await(c, POLLOUT, deadline));
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &n) < 0)
        code = errno;
    return code ? CM_FAIL(CM_ECONNECT, "%s:%d: %s", c->host, c->port, strerror(code)) : CM_OK;
}

static cm_status connect_to(struct sv_http_client *c, struct cm_deadline deadline)
{
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list;
    char service[16];
    int yes = 1;
    snprintf(service, sizeof service, "%d", c->port);
    int code = getaddrinfo(c->host, service, &want, &list);
    if (code)
        return CM_FAIL(CM_ECONNECT, "%s:%d: %s", c->host, c->port, gai_strerror(code));
    c->fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool failed = c->fd < 0 || connect(c->fd, list->ai_addr, list->ai_addrlen) < 0;
    code = failed ? errno : 0;
    freeaddrinfo(list);
    if (code && code != EINPROGRESS)
        return CM_FAIL(CM_ECONNECT, "%s:%d: %s", c->host, c->port, strerror(code));
    if (code)
        CM_TRY(finish_connect(c, deadline));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return CM_OK;
}

static cm_status send_all(struct sv_http_client *c, struct iovec part[2],
                          struct cm_deadline deadline)
{
    struct msghdr m = {.msg_iov = part, .msg_iovlen = 2};
    while (part[0].iov_len + part[1].iov_len > 0) {
        CM_TRY(await(c, POLLOUT, deadline));
        ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return CM_FAIL(CM_ECLOSED, "%s:%d: %s", c->host, c->port, strerror(errno));
        for (int i = 0; i < 2; i++) {
            size_t k = (size_t)n < part[i].iov_len ? (size_t)n : part[i].iov_len;
            part[i].iov_base = (char *)part[i].iov_base + k;
            part[i].iov_len -= k;
            n -= (ssize_t)k;
        }
    }
    return CM_OK;
}

/* Bytes of the whole answer, 0 while its head is not complete. */
static size_t answer_size(struct sv_http_client *c, const char **body)
{
    const char *end = strstr(c->answer, "\r\n\r\n");
    const char *length = strcasestr(c->answer, "\r\nContent-Length:");
    if (!end)
        return 0;
    *body = end + 4;
    return (size_t)(*body - c->answer) +
           (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static cm_status receive(struct sv_http_client *c, struct cm_deadline deadline, const char **body)
{
    size_t want = 0;
    c->n = 0;
    c->answer[0] = '\0';
    while (!want || c->n < want) {
        CM_TRY(await(c, POLLIN, deadline));
        ssize_t n = recv(c->fd, c->answer + c->n, ANSWER_NBYTES - c->n, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return CM_FAIL(CM_ECLOSED, "%s:%d closed the connection", c->host, c->port);
        c->n += (size_t)n;
        c->answer[c->n] = '\0';
        want = answer_size(c, body);
        if (want > ANSWER_NBYTES || (!want && c->n == ANSWER_NBYTES))
            return CM_FAIL(CM_EFORMAT, "%s:%d: an answer of more than %d bytes", c->host, c->port,
                           ANSWER_NBYTES);
    }
    return CM_OK;
}

cm_status sv_http_client_post(struct sv_http_client *c, const char *path, const char *content_type,
                              const void *body, size_t n, struct cm_deadline deadline, int *code,
                              const char **answer)
{
    char head[512];
    void *data;
    cm_status st;
    memcpy(&data, &body, sizeof data);
    int nhead = snprintf(head, sizeof head,
                         "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: %s\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         path, c->host, c->port, content_type, n);
    struct iovec part[2] = {{head, (size_t)nhead}, {data, n}};
    if (nhead >= (int)sizeof head)
        return CM_FAIL(CM_EINVAL, "a path of %zu bytes", strlen(path));
    if (c->fd < 0)
        CM_GOTO(st, connect_to(c, deadline), out);
    CM_GOTO(st, send_all(c, part, deadline), out);
    CM_GOTO(st, receive(c, deadline, answer), out);
    if (strncmp(c->answer, "HTTP/1.1 ", 9) != 0) {
        st = CM_FAIL(CM_EFORMAT, "%s:%d does not speak HTTP/1.1", c->host, c->port);
        goto out;
    }
    *code = (int)strtol(c->answer + 9, NULL, 10);
out:
    if (st != CM_OK)
        disconnect(c);
    return st;
}
