/* libmicrohttpd behind common/http.h. A request's life, and the one race in it:
 *
 *   reading --(body complete)--> HANDLING --(handler returns, no answer yet)--> SUSPENDED
 *                                    |                                             |
 *                                    |         cm_http_answer, any thread          |
 *                                    +----------------> ANSWERED <-----------------+
 *
 * The handler may pass the request on, and be answered by another thread before it returns. So the
 * server thread suspends the connection first and publishes SUSPENDED after, by compare-and-swap:
 * whoever comes second resumes. The answering thread does not touch the request after its own swap:
 * from there on it belongs to the server thread. */
#include "common/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/connections.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/multipart.h"

#define FIRST_BODY_NBYTES 4096
/* Of max_body_nbytes: so much of a chunked body is read to answer it politely. */
#define SWALLOW_TIMES  4
#define LISTEN_BACKLOG 511
#define NS_PER_S       1000000000
#define BUSY_RETRY_S   1
#define TEND_NS        100000000 /* between two looks at all connections */
/* Connections beyond the limit, let in to be refused, and how long each may take to ask, or to ask
 * again. */
#define EXCESS(max) ((max) / 8 + 16)
#define EXCESS_NS   INT64_C(3000000000)
#define CLOSE_MS    3000 /* for the last answers to reach clients that read them */

enum state { HANDLING, SUSPENDED, ANSWERED };

struct cm_http {
    struct cm_http_config cfg;
    struct MHD_Daemon *daemon;
    int listener; /* ours again after quiesce; -1 while the daemon has it */
    int port;
    atomic_bool quiesced;
    int64_t tended_ns; /* cm_http_tend's */
    struct cm_connections connections;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t sent;  /* unsent became 0 */
    size_t unsent;        /* requests with the handler, or with an answer on its way */
    size_t bodies_nbytes; /* memory of all bodies */
};

enum refusal { TAKEN, TOO_LARGE, BUSY, UNCLEAR };

struct cm_http_request {
    struct cm_http *server;
    struct MHD_Connection *connection;
    const char *method, *path; /* the connection's, for the request's life */
    char *body;
    size_t n, capacity;
    enum refusal refusal;      /* of what is still being read */
    size_t nswallowed;         /* bytes thrown away since */
    bool handed_over, counted; /* with the handler, or refused; the former, so in unsent */
    _Atomic enum state state;
    /* Written before state becomes ANSWERED, then the server thread's; NULL: out of memory, or
     * queued already. */
    struct MHD_Response *response;
    unsigned code;
};

