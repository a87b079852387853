/* cm_redis against a real redis-server on a private unix socket: it is stopped, killed and started
 * again under us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/redis.h"

#define BIG_NBYTES (8u << 20)

struct server {
    char dir[64], socket[96], address[128];
    pid_t pid;
};

static struct cm_redis *open_redis(const struct server *s, int timeout_ms)
{
    struct cm_redis *r;
    struct cm_redis_config cfg = {
        .address = s->address, .timeout_ms = timeout_ms, .name = "flywheel-test"};
    assert_int_equal(cm_redis_open(&r, &cfg), CM_OK);
    return r;
}

/* Ready when it answers PING: its socket file is there a little earlier than it. */
static void await_server(const struct server *s)
{
    struct cm_redis *r = open_redis(s, 1000);
    const struct cm_redis_value *reply;
    cm_status st = CM_ECONNECT;
    for (int i = 0; i < 1000 && st != CM_OK; i++) {
        st = cm_redis_call(r, &reply, "PING", NULL);
        if (st != CM_OK)
            cm_sleep_us(10000);
    }
    assert_int_equal(st, CM_OK);
    cm_redis_close(&r);
}

static void start_server(struct server *s)
{
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", s->socket, "--dir",
               s->dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
               "--proto-max-bulk-len", "64mb", NULL);
        _exit(127);
    }
    await_server(s);
}

static void kill_server(struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

static int setup_group(void **state)
{
    struct server *s = calloc(1, sizeof(*s));
    snprintf(s->dir, sizeof(s->dir), "/tmp/fw-redis-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->socket, sizeof(s->socket), "%s/redis.sock", s->dir);
    snprintf(s->address, sizeof(s->address), "unix:%s", s->socket);
    start_server(s);
    *state = s;
    return 0;
}

static int teardown_group(void **state)
{
    struct server *s = *state;
    kill_server(s);
    assert_int_equal(cm_dir_remove(s->dir), CM_OK);
    free(s);
    return 0;
}

static bool is_text(const struct cm_redis_value *v, const char *text)
{
    return v->type == CM_REDIS_STRING && v->n == strlen(text) && memcmp(v->string, text, v->n) == 0;
}

static void test_reply_types(void **state)
{
    struct cm_redis *r = open_redis(*state, 5000);
    const struct cm_redis_value *v;

    assert_int_equal(cm_redis_call(r, &v, "SET", "k", "value", NULL), CM_OK);
    assert_true(is_text(v, "OK"));
    assert_int_equal(cm_redis_call(r, &v, "GET", "k", NULL), CM_OK);
    assert_true(is_text(v, "value"));
    assert_int_equal(cm_redis_call(r, &v, "GET", "absent", NULL), CM_OK);
    assert_int_equal(v->type, CM_REDIS_NIL);
    assert_int_equal(cm_redis_call(r, &v, "INCRBY", "n", "9007199254740993", NULL), CM_OK);
    assert_int_equal(v->type, CM_REDIS_INT);
    assert_true(v->integer == 9007199254740993);
    assert_int_equal(cm_redis_call(r, &v, "CLIENT", "GETNAME", NULL), CM_OK);
    assert_true(is_text(v, "flywheel-test"));
    assert_int_equal(cm_redis_call(r, &v, "LRANGE", "absent", "0", "-1", NULL), CM_OK);
    assert_int_equal(v->type, CM_REDIS_ARRAY);
    assert_int_equal(v->n, 0);
    cm_redis_close(&r);
    cm_redis_close(&r);
}

/* XRANGE gives entries of [id, [field, value, ...]]. */
static void test_nested_arrays(void **state)
{
    struct cm_redis *r = open_redis(*state, 5000);
    const struct cm_redis_value *v;
    char id[32];

    for (int i = 1; i <= 3; i++) {
        snprintf(id, sizeof(id), "%d-1", i);
        assert_int_equal(cm_redis_call(r, &v, "XADD", "s", id, "label", "cat", "note", id, NULL),
                         CM_OK);
    }
    assert_int_equal(cm_redis_call(r, &v, "XRANGE", "s", "-", "+", NULL), CM_OK);
    assert_int_equal(v->n, 3);
    for (int i = 0; i < 3; i++) {
        const struct cm_redis_value *entry = &v->element[i];
        snprintf(id, sizeof(id), "%d-1", i + 1);
        assert_int_equal(entry->n, 2);
        assert_true(is_text(&entry->element[0], id));
        assert_int_equal(entry->element[1].n, 4);
        assert_true(is_text(&entry->element[1].element[0], "label"));
        assert_true(is_text(&entry->element[1].element[1], "cat"));
        assert_true(is_text(&entry->element[1].element[3], id));
    }
    cm_redis_close(&r);
}

static void test_big_binary_value(void **state)
{
    struct cm_redis *r = open_redis(*state, 20000);
    const struct cm_redis_value *v;
    char *data = malloc(BIG_NBYTES);
    const char *argv[] = {"SET", "big", data};
    size_t argn[] = {3, 3, BIG_NBYTES};

    for (size_t i = 0; i < BIG_NBYTES; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    data[0] = data[1] = '\0';
    assert_int_equal(cm_redis_command(r, &v, 3, argv, argn, 0), CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "GET", "big", NULL), CM_OK);
    assert_int_equal(v->n, BIG_NBYTES);
    assert_memory_equal(v->string, data, BIG_NBYTES);
    free(data);
    cm_redis_close(&r);
}

static void test_error_replies(void **state)
{
    struct cm_redis *r = open_redis(*state, 5000);
    const struct cm_redis_value *v;

    assert_int_equal(cm_redis_call(r, &v, "SET", "text", "x", NULL), CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "INCR", "text", NULL), CM_EINVAL);
    assert_null(v);
    assert_non_null(strstr(cm_error_text(), "not an integer"));
    assert_int_equal(cm_redis_call(r, &v, "NO-SUCH-COMMAND", NULL), CM_EINVAL);
    assert_int_equal(cm_redis_call(r, &v, "MULTI", NULL), CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "INCR", "text", NULL), CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "EXEC", NULL), CM_EINVAL);
    assert_int_equal(cm_redis_call(r, &v, "CONFIG", "SET", "maxmemory", "1", NULL), CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "SET", "more", "x", NULL), CM_ENOSPC);
    assert_int_equal(cm_redis_call(r, &v, "CONFIG", "SET", "maxmemory", "0", NULL), CM_OK);
    /* After all this the connection is the same one. */
    assert_int_equal(cm_redis_call(r, &v, "SET", "more", "x", NULL), CM_OK);
    cm_redis_close(&r);
}

