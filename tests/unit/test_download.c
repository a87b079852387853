/* tr_download against a server that breaks off, refuses, or knows no ranges. The server is a thread
 * here. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/hash.h"
#include "common/log.h"
#include "tests/unit/expect.h"
#include "trainer/download.h"

#define NBYTES 50000

/* owner: the server's thread while it runs, the test after stop. */
struct server {
    int socket;
    pthread_t thread;
    char url[64];
    uint8_t content[NBYTES];
    long cut; /* a reply ends after so many bytes of its body */
    bool ranges;
    int refuse; /* so many requests are answered with 503 first */
    int requests;
    long first[16]; /* where each request began */
};

static void send_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    for (ssize_t k; n && (k = send(fd, p, n, MSG_NOSIGNAL)) > 0; n -= (size_t)k)
        p += k;
}

static void answer(struct server *s, int fd)
{
    char request[4096] = "", header[256];
    size_t have = 0;
    ssize_t n;

    while (!strstr(request, "\r\n\r\n") &&
           (n = recv(fd, request + have, sizeof request - 1 - have, 0)) > 0)
        have += (size_t)n;
    const char *range = strstr(request, "Range: bytes=");
    long from = range && s->ranges ? strtol(range + 13, NULL, 10) : 0;
    if (s->requests < 16)
        s->first[s->requests] = from;
    s->requests++;
    if (s->refuse > 0 || from > NBYTES) {
        const char *text = s->refuse > 0 ? "503 Later" : "416 No";
        s->refuse--;
        snprintf(header, sizeof header,
                 "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", text);
        send_all(fd, header, strlen(header));
        return;
    }
    snprintf(header, sizeof header,
             "HTTP/1.1 %s\r\nContent-Length: %ld\r\nContent-Range: bytes %ld-%d/%d\r\n"
             "Connection: close\r\n\r\n",
             range && s->ranges ? "206 Partial" : "200 OK", NBYTES - from, from, NBYTES - 1,
             NBYTES);
    if (!(range && s->ranges))
        snprintf(header, sizeof header,
                 "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", NBYTES);
    send_all(fd, header, strlen(header));
    long left = NBYTES - from;
    send_all(fd, s->content + from, (size_t)(left < s->cut ? left : s->cut));
}

static void *serve(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept(s->socket, NULL, NULL)) >= 0;) {
        answer(s, fd);
        shutdown(fd, SHUT_WR);
        close(fd);
    }
    return NULL;
}

static void server_start(struct server *s, long cut, bool ranges, int refuse)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof at;

    *s = (struct server){.cut = cut, .ranges = ranges, .refuse = refuse};
    for (int i = 0; i < NBYTES; i++)
        s->content[i] = (uint8_t)(i * 31 + i / 256);
    s->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->socket >= 0);
    assert_int_equal(bind(s->socket, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->socket, 8), 0);
    assert_int_equal(getsockname(s->socket, (struct sockaddr *)&at, &n), 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/data.tar.gz", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
    shutdown(s->socket, SHUT_RDWR); /* accept returns */
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    close(s->socket);
}

struct job {
    char dir[CM_PATH], path[CM_PATH], part[CM_PATH], md5[CM_MD5_TEXT];
    struct tr_download d;
};

static void job_make(struct job *j, const struct server *s)
{
    cm_log_set_level(CM_LOG_ERROR);
    unsetenv("http_proxy");
    expect_dir_make(j->dir);
    expect_ok(cm_path_join(j->path, j->dir, "a"));
    expect_ok(cm_path_join(j->part, j->dir, "a.part"));
    expect_ok(cm_md5(j->md5, s->content, NBYTES));
    j->d = (struct tr_download){
        .url = s->url, .path = j->path, .md5 = j->md5, .attempts = 2, .stall_s = 5};
}

static void expect_content(const struct job *j, const struct server *s)
{
    char md5[CM_MD5_TEXT];
    expect_ok(cm_md5_file(md5, j->path));
    assert_string_equal(md5, j->md5);
    assert_false(cm_path_exists(j->part));
    (void)s;
}

/* Each reply breaks off after 15,000 bytes: four requests, each where the last one ended. */
static void resumes(void **state)
{
    (void)state;
    static struct server s;
    struct job j;

    server_start(&s, 15000, true, 0);
    job_make(&j, &s);
    expect_ok(tr_download(&j.d));
    server_stop(&s);
    expect_content(&j, &s);
    assert_int_equal(s.requests, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(s.first[i], 15000 * i);
    expect_dir_remove(j.dir);
}

/* What an earlier run left is the beginning of this one. */
static void takes_up_a_part(void **state)
{
    (void)state;
    static struct server s;
    struct job j;

    server_start(&s, NBYTES, true, 1);
    job_make(&j, &s);
    expect_ok(cm_file_replace(j.part, s.content, 40000));
    expect_ok(tr_download(&j.d)); /* the 503 costs a try, not the part */
    server_stop(&s);
    expect_content(&j, &s);
    assert_int_equal(s.requests, 2);
    assert_int_equal(s.first[1], 40000);
    expect_dir_remove(j.dir);
}

static void a_whole_part_needs_no_server(void **state)
{
    (void)state;
    static struct server s;
    struct job j;

    server_start(&s, NBYTES, true, 0);
    server_stop(&s);
    job_make(&j, &s);
    expect_ok(cm_file_replace(j.part, s.content, NBYTES));
    expect_ok(tr_download(&j.d));
    expect_content(&j, &s);
    expect_dir_remove(j.dir);
}

static void without_ranges(void **state)
{
    (void)state;
    static struct server s;
    struct job j;

    server_start(&s, NBYTES, false, 0);
    job_make(&j, &s);
    expect_ok(cm_file_replace(j.part, s.content, 40000));
    expect_ok(tr_download(&j.d));
    server_stop(&s);
    expect_content(&j, &s);
    expect_dir_remove(j.dir);
}

static void gives_up(void **state)
{
    (void)state;
    static struct server s;
    struct job j;

    server_start(&s, NBYTES, true, 1000);
    job_make(&j, &s);
    expect_ok(cm_file_replace(j.part, s.content, 40000));
    expect_fault(CM_ECONNECT, "HTTP status 503", tr_download(&j.d));
    assert_non_null(strstr(cm_error_text(), "40000 bytes are kept"));
    server_stop(&s);
    assert_int_equal(s.requests, 2);
    server_start(&s, 100, false, 0); /* breaks off, and cannot go on: not asked for ever */
    expect_fault(CM_ECONNECT, s.url, tr_download(&j.d));
    server_stop(&s);
    expect_dir_remove(j.dir);
}

static void wrong_content(void **state)
{
    (void)state;
    static struct server s;
    struct job j;

    server_start(&s, NBYTES, true, 0);
    job_make(&j, &s);
    j.md5[0] = j.md5[0] == '0' ? '1' : '0';
    expect_fault(CM_ECORRUPT, j.md5, tr_download(&j.d));
    assert_non_null(strstr(cm_error_text(), j.part));
    server_stop(&s);
    assert_false(cm_path_exists(j.part));
    assert_false(cm_path_exists(j.path));
    expect_dir_remove(j.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resumes),        cmocka_unit_test(takes_up_a_part),
        cmocka_unit_test(without_ranges), cmocka_unit_test(a_whole_part_needs_no_server),
        cmocka_unit_test(gives_up),       cmocka_unit_test(wrong_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