static struct MHD_Response *make_response(const struct cm_http *server, const char *content_type,
                                          const void *body, size_t n, int retry_after_s)
{
    void *copied_by_mhd;
    memcpy(&copied_by_mhd, &body, sizeof(body));
    struct MHD_Response *response =
        MHD_create_response_from_buffer(n, copied_by_mhd, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return NULL;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    if (retry_after_s > 0) {
        char seconds[16];
        snprintf(seconds, sizeof(seconds), "%d", retry_after_s);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    }
    /* A draining server ends its connections one answer at a time. */
    if (atomic_load(&server->quiesced))
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    return response;
}

static enum MHD_Result queue(struct MHD_Connection *connection, unsigned code,
                             struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static struct cm_connection *connection_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* libmicrohttpd's own limit begins anew with each byte that a client takes. */
static enum MHD_Result queue_answer(struct cm_http_request *r)
{
    struct cm_http *s = r->server;
    struct MHD_Response *response = r->response;
    r->response = NULL;
    cm_connections_set_due(&s->connections, connection_of(r->connection),
                           s->cfg.timeout_s * (int64_t)NS_PER_S);
    return queue(r->connection, r->code, response);
}

static enum MHD_Result refuse(struct cm_http_request *r, enum refusal why)
{
    char text[128];
    int n;
    unsigned code = MHD_HTTP_SERVICE_UNAVAILABLE;
    if (why == TOO_LARGE) {
        code = MHD_HTTP_CONTENT_TOO_LARGE;
        n = snprintf(text, sizeof(text), "{\"error\":\"the body is larger than %zu bytes\"}\n",
                     r->server->cfg.max_body_nbytes);
    } else if (why == UNCLEAR) {
        code = MHD_HTTP_BAD_REQUEST;
        n = snprintf(text, sizeof(text),
                     "{\"error\":\"where the body ends is not told in one way\"}\n");
    } else {
        n = snprintf(text, sizeof(text),
                     "{\"error\":\"the server has too many requests to take another\"}\n");
    }
    struct MHD_Response *response = make_response(r->server, "application/json", text, (size_t)n,
                                                  why == BUSY ? BUSY_RETRY_S : 0);
    if (response && why == UNCLEAR) /* what follows may be anything */
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    r->handed_over = true;
    cm_metric_add(r->server->cfg.refused, 1);
    return queue(r->connection, code, response);
}

static void drop_body(struct cm_http_request *r)
{
    pthread_mutex_lock(&r->server->lock);
    r->server->bodies_nbytes -= r->capacity;
    pthread_mutex_unlock(&r->server->lock);
    cm_free(&r->body);
    r->capacity = 0;
}

/* Would n more bytes of bodies be too many? With the lock. */
static bool is_full(const struct cm_http *s, size_t n)
{
    size_t max = s->cfg.max_bodies_nbytes;
    return max && (n > max || s->bodies_nbytes > max - n);
}

/* Memory for n more bytes of the body; false: there is none. */
static bool grow(struct cm_http_request *r, size_t n)
{
    struct cm_http *s = r->server;
    size_t want = r->capacity ? r->capacity : FIRST_BODY_NBYTES;
    if (r->n + n <= r->capacity)
        return true;
    while (want < r->n + n)
        want *= 2;
    if (want > s->cfg.max_body_nbytes)
        want = s->cfg.max_body_nbytes;
    pthread_mutex_lock(&s->lock);
    bool full = is_full(s, want - r->capacity);
    if (!full)
        s->bodies_nbytes += want - r->capacity;
    pthread_mutex_unlock(&s->lock);
    if (full)
        return false;
    size_t before = r->capacity;
    r->capacity = want;
    if (cm_realloc(&r->body, want, 1, "request body") == CM_OK)
        return true;
    pthread_mutex_lock(&s->lock);
    s->bodies_nbytes -= want - before;
    pthread_mutex_unlock(&s->lock);
    r->capacity = before;
    return false;
}

/* MHD_NO closes the connection, which is all that is left when the client does not stop. */
static enum MHD_Result take_body(struct cm_http_request *r, const char *data, size_t n)
{
    size_t max = r->server->cfg.max_body_nbytes;
    if (!r->refusal && n > max - r->n)
        r->refusal = TOO_LARGE;
    else if (!r->refusal && !grow(r, n))
        r->refusal = BUSY;
    if (r->refusal) {
        drop_body(r);
        r->nswallowed += n;
        return r->nswallowed / SWALLOW_TIMES <= max ? MHD_YES : MHD_NO;
    }
    memcpy(r->body + r->n, data, n);
    r->n += n;
    return MHD_YES;
}

/* libmicrohttpd calls this for each connection that begins, and before it closes one that ends. */
static void on_connection(void *ctx, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode code)
{
    struct cm_http *s = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        *slot = cm_connections_add(
            &s->connections,
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
    else if (*slot)
        cm_connections_remove(&s->connections, *slot);
}

static enum MHD_Result hand_over(struct cm_http_request *r)
{
    struct MHD_Connection *connection = r->connection;
    const struct cm_http_config *cfg = &r->server->cfg;
    enum state handling = HANDLING;

    r->handed_over = r->counted = true;
    cm_connections_set_due(&r->server->connections, connection_of(connection), INT64_MAX);
    pthread_mutex_lock(&r->server->lock);
    r->server->unsent++;
    pthread_mutex_unlock(&r->server->lock);
    cfg->handler(cfg->ctx, r);
    if (atomic_load(&r->state) == ANSWERED)
        return queue_answer(r);
    MHD_suspend_connection(connection);
    if (!atomic_compare_exchange_strong(&r->state, &handling, SUSPENDED))
        MHD_resume_connection(connection);
    return MHD_YES;
}

struct framing {
    int nlengths, nencodings;
    bool odd;
};

static enum MHD_Result note_framing(void *ctx, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct framing *f = ctx;
    bool encoding = strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0;
    (void)kind;
    f->nlengths += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
    f->nencodings += encoding;
    f->odd = f->odd || strpbrk(name, " \t") ||
             (encoding && (!value || strcasecmp(value, "chunked") != 0));
    return MHD_YES;
}

/* Whoever reads the same head otherwise, as a proxy in front may, would take a client's body for
 * the next one's request (RFC 9112, 5.1 and 6.3). */
static bool is_unclear(struct cm_http_request *r)
{
    struct framing f = {0};
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, note_framing, &f);
    return f.odd || f.nlengths + f.nencodings > 1;
}

/* What can be refused before a byte of the body is read: so a client that waits for "100 Continue"
 * does not send it. */
static enum refusal judge(struct cm_http_request *r)
{
    struct cm_http *s = r->server;
    if (is_unclear(r))
        return UNCLEAR;
    const char *length = cm_http_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
    unsigned long long n = length ? strtoull(length, NULL, 10) : 0;
    bool reads_only = strcmp(r->method, MHD_HTTP_METHOD_GET) == 0 && n == 0;
    if (n > s->cfg.max_body_nbytes)
        return TOO_LARGE;
    if (reads_only)
        return TAKEN;
    if (cm_connections_is_excess(&s->connections, connection_of(r->connection)))
        return BUSY;
    pthread_mutex_lock(&s->lock);
    bool full = n > 0 && is_full(s, (size_t)n);
    pthread_mutex_unlock(&s->lock);
    return full ? BUSY : TAKEN;
}

static enum MHD_Result begin(struct cm_http *server, struct MHD_Connection *connection,
                             const char *path, const char *method, void **slot)
{
    struct cm_http_request *r;
    if (!connection_of(connection) || cm_alloc(&r, 1, sizeof(*r), "HTTP request") != CM_OK)
        return MHD_NO;
    r->server = server;
    r->connection = connection;
    r->method = method;
    r->path = path;
    *slot = r;
    int read_ms = server->cfg.read_ms;
    cm_connections_set_due(&server->connections, connection_of(connection),
                           read_ms ? read_ms * INT64_C(1000000) : INT64_MAX);
    enum refusal why = judge(r);
    return why ? refuse(r, why) : MHD_YES;
}

/* libmicrohttpd calls this when the headers are there, with each piece of the body, when it is
 * complete, and once more after a resume. */
static enum MHD_Result on_access(void *ctx, struct MHD_Connection *connection, const char *path,
                                 const char *method, const char *version, const char *data,
                                 size_t *ndata, void **slot)
{
    struct cm_http_request *r = *slot;
    (void)version;
    if (!r)
        return begin(ctx, connection, path, method, slot);
    if (*ndata > 0) {
        size_t n = *ndata;
        *ndata = 0;
        return take_body(r, data, n);
    }
    if (r->refusal && !r->handed_over)
        return refuse(r, r->refusal);
    if (!r->handed_over)
        return hand_over(r);
    if (atomic_load(&r->state) == ANSWERED)
        return queue_answer(r);
    return MHD_YES;
}

/* The answer is sent, or the connection is gone, perhaps before a resumed request came to queue its
 * answer. */
static void on_completed(void *ctx, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode why)
{
    struct cm_http_request *r = *slot;
    (void)ctx;
    (void)why;
    if (!r)
        return;
    cm_connections_set_idle(&r->server->connections, connection_of(connection));
    if (r->response)
        MHD_destroy_response(r->response);
    if (r->counted) {
        pthread_mutex_lock(&r->server->lock);
        if (--r->server->unsent == 0)
            pthread_cond_broadcast(&r->server->sent);
        pthread_mutex_unlock(&r->server->lock);
    }
    drop_body(r);
    cm_free(&r);
    *slot = NULL;
}

__attribute__((format(printf, 2, 0))) static void on_log(void *ctx, const char *fmt, va_list args)
{
    char line[512];
    (void)ctx;
    vsnprintf(line, sizeof(line), fmt, args);
    line[strcspn(line, "\r\n")] = '\0';
    cm_log_debug("http: %s", line);
}

static cm_status listen_on(int *out, const char *host, int port)
{
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
    char service[16];
    int fd = -1, yes = 1;

    snprintf(service, sizeof(service), "%d", port);
    int code = getaddrinfo(host, service, &want, &list);
    if (code)
        return CM_FAIL(CM_EINVAL, "HTTP on %s:%d: %s", host, port, gai_strerror(code));
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* REUSEADDR: a restart need not wait for the old connections' TIME_WAIT; a live listener is
     * still found. */
    bool bound = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) &&
                 !bind(fd, list->ai_addr, list->ai_addrlen) && !listen(fd, LISTEN_BACKLOG);
    int fault = errno;
    freeaddrinfo(list);
    if (bound) {
        *out = fd;
        return CM_OK;
    }
    if (fd >= 0)
        close(fd);
    errno = fault;
    if (fault == EADDRINUSE)
        return CM_FAIL(CM_EBUSY, "HTTP on %s:%d: the port is in use by another program", host,
                       port);
    return CM_FAIL_ERRNO("HTTP on %s:%d", host, port);
}

static int bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t n = sizeof(address);
    if (getsockname(fd, &address.any, &n) < 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

cm_status cm_http_open(struct cm_http **out, const struct cm_http_config *cfg)
{
    struct cm_http *s = NULL;
    cm_status st;

    *out = NULL;
    if (cfg->threads < 1 || cfg->max_connections < cfg->threads || cfg->timeout_s < 1 ||
        (cfg->max_bodies_nbytes && cfg->max_bodies_nbytes < cfg->max_body_nbytes))
        return CM_FAIL(CM_EINVAL, "HTTP: %d threads, %d connections, time-out %d s", cfg->threads,
                       cfg->max_connections, cfg->timeout_s);
    CM_TRY(cm_alloc(&s, 1, sizeof(*s), "HTTP server"));
    s->cfg = *cfg;
    s->cfg.host = NULL; /* the caller's */
    s->listener = -1;
    cm_connections_init(&s->connections, cfg->max_connections, cfg->timeout_s * (int64_t)NS_PER_S,
                        EXCESS_NS);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->sent, NULL);
    CM_GOTO(st, listen_on(&s->listener, cfg->host, cfg->port), out);
    s->port = bound_port(s->listener);
    s->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_access, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, s->listener, MHD_OPTION_THREAD_POOL_SIZE,
        cfg->threads > 1 ? (unsigned)cfg->threads : 0u, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)cm_http_descriptors(cfg->max_connections), MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, s, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)cfg->timeout_s,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_END);
    if (!s->daemon) {
        st = CM_FAIL(CM_EIO,
                     "HTTP on %s:%d: libmicrohttpd did not start (FLYWHEEL_LOG=debug says "
                     "why)",
                     cfg->host, s->port);
        goto out;
    }
    s->listener = -1;
    *out = s;
    s = NULL;