static void test_login(void **state)
{
    struct server *s = *state;
    struct cm_redis *admin = open_redis(s, 5000), *r;
    const struct cm_redis_value *v;
    struct cm_redis_config cfg = {.address = s->address,
                                  .user = "op7",
                                  .password = "secret",
                                  .timeout_ms = 5000,
                                  .name = "op7"};

    assert_int_equal(cm_redis_call(admin, &v, "ACL", "SETUSER", "op7", "on", ">secret", "-@all",
                                   "+xadd", "+client", "~fw:feedback:op7", NULL),
                     CM_OK);
    assert_int_equal(cm_redis_open(&r, &cfg), CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "XADD", "fw:feedback:op7", "*", "label", "1", NULL),
                     CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "XADD", "fw:feedback:op8", "*", "label", "1", NULL),
                     CM_EUNSUPPORTED);
    assert_int_equal(cm_redis_call(r, &v, "GET", "k", NULL), CM_EUNSUPPORTED);
    cm_redis_close(&r);
    cfg.password = "wrong";
    assert_int_equal(cm_redis_open(&r, &cfg), CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "PING", NULL), CM_EUNSUPPORTED);
    assert_null(strstr(cm_error_text(), "wrong")); /* a password is never told */
    cm_redis_close(&r);
    cm_redis_close(&admin);
}

