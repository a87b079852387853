/* The HTTP server, seen by a client that writes its own bytes on a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/http.h"

#define MAX_BODY 4096
#define PARKED   64
#define LONG_S   60
#define LARGE    ((size_t)64 << 20) /* more than the kernel keeps of an answer */

/* Requests to /park wait here until a test answers them. */
struct parking {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct cm_http_request *request[PARKED];
    int n;
};

struct fixture {
    struct cm_http *server;
    struct parking parking;
    int port;
};

static void answer_text(struct cm_http_request *request, int code, const char *text)
{
    cm_http_answer(request, code, "text/plain", text, strlen(text), code == 503 ? 7 : 0);
}

static void *answer_at_once(void *request)
{
    answer_text(request, 200, "raced");
    return NULL;
}

/* The answer comes from another thread, before or after this handler returns. */
static void race(struct cm_http_request *request)
{
    pthread_t thread;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, answer_at_once, request))
        answer_text(request, 500, "no thread");
    pthread_attr_destroy(&detached);
}

static void answer_large(struct cm_http_request *request)
{
    char *text = calloc(LARGE, 1);
    cm_http_answer(request, 200, "text/plain", text, LARGE, 0);
    free(text);
}

static void describe(struct cm_http_request *request)
{
    char text[256];
    size_t nbody, nfield;
    const char *query = cm_http_query(request, "k"), *header = cm_http_header(request, "X-Test");
    const char *body = cm_http_body(request, &nbody);
    const char *field = cm_http_field(request, "image", &nfield);
    snprintf(text, sizeof(text), "%s %s k=%s x=%s body=%zu:%.*s field=%s:%.*s",
             cm_http_method(request), cm_http_path(request), query ? query : "-",
             header ? header : "-", nbody, nbody < 40 ? (int)nbody : 0, body, field ? "yes" : "no",
             (int)nfield, field ? field : "");
    answer_text(request, 200, text);
}

static void handler(void *ctx, struct cm_http_request *request)
{
    struct fixture *f = ctx;
    const char *path = cm_http_path(request);
    if (strcmp(path, "/park") == 0) {
        pthread_mutex_lock(&f->parking.lock);
        f->parking.request[f->parking.n++] = request;
        pthread_cond_broadcast(&f->parking.changed);
        pthread_mutex_unlock(&f->parking.lock);
    } else if (strcmp(path, "/race") == 0) {
        race(request);
    } else if (strcmp(path, "/large") == 0) {
        answer_large(request);
    } else if (strcmp(path, "/busy") == 0) {
        answer_text(request, 503, "come back");
    } else {
        describe(request);
    }
}

static struct cm_http_config config(struct fixture *f)
{
    return (struct cm_http_config){.host = "127.0.0.1",
                                   .threads = 2,
                                   .max_body_nbytes = MAX_BODY,
                                   .max_connections = 64,
                                   .timeout_s = LONG_S,
                                   .handler = handler,
                                   .ctx = f};
}

static void open_server(struct fixture *f, const struct cm_http_config *cfg)
{
    cm_http_close(&f->server);
    assert_int_equal(cm_http_open(&f->server, cfg), CM_OK);
    f->port = cm_http_port(f->server);
    assert_true(f->port > 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct cm_http_config cfg = config(f);
    pthread_mutex_init(&f->parking.lock, NULL);
    pthread_cond_init(&f->parking.changed, NULL);
    open_server(f, &cfg);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cm_http_close(&f->server);
    cm_http_close(&f->server);
    pthread_cond_destroy(&f->parking.changed);
    pthread_mutex_destroy(&f->parking.lock);
    free(f);
    return 0;
}

static struct cm_http_request *take_parked(struct fixture *f)
{
    pthread_mutex_lock(&f->parking.lock);
    while (f->parking.n == 0)
        pthread_cond_wait(&f->parking.changed, &f->parking.lock);
    struct cm_http_request *request = f->parking.request[--f->parking.n];
    pthread_mutex_unlock(&f->parking.lock);
    return request;
}

static int try_dial(const struct fixture *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port)};
    struct timeval patience = {.tv_sec = LONG_S};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int dial(const struct fixture *f)
{
    int fd = try_dial(f);
    assert_true(fd >= 0);
    return fd;
}