out:
    cm_http_close(&s);
    return st;
}

int cm_http_descriptors(int max_connections)
{
    return max_connections + EXCESS(max_connections);
}

int cm_http_port(const struct cm_http *server)
{
    return server->port;
}

void cm_http_tend(struct cm_http *server)
{
    int64_t now_ns = cm_now_ns();
    if (now_ns - server->tended_ns < TEND_NS)
        return;
    server->tended_ns = now_ns;
    cm_connections_cut(&server->connections);
}

void cm_http_quiesce(struct cm_http *server)
{
    if (atomic_exchange(&server->quiesced, true))
        return;
    server->listener = MHD_quiesce_daemon(server->daemon);
    /* Closed only with the daemon, whose threads may still know the number; shut down, it refuses
     * clients at once. */
    if (server->listener >= 0)
        shutdown(server->listener, SHUT_RDWR);
}

/* Stopping the daemon cuts connections, answered or not. */
static void await_sent(struct cm_http *s)
{
    struct cm_deadline deadline = cm_deadline_in_ms(CLOSE_MS);
    struct timespec until = {.tv_sec = deadline.at_ns / NS_PER_S,
                             .tv_nsec = deadline.at_ns % NS_PER_S};
    int late = 0;
    pthread_mutex_lock(&s->lock);
    while (s->unsent > 0 && !late)
        late = pthread_cond_clockwait(&s->sent, &s->lock, CLOCK_MONOTONIC, &until);
    if (s->unsent > 0)
        cm_log_warn("http: closing with %zu answers not taken by their clients", s->unsent);
    pthread_mutex_unlock(&s->lock);
}