static void test_blocking_read_and_timeout(void **state)
{
    struct server *s = *state;
    struct cm_redis *r = open_redis(s, 300);
    const struct cm_redis_value *v;
    const char *argv[] = {"XREAD", "BLOCK", "600", "STREAMS", "quiet", "$"};
    size_t argn[] = {5, 5, 3, 7, 5, 1};

    /* A command that waits longer than the time-out: fine when told so, a time-out when not. */
    assert_int_equal(cm_redis_command(r, &v, 6, argv, argn, 600), CM_OK);
    assert_int_equal(v->type, CM_REDIS_NIL);
    assert_int_equal(cm_redis_command(r, &v, 6, argv, argn, 0), CM_ETIMEDOUT);
    assert_null(v);
    /* The late reply does not answer the next command. */
    assert_int_equal(cm_redis_call(r, &v, "ECHO", "fresh", NULL), CM_OK);
    assert_true(is_text(v, "fresh"));

    kill(s->pid, SIGSTOP);
    int64_t start_ns = cm_now_ns();
    assert_int_equal(cm_redis_call(r, &v, "PING", NULL), CM_ETIMEDOUT);
    assert_in_range((cm_now_ns() - start_ns) / 1000000, 250, 5000);
    kill(s->pid, SIGCONT);
    await_server(s);
    assert_int_equal(cm_redis_call(r, &v, "PING", NULL), CM_OK);
    cm_redis_close(&r);
}

static void test_kill_and_restart(void **state)
{
    struct server *s = *state;
    struct cm_redis *r = open_redis(s, 2000);
    const struct cm_redis_value *v;

    assert_int_equal(cm_redis_call(r, &v, "SET", "kept", "yes", NULL), CM_OK);
    kill_server(s);
    assert_int_equal(cm_redis_call(r, &v, "GET", "kept", NULL), CM_ECONNECT);
    assert_non_null(strstr(cm_error_text(), s->socket));
    assert_int_equal(cm_redis_call(r, &v, "GET", "kept", NULL), CM_ECONNECT);
    start_server(s);
    assert_int_equal(cm_redis_call(r, &v, "GET", "kept", NULL), CM_OK);
    assert_true(is_text(v, "yes"));
    /* Restarted while the connection lies idle: nobody notices, and the name is set again. */
    kill_server(s);
    start_server(s);
    assert_int_equal(cm_redis_call(r, &v, "CLIENT", "GETNAME", NULL), CM_OK);
    assert_true(is_text(v, "flywheel-test"));
    cm_redis_close(&r);
}

/* Dies in the middle of a command: the caller is told that its fate is unknown. */
static void test_killed_while_waiting(void **state)
{
    struct server *s = *state;
    struct cm_redis *r = open_redis(s, 5000);
    const struct cm_redis_value *v;
    const char *argv[] = {"BLPOP", "empty", "0"};
    size_t argn[] = {5, 5, 1};

    pid_t killer = fork();
    if (killer == 0) {
        struct cm_redis *watch = open_redis(s, 5000);
        bool blocked = false;
        for (int i = 0; i < 500 && !blocked; i++) {
            blocked = cm_redis_call(watch, &v, "INFO", "clients", NULL) == CM_OK &&
                      strstr(v->string, "blocked_clients:1");
            cm_sleep_us(10000);
        }
        kill(s->pid, SIGKILL);
        _exit(!blocked);
    }
    assert_int_equal(cm_redis_command(r, &v, 3, argv, argn, 10000), CM_ECLOSED);
    int status;
    waitpid(killer, &status, 0);
    assert_int_equal(status, 0);
    waitpid(s->pid, NULL, 0);
    start_server(s);
    assert_int_equal(cm_redis_call(r, &v, "PING", NULL), CM_OK);
    cm_redis_close(&r);
}