static void put_n(int fd, const void *data, size_t n)
{
    assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void put(int fd, const char *text)
{
    put_n(fd, text, strlen(text));
}

/* Reads one response: headers up to the blank line, then Content-Length bytes. Returns its code. */
static int get(int fd, char *text, size_t ntext)
{
    size_t n = 0, want = SIZE_MAX;
    text[0] = '\0';
    while (n < want && n + 1 < ntext) {
        ssize_t got =
            recv(fd, text + n, 1, 0); /* byte by byte: the next response stays in the socket */
        if (got <= 0)
            break;
        n += (size_t)got;
        text[n] = '\0';
        const char *length = strstr(text, "Content-Length: ");
        if (want == SIZE_MAX && n >= 4 && strcmp(text + n - 4, "\r\n\r\n") == 0)
            want = n + (length ? strtoul(length + 16, NULL, 10) : 0);
    }
    return n > 12 ? (int)strtol(text + 9, NULL, 10) : 0;
}

static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void expect(int fd, int code, const char *part)
{
    char text[2048];
    assert_int_equal(get(fd, text, sizeof(text)), code);
    if (!strstr(text, part))
        fail_msg("'%s' is not in: %s", part, text);
}

static void test_parts_of_a_request(void **state)
{
    int fd = dial(*state);
    put(fd, "GET /a%20b?k=v%26w&j HTTP/1.1\r\nHost: h\r\nx-test: seen\r\n\r\n");
    expect(fd, 200, "GET /a b k=v&w x=seen body=0: field=no:");
    put(fd, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    expect(fd, 200, "POST /p k=- x=- body=5:hello field=no:");
    put(fd, "GET /busy HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(fd, 503, "Retry-After: 7\r\n");
    close(fd);
}

static void test_pipelined(void **state)
{
    int fd = dial(*state);
    put(fd, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
            "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\ntwo"
            "GET /race HTTP/1.1\r\nHost: h\r\n\r\n"
            "GET /4 HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(fd, 200, "GET /1 ");
    expect(fd, 200, "POST /2 k=- x=- body=3:two");
    expect(fd, 200, "raced");
    expect(fd, 200, "GET /4 ");
    close(fd);
}

static void test_chunked(void **state)
{
    int fd = dial(*state);
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n1;ext=1\r\nd\r\n0\r\n\r\n");
    expect(fd, 200, "body=4:abcd");
    close(fd);
}

/* Larger than the limit only by its chunks: read to its end without being kept, and refused. */
static void test_chunked_too_large(void **state)
{
    int fd = dial(*state);
    char block[MAX_BODY / 2 + 16];
    memset(block, 'x', sizeof(block));
    int n = snprintf(block, 16, "%x\r\n", MAX_BODY / 2);
    block[n] = 'x';
    memcpy(block + n + MAX_BODY / 2, "\r\n", 2);
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3; i++)
        put_n(fd, block, (size_t)n + MAX_BODY / 2 + 2);
    put(fd, "0\r\n\r\n");
    expect(fd, 413, "larger than 4096 bytes");
    close(fd);

    /* Endless: the connection is closed. */
    fd = dial(*state);
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    int sent = 0;
    while (sent < 100000 && send(fd, block, (size_t)n + MAX_BODY / 2 + 2, MSG_NOSIGNAL) > 0)
        sent++;
    assert_in_range(sent, 1, 99999);
    close(fd);
}

static void test_exactly_the_limit(void **state)
{
    int fd = dial(*state);
    char body[MAX_BODY];
    memset(body, 'y', sizeof(body));
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\n\r\n");
    put_n(fd, body, sizeof(body));
    expect(fd, 200, "body=4096:");
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 4097\r\n\r\n");
    expect(fd, 413, "larger than 4096 bytes");
    close(fd);
}

/* Answered from the headers alone: not a byte of the gigabyte is waited for, or asked for. */
static void test_huge_content_length(void **state)
{
    int fd = dial(*state);
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n"
            "Expect: 100-continue\r\n\r\n");
    expect(fd, 413, "Content-Type: application/json\r\n");
    assert_true(is_closed(fd));
    close(fd);

    fd = dial(*state);
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999999\r\n\r\n");
    char text[2048];
    int code = get(fd, text, sizeof(text));
    assert_true(code == 413 || code == 400);
    close(fd);
}

static void test_multipart(void **state)
{
    static const char body[] = "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n"
                               "--B\r\nContent-Disposition: form-data; name=\"image\"; "
                               "filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nPNG!\r\n"
                               "--B--\r\n";
    char request[1024];
    int fd = dial(*state);
    snprintf(request, sizeof(request),
             "POST /m HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=B\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             sizeof(body) - 1, body);
    put(fd, request);
    expect(fd, 200, "field=yes:PNG!");
    close(fd);
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "NONSENSE\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", /* no Host */
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5x\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\xfc\x03\x03 TLS\r\n\r\n",
    };
    char text[2048];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int fd = dial(*state);
        put(fd, bad[i]);
        int code = get(fd, text, sizeof(text));
        if (code != 0 && (code < 400 || code > 499))
            fail_msg("case %zu was answered %d", i, code);
        close(fd);
    }
    int fd = dial(*state);
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_int_not_equal(get(fd, text, sizeof(text)), 200);
    close(fd);
    /* The server is as well as before. */
    fd = dial(*state);
    put(fd, "GET /fine HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(fd, 200, "GET /fine");
    close(fd);
}

/* A proxy that reads these otherwise than this server would send another client's request on as
 * the rest of a body, or the other way round: none is answered but by a refusal, and the bytes
 * behind it by nothing. */
static void test_unclear_ends(void **state)
{
    static const char *const bad[] = {
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length : 5",
    };
    char request[512];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int fd = dial(*state);
        snprintf(request, sizeof(request),
                 "POST /c HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n0\r\n\r\n"
                 "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
                 bad[i]);
        put(fd, request);
        expect(fd, 400, "where the body ends");
        assert_true(is_closed(fd));
        close(fd);
    }
    int fd = dial(*state);
    put(fd, "POST /c HTTP/1.1\r\nHost: h\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n");
    expect(fd, 200, "body=0");
    close(fd);
}

/* One client drips its request, another is served meanwhile. */
static void test_slow_clients(void **state)
{
    static const char request[] = "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nslow";
    int slow = dial(*state);
    for (size_t i = 0; i + 1 < sizeof(request); i++) {
        put_n(slow, request + i, 1);
        if (i % 16 == 0) {
            int quick = dial(*state);
            put(quick, "GET /quick HTTP/1.1\r\nHost: h\r\n\r\n");
            expect(quick, 200, "GET /quick");
            close(quick);
        }
    }
    expect(slow, 200, "body=4:slow");
    close(slow);
}

static void test_idle_clients_are_let_go(void **state)
{
    struct fixture *f = *state;
    struct cm_http_config cfg = config(f);
    cfg.timeout_s = 1;
    open_server(f, &cfg);
    int idle = dial(f);
    put(idle, "GET / HT");
    assert_true(is_closed(idle));
    close(idle);
}

static void test_answer_from_another_thread(void **state)
{
    struct fixture *f = *state;
    int fd[8];
    for (int i = 0; i < 8; i++) {
        fd[i] = dial(f);
        put(fd[i], "POST /park HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    }
    /* Eight requests wait on two threads, and a ninth is served. */
    struct cm_http_request *parked[8];
    for (int i = 0; i < 8; i++)
        parked[i] = take_parked(f);
    int other = dial(f);
    put(other, "GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(other, 200, "GET /other");
    close(other);
    for (int i = 0; i < 8; i++) {
        size_t n;
        assert_memory_equal(cm_http_body(parked[i], &n), "body", 4);
        answer_text(parked[i], 200, "later");
    }
    for (int i = 0; i < 8; i++) {
        expect(fd[i], 200, "later");
        close(fd[i]);
    }
}

/* Clients that left, politely or by a reset, are answered into the void; request and answer are
 * still released (the address sanitizer looks). */
static void test_client_gone(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        struct linger reset = {.l_onoff = i % 2};
        int fd = dial(f);
        put(fd, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
        struct cm_http_request *parked = take_parked(f);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
        answer_text(parked, 200, "nobody listens");
    }
    int fd = dial(f);
    put(fd, "GET /alive HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(fd, 200, "GET /alive");
    close(fd);
}

/* Closing does not overtake the answers. */
static void test_close_right_after_the_answers(void **state)
{
    struct fixture *f = *state;
    struct cm_http_request *parked[32];
    int fd[32];
    for (int i = 0; i < 32; i++) {
        fd[i] = dial(f);
        put(fd[i], "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for (int i = 0; i < 32; i++)
        parked[i] = take_parked(f);
    for (int i = 0; i < 32; i++)
        answer_text(parked[i], 200, "just in time");
    cm_http_close(&f->server);
    for (int i = 0; i < 32; i++) {
        expect(fd[i], 200, "just in time");
        close(fd[i]);
    }
}

/* The answer races with the handler's return, many times. */
static void test_race(void **state)
{
    int fd = dial(*state);
    for (int i = 0; i < 300; i++) {
        put(fd, "GET /race HTTP/1.1\r\nHost: h\r\n\r\n");
        expect(fd, 200, "raced");
    }
    close(fd);
}

/* Every place is taken: who comes now is told so, at once, but for a look at its health; when a
 * place is free again, it is served. */
static void test_too_many_connections(void **state)
{
    static const char post[] = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
    struct fixture *f = *state;
    struct cm_metrics *registry;
    struct cm_http_config cfg = config(f);
    int fd[4];
    assert_int_equal(cm_metrics_open(&registry), CM_OK);
    assert_int_equal(cm_metric_counter(&cfg.refused, registry, "refused_total", "", "x"), CM_OK);
    cfg.max_connections = 4;
    open_server(f, &cfg);
    for (int i = 0; i < 4; i++) {
        fd[i] = dial(f);
        put(fd[i], "POST /park HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    }
    struct cm_http_request *parked[4];
    for (int i = 0; i < 4; i++)
        parked[i] = take_parked(f);
    int more = dial(f);
    put(more, post);
    expect(more, 503, "too many requests");
    assert_true(is_closed(more));
    close(more);
    more = dial(f);
    put(more, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(more, 200, "GET /health");
    close(fd[0]);
    for (int i = 0; i < 4; i++)
        answer_text(parked[i], 200, "later");
    for (int i = 1; i < 4; i++) {
        expect(fd[i], 200, "later");
        close(fd[i]);
        assert_true(cm_metric_value(cfg.refused) > 0);
    }
    cm_http_close(&f->server);
    assert_true(cm_metric_value(cfg.refused) == 1);
    cm_metrics_close(&registry);
    close(more);
}

/* Bodies that wait for their answers take all the memory there is; then it is free again. */
static void test_too_many_bodies(void **state)
{
    static const char announced[] =
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\nExpect: 100-continue\r\n\r\n";
    static const char chunked[] =
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    struct fixture *f = *state;
    struct cm_http_config cfg = config(f);
    struct cm_http_request *parked[2];
    int fd[2];
    cfg.max_bodies_nbytes = 2 * MAX_BODY;
    open_server(f, &cfg);
    for (int i = 0; i < 2; i++) {
        fd[i] = dial(f);
        put(fd[i], "POST /park HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
        parked[i] = take_parked(f);
    }
    int more = dial(f);
    put(more, announced);
    expect(more, 503, "Retry-After");
    close(more);
    more = dial(f);
    put(more, chunked);
    expect(more, 503, "too many requests");
    close(more);
    for (int i = 0; i < 2; i++) {
        answer_text(parked[i], 200, "later");
        expect(fd[i], 200, "later");
    }
    /* An answer is there a moment before its request's memory is given back. */
    int code = 503;
    for (int i = 0; i < 1000 && code == 503; i++) {
        char text[2048];
        more = dial(f);
        put(more, chunked);
        code = get(more, text, sizeof(text));
        close(more);
    }
    assert_int_equal(code, 200);
    for (int i = 0; i < 2; i++)
        close(fd[i]);
}

/* A byte now and then keeps a connection from being idle; it ends all the same, and one that waits
 * for its answer does not. */
static void test_dripping(void **state)
{
    struct fixture *f = *state;
    struct cm_http_config cfg = config(f);
    cfg.read_ms = 200;
    open_server(f, &cfg);
    int patient = dial(f), drip = dial(f);
    put(patient, "POST /park HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    struct cm_http_request *parked = take_parked(f);
    put(drip, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n");
    struct cm_deadline end = cm_deadline_in_ms(LONG_S * 1000);
    while (send(drip, "x", 1, MSG_NOSIGNAL) == 1 && !cm_deadline_passed(end)) {
        cm_http_tend(f->server);
        cm_sleep_us(5000);
    }
    assert_false(cm_deadline_passed(end));
    answer_text(parked, 200, "at last");
    expect(patient, 200, "at last");
    close(patient);
    close(drip);
}

/* Who takes its answer bit by bit is never idle, and is cut all the same. */
static void test_dripping_reader(void **state)
{
    struct fixture *f = *state;
    struct cm_http_config cfg = config(f);
    char *some = malloc(1 << 16);
    size_t taken = 0;
    ssize_t n;
    cfg.timeout_s = 1;
    open_server(f, &cfg);
    int fd = dial(f);
    put(fd, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(recv(fd, some, 1, 0), 1); /* it is on its way */
    struct cm_deadline end = cm_deadline_in_ms(1200);
    while (!cm_deadline_passed(end) && (n = recv(fd, some, 1 << 16, 0)) > 0) {
        taken += (size_t)n;
        cm_sleep_us(5000);
    }
    cm_http_tend(f->server);
    while ((n = recv(fd, some, 1 << 16, 0)) > 0)
        taken += (size_t)n;
    assert_true(taken < LARGE);
    free(some);
    close(fd);
}

/* Sends a body over 1.1 s. False: for too long of them nothing was sent, as there was no core for
 * this thread. */
static bool send_unhurried(struct fixture *f, int fd)
{
    struct cm_deadline idle = cm_deadline_in_ms(1100);
    int64_t last_ns = cm_now_ns(), longest_ns = 0;
    int n = 0;
    put(fd, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n");
    while (n < 4000) {
        bool sent = send(fd, "x", 1, MSG_NOSIGNAL) == 1;
        int64_t now_ns = cm_now_ns(), gap_ns = now_ns - last_ns;
        longest_ns = gap_ns > longest_ns ? gap_ns : longest_ns;
        last_ns = now_ns;
        if (longest_ns > INT64_C(500000000))
            return false;
        assert_true(sent);
        n++;
        if (!cm_deadline_passed(idle))
            cm_sleep_us(5000);
        cm_http_tend(f->server);
    }
    return true;
}

/* Without read_ms a body may come for as long as it comes at all, longer than an idle connection
 * stays. */
static void test_unhurried(void **state)
{
    struct fixture *f = *state;
    struct cm_http_config cfg = config(f);
    cfg.timeout_s = 1;
    open_server(f, &cfg);
    int fd = dial(f);
    while (!send_unhurried(f, fd)) {
        close(fd);
        fd = dial(f);
    }
    expect(fd, 200, "body=4000:");
    close(fd);
}

static void test_quiesce(void **state)
{
    struct fixture *f = *state;
    int parked_fd = dial(f), idle_fd = dial(f);
    put(idle_fd, "GET /before HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(idle_fd, 200, "GET /before");
    put(parked_fd, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    struct cm_http_request *parked = take_parked(f);

    cm_http_quiesce(f->server);
    cm_http_quiesce(f->server);
    assert_int_equal(try_dial(f), -1);
    answer_text(parked, 200, "last");
    expect(parked_fd, 200, "Connection: close");
    assert_true(is_closed(parked_fd));
    put(idle_fd, "GET /after HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(idle_fd, 200, "Connection: close");
    assert_true(is_closed(idle_fd));
    close(parked_fd);
    close(idle_fd);
}

static void test_open_refuses(void **state)
{
    struct fixture *f = *state;
    struct cm_http *second;
    struct cm_http_config cfg = {.host = "127.0.0.1",
                                 .port = f->port,
                                 .threads = 1,
                                 .max_body_nbytes = 1,
                                 .max_connections = 1,
                                 .timeout_s = 1,
                                 .handler = handler};
    char port[16];
    snprintf(port, sizeof(port), ":%d", f->port);
    assert_int_equal(cm_http_open(&second, &cfg), CM_EBUSY);
    assert_non_null(strstr(cm_error_text(), port));
    assert_null(second);
    cfg.host = "no.such.host.invalid";
    assert_int_equal(cm_http_open(&second, &cfg), CM_EINVAL);
    cfg.threads = 0;
    assert_int_equal(cm_http_open(&second, &cfg), CM_EINVAL);
    /* One thread works like two; port 0 was another one. */
    cfg = (struct cm_http_config){.host = "127.0.0.1",
                                  .threads = 1,
                                  .max_body_nbytes = 1,
                                  .max_connections = 4,
                                  .timeout_s = 1,
                                  .handler = handler,
                                  .ctx = f};
    assert_int_equal(cm_http_open(&second, &cfg), CM_OK);
    assert_int_not_equal(cm_http_port(second), f->port);
    cm_http_close(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parts_of_a_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipelined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunked_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exactly_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_huge_content_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_multipart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unclear_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_clients_are_let_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_from_another_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_right_after_the_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_race, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dripping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dripping_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unhurried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quiesce, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_refuses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