void cm_http_close(struct cm_http **server)
{
    struct cm_http *s = *server;
    if (!s)
        return;
    if (s->daemon) {
        await_sent(s);
        MHD_stop_daemon(s->daemon);
    }
    if (s->listener >= 0)
        close(s->listener);
    pthread_cond_destroy(&s->sent);
    pthread_mutex_destroy(&s->lock);
    cm_connections_release(&s->connections);
    cm_free(server);
}

const char *cm_http_method(const struct cm_http_request *request)
{
    return request->method;
}

const char *cm_http_path(const struct cm_http_request *request)
{
    return request->path;
}

const char *cm_http_header(const struct cm_http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *cm_http_query(const struct cm_http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

const void *cm_http_body(const struct cm_http_request *request, size_t *n)
{
    *n = request->n;
    return request->n ? request->body : "";
}

const void *cm_http_field(const struct cm_http_request *request, const char *name, size_t *n)
{
    return cm_multipart_field(cm_http_header(request, MHD_HTTP_HEADER_CONTENT_TYPE), request->body,
                              request->n, name, n);
}

void cm_http_answer(struct cm_http_request *request, int code, const char *content_type,
                    const void *body, size_t n, int retry_after_s)
{
    struct MHD_Connection *connection = request->connection;
    request->code = (unsigned)code;
    request->response = make_response(request->server, content_type, body, n, retry_after_s);
    if (atomic_exchange(&request->state, ANSWERED) == SUSPENDED)
        MHD_resume_connection(connection);
}