/* Something that is no Redis listens there. */
static void test_garbage_reply(void **state)
{
    struct server *s = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct server fake = *s;
    const struct cm_redis_value *v;
    char request[256];

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/fake", s->dir);
    snprintf(fake.address, sizeof(fake.address), "unix:%s/fake", s->dir);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 4), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = accept(listener, NULL, NULL);
        ssize_t n = read(fd, request, sizeof(request));
        n = n > 0 ? write(fd, "HTTP/1.1 400 Bad\r\n\r\n", 20) : 0;
        n = read(fd, request, sizeof(request)); /* until the client leaves */
        _exit(n != 0);
    }
    struct cm_redis *r = open_redis(&fake, 5000);
    assert_int_equal(cm_redis_call(r, &v, "PING", NULL), CM_EFORMAT);
    cm_redis_close(&r);
    close(listener);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static void test_bad_addresses(void **state)
{
    char longest[5 + 108 + 1] = "unix:";
    const char *const bad[] = {"",           "host",     ":6379", "host:", "host:0",
                               "host:65536", "host:12x", "[]:1",  "unix:", longest};
    const struct cm_redis_value *v;
    struct cm_redis *r;
    (void)state;

    memset(longest + 5, '/', 108);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(cm_redis_check_address(bad[i]), CM_EINVAL);
        struct cm_redis_config cfg = {.address = bad[i], .timeout_ms = 100};
        assert_int_equal(cm_redis_open(&r, &cfg), CM_OK);
        assert_int_equal(cm_redis_call(r, &v, "PING", NULL), CM_EINVAL);
        cm_redis_close(&r);
    }
    longest[5 + 107] = '\0';
    assert_int_equal(cm_redis_check_address(longest), CM_OK);
    struct cm_redis_config cfg = {.address = "unix:/nonexistent/socket", .timeout_ms = 100};
    assert_int_equal(cm_redis_open(&r, &cfg), CM_OK);
    assert_int_equal(cm_redis_call(r, &v, "PING", NULL), CM_ECONNECT);
    cm_redis_close(&r);
    cfg.timeout_ms = 0;
    assert_int_equal(cm_redis_open(&r, &cfg), CM_EINVAL);
    assert_null(r);
}

/* Many at once; an error in the middle is told with how many came before it, and leaves no reply
 * behind for the next command to take for its own. */
static void test_pipeline(void **state)
{
    struct cm_redis *r = open_redis(*state, 5000);
    const struct cm_redis_value *v;
    const char *push[] = {"RPUSH", "list", "x"}, *wrong[] = {"INCR", "list"};
    const size_t push_n[] = {5, 4, 1}, wrong_n[] = {4, 4};
    struct cm_redis_args commands[500];
    size_t done;

    for (size_t i = 0; i < 500; i++)
        commands[i] = (struct cm_redis_args){3, push, push_n};
    assert_int_equal(cm_redis_pipeline(r, commands, 500, &done), CM_OK);
    assert_int_equal(done, 500);
    assert_int_equal(cm_redis_call(r, &v, "LLEN", "list", NULL), CM_OK);
    assert_int_equal(v->integer, 500);
    commands[7] = (struct cm_redis_args){2, wrong, wrong_n};
    assert_int_equal(cm_redis_pipeline(r, commands, 10, &done), CM_EINVAL);
    assert_int_equal(done, 7);
    assert_int_equal(cm_redis_call(r, &v, "ECHO", "own", NULL), CM_OK);
    assert_true(is_text(v, "own"));
    assert_int_equal(cm_redis_pipeline(r, NULL, 0, &done), CM_OK);
    cm_redis_close(&r);
}

/* Whatever allocation fails, the call fails with it, and the next one works. */
static void test_out_of_memory(void **state)
{
    struct server *s = *state;
    struct cm_redis_config cfg = {.address = s->address, .timeout_ms = 5000, .name = "oom"};
    const struct cm_redis_value *v;
    struct cm_redis *r;
    cm_status st = CM_ENOMEM;

    for (long k = 1; st != CM_OK; k++) {
        assert_in_range(k, 1, 20);
        cm_mem_fail_at(k);
        st = cm_redis_open(&r, &cfg);
        if (st == CM_OK)
            st = cm_redis_call(r, &v, "XRANGE", "s", "-", "+", NULL);
        cm_mem_fail_at(0);
        assert_true(st == CM_OK || st == CM_ENOMEM);
        if (r)
            assert_int_equal(cm_redis_call(r, &v, "XRANGE", "s", "-", "+", NULL), CM_OK);
        cm_redis_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply_types),
        cmocka_unit_test(test_nested_arrays),
        cmocka_unit_test(test_big_binary_value),
        cmocka_unit_test(test_error_replies),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_blocking_read_and_timeout),
        cmocka_unit_test(test_kill_and_restart),
        cmocka_unit_test(test_killed_while_waiting),
        cmocka_unit_test(test_garbage_reply),
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
