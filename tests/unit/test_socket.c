/* ZeroMQ sockets between real endpoints of this process: addresses are inproc, ipc in a private
 * folder, or a free port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/socket.h"

#define LONG_MS 60000

struct fixture {
    struct cm_socket_ctx *ctx;
    struct cm_socket *router, *dealer;
    char endpoint[128];
};

static struct cm_socket *open_socket(struct fixture *f, struct cm_socket_config cfg)
{
    struct cm_socket *s;
    assert_int_equal(cm_socket_open(&s, f->ctx, &cfg), CM_OK);
    return s;
}

static struct cm_message message(int nframes, const char *const *text)
{
    struct cm_message m = {.nframes = nframes};
    for (int i = 0; i < nframes; i++) {
        m.frame[i].data = text[i];
        m.frame[i].n = strlen(text[i]);
    }
    return m;
}
#define MESSAGE(...)                                                                               \
    message((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                         \
            (const char *[]){__VA_ARGS__})

static bool frame_is(const struct cm_message *m, int i, const char *text)
{
    return i < m->nframes && m->frame[i].n == strlen(text) &&
           memcmp(m->frame[i].data, text, m->frame[i].n) == 0;
}

static void send_ok(struct cm_socket *s, struct cm_message m)
{
    assert_int_equal(cm_socket_send(s, &m, cm_deadline_in_ms(LONG_MS)), CM_OK);
}

static void recv_ok(struct cm_socket *s, struct cm_message *m)
{
    assert_int_equal(cm_socket_recv(s, m, cm_deadline_in_ms(LONG_MS)), CM_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_int_equal(cm_socket_ctx_open(&f->ctx), CM_OK);
    f->router = open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_ROUTER});
    f->dealer = open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_DEALER});
    assert_int_equal(
        cm_socket_bind(f->router, "tcp://127.0.0.1:0", f->endpoint, sizeof(f->endpoint)), CM_OK);
    assert_int_equal(cm_socket_connect(f->dealer, f->endpoint), CM_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cm_socket_close(&f->dealer);
    cm_socket_close(&f->dealer); /* twice is fine */
    cm_socket_close(&f->router);
    cm_socket_ctx_close(&f->ctx);
    cm_socket_ctx_close(&f->ctx);
    free(f);
    return 0;
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct cm_message in = {0}, kept = {0};

    send_ok(f->dealer, MESSAGE("head", "", "body"));
    recv_ok(f->router, &in);
    assert_int_equal(in.nframes, 4);
    assert_true(frame_is(&in, 1, "head") && frame_is(&in, 2, "") && frame_is(&in, 3, "body"));

    /* Moved, the borrowed frames still read the same, and the routing id still finds the peer. */
    cm_message_move(&kept, &in);
    assert_int_equal(in.nframes, 0);
    assert_true(frame_is(&kept, 1, "head") && frame_is(&kept, 3, "body"));
    struct cm_message out = MESSAGE("", "answer");
    out.frame[0].data = kept.frame[0].data;
    out.frame[0].n = kept.frame[0].n;
    send_ok(f->router, out);
    recv_ok(f->dealer, &in);
    assert_int_equal(in.nframes, 1);
    assert_true(frame_is(&in, 0, "answer"));
    cm_message_release(&kept);
    cm_message_release(&in);
    cm_message_release(&in);
}

static void test_nothing_to_receive(void **state)
{
    struct fixture *f = *state;
    struct cm_message in = {0};
    assert_int_equal(cm_socket_recv(f->router, &in, cm_deadline_in_ms(0)), CM_ETIMEDOUT);
    int64_t start_ns = cm_now_ns();
    assert_int_equal(cm_socket_recv(f->router, &in, cm_deadline_in_ms(30)), CM_ETIMEDOUT);
    assert_true(cm_now_ns() - start_ns >= 29 * 1000000);
    assert_int_equal(in.nframes, 0);
}

static void test_unknown_peer_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct cm_message out = MESSAGE("nobody", "x"), in = {0};
    assert_int_equal(cm_socket_send(f->router, &out, cm_deadline_in_ms(LONG_MS)), CM_ECONNECT);
    /* The socket is as before: no half message is left in it. */
    send_ok(f->dealer, MESSAGE("still here"));
    recv_ok(f->router, &in);
    assert_true(frame_is(&in, 1, "still here"));
    cm_message_release(&in);
}

static void test_too_many_frames(void **state)
{
    struct fixture *f = *state;
    struct cm_message in = {0};

    /* With the routing id: 7 frames arrive where 6 are allowed. */
    send_ok(f->dealer, MESSAGE("1", "2", "3", "4", "5", "6"));
    send_ok(f->dealer, MESSAGE("next"));
    assert_int_equal(cm_socket_recv(f->router, &in, cm_deadline_in_ms(LONG_MS)), CM_EFORMAT);
    assert_int_equal(in.nframes, 1);
    struct cm_message out = MESSAGE("", "no");
    out.frame[0].data = in.frame[0].data;
    out.frame[0].n = in.frame[0].n;
    send_ok(f->router, out);
    recv_ok(f->router, &in);
    assert_int_equal(in.nframes, 2);
    assert_true(frame_is(&in, 1, "next"));
    recv_ok(f->dealer, &in);
    assert_true(frame_is(&in, 0, "no"));
    cm_message_release(&in);
}

static void test_frame_counts_refused(void **state)
{
    struct fixture *f = *state;
    struct cm_message none = {0}, many = {.nframes = CM_MESSAGE_FRAMES + 1};
    assert_int_equal(cm_socket_send(f->dealer, &none, cm_deadline_in_ms(0)), CM_EINVAL);
    assert_int_equal(cm_socket_send(f->dealer, &many, cm_deadline_in_ms(0)), CM_EINVAL);
}

static void test_address_in_use(void **state)
{
    struct fixture *f = *state;
    struct cm_socket *second = open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_ROUTER});
    assert_int_equal(cm_socket_bind(second, f->endpoint, NULL, 0), CM_EBUSY);
    assert_non_null(strstr(cm_error_text(), f->endpoint));
    assert_int_equal(cm_socket_bind(second, "nonsense", NULL, 0), CM_EINVAL);
    assert_int_equal(cm_socket_connect(second, "tcp://no-port"), CM_EINVAL);
    cm_socket_close(&second);
}

/* A DEALER without a peer does not hoard: it says so, and the caller keeps the message. */
static void test_no_peer_no_queue(void **state)
{
    struct fixture *f = *state;
    struct cm_socket *lonely = open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_DEALER});
    assert_int_equal(cm_socket_connect(lonely, "ipc:///nonexistent/nobody-binds-this"), CM_OK);
    struct cm_message out = MESSAGE("x");
    assert_int_equal(cm_socket_send(lonely, &out, cm_deadline_in_ms(0)), CM_ETIMEDOUT);
    assert_int_equal(cm_socket_send(lonely, &out, cm_deadline_in_ms(20)), CM_ETIMEDOUT);
    cm_socket_close(&lonely);
}

/* The queue to one slow peer is bounded, and says so within the deadline; other peers are not held
 * up. */
static void test_full_queue(void **state)
{
    struct fixture *f = *state;
    struct cm_socket *router =
        open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_ROUTER, .queue_messages = 4});
    struct cm_socket *slow =
        open_socket(f, (struct cm_socket_config){
                           .type = CM_SOCKET_DEALER, .queue_messages = 4, .identity = "slow"});
    struct cm_message in = {0};
    cm_status st = CM_OK;
    int sent = 0;

    assert_int_equal(cm_socket_bind(router, "inproc://full", NULL, 0), CM_OK);
    assert_int_equal(cm_socket_connect(slow, "inproc://full"), CM_OK);
    send_ok(slow, MESSAGE("hello"));
    recv_ok(router, &in);
    assert_true(frame_is(&in, 0, "slow"));
    for (; st == CM_OK && sent < 1000; sent += st == CM_OK) {
        struct cm_message out = MESSAGE("slow", "data");
        st = cm_socket_send(router, &out, cm_deadline_in_ms(0));
    }
    assert_int_equal(st, CM_ETIMEDOUT);
    assert_in_range(sent, 4, 16);
    for (int i = 0; i < sent; i++) {
        recv_ok(slow, &in);
        assert_int_equal(in.nframes, 1);
    }
    assert_int_equal(cm_socket_recv(slow, &in, cm_deadline_in_ms(0)), CM_ETIMEDOUT);
    cm_message_release(&in);
    cm_socket_close(&slow);
    cm_socket_close(&router);
}

static void test_large_frame_disconnects(void **state)
{
    struct fixture *f = *state;
    char endpoint[128];
    struct cm_socket *small = open_socket(
        f, (struct cm_socket_config){.type = CM_SOCKET_ROUTER, .max_frame_nbytes = 1000});
    struct cm_socket *d = open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_DEALER});
    struct cm_message in = {0};
    char *big = calloc(1, 1001);
    memset(big, 'x', 1000);

    assert_int_equal(cm_socket_bind(small, "tcp://127.0.0.1:0", endpoint, sizeof(endpoint)), CM_OK);
    assert_int_equal(cm_socket_connect(d, endpoint), CM_OK);
    send_ok(d, MESSAGE(big));
    recv_ok(small, &in);
    assert_int_equal(in.frame[1].n, 1000);
    struct cm_message out = {.nframes = 1};
    out.frame[0].data = big;
    out.frame[0].n = 1001;
    assert_int_equal(cm_socket_send(d, &out, cm_deadline_in_ms(LONG_MS)), CM_OK);
    /* After the disconnect a new link is made, with a new routing id; the large frame is never
     * seen. */
    cm_status st = CM_ETIMEDOUT;
    for (int i = 0; i < 200 && st != CM_OK; i++) {
        struct cm_message probe = MESSAGE("small");
        (void)!cm_socket_send(d, &probe, cm_deadline_in_ms(50));
        st = cm_socket_recv(small, &in, cm_deadline_in_ms(50));
    }
    assert_int_equal(st, CM_OK);
    assert_true(frame_is(&in, 1, "small"));
    cm_message_release(&in);
    cm_socket_close(&d);
    cm_socket_close(&small);
    free(big);
}

static void test_conflate_keeps_the_newest(void **state)
{
    struct fixture *f = *state;
    struct cm_socket *pub =
        open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_PUB, .conflate = true});
    struct cm_socket *sub =
        open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_SUB, .conflate = true});
    struct cm_message in = {0};
    char text[16];

    assert_int_equal(cm_socket_bind(pub, "inproc://news", NULL, 0), CM_OK);
    assert_int_equal(cm_socket_connect(sub, "inproc://news"), CM_OK);
    assert_int_equal(cm_socket_subscribe(sub, "n"), CM_OK);
    /* A subscription travels; repeat until the first one arrives. */
    cm_status st = CM_ETIMEDOUT;
    for (int i = 0; i < 1000 && st != CM_OK; i++) {
        send_ok(pub, MESSAGE("n0"));
        st = cm_socket_recv(sub, &in, cm_deadline_in_ms(10));
    }
    assert_int_equal(st, CM_OK);
    for (int i = 1; i <= 5; i++) {
        snprintf(text, sizeof(text), "n%d", i);
        send_ok(pub, MESSAGE(text));
    }
    do
        recv_ok(sub, &in);
    while (!frame_is(&in, 0, "n5"));
    assert_int_equal(cm_socket_recv(sub, &in, cm_deadline_in_ms(0)), CM_ETIMEDOUT);
    cm_message_release(&in);
    cm_socket_close(&sub);
    cm_socket_close(&pub);
}

/* Who claims another's identity is not heard, and gets nothing that is meant for the other. */
static void test_no_handover(void **state)
{
    struct fixture *f = *state;
    struct cm_socket_config cfg = {.type = CM_SOCKET_DEALER, .identity = "worker-1"};
    struct cm_socket *old = open_socket(f, cfg), *new;
    struct cm_message in = {0};

    assert_int_equal(cm_socket_connect(old, f->endpoint), CM_OK);
    send_ok(old, MESSAGE("old"));
    recv_ok(f->router, &in);
    assert_true(frame_is(&in, 0, "worker-1"));
    new = open_socket(f, cfg);
    assert_int_equal(cm_socket_connect(new, f->endpoint), CM_OK);
    send_ok(new, MESSAGE("new")); /* it is connected */
    assert_int_equal(cm_socket_recv(f->router, &in, cm_deadline_in_ms(300)), CM_ETIMEDOUT);
    send_ok(f->router, MESSAGE("worker-1", "welcome"));
    recv_ok(old, &in);
    assert_true(frame_is(&in, 0, "welcome"));
    assert_int_equal(cm_socket_recv(new, &in, cm_deadline_in_ms(0)), CM_ETIMEDOUT);
    cm_message_release(&in);
    cm_socket_close(&new);
    cm_socket_close(&old);
}

static void test_linger_delivers(void **state)
{
    struct fixture *f = *state;
    struct cm_socket *d =
        open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_DEALER, .linger_ms = LONG_MS});
    struct cm_message in = {0};
    assert_int_equal(cm_socket_connect(d, f->endpoint), CM_OK);
    for (int i = 0; i < 100; i++)
        send_ok(d, MESSAGE("last words"));
    cm_socket_close(&d);
    for (int i = 0; i < 100; i++)
        recv_ok(f->router, &in);
    cm_message_release(&in);
}

static void test_poll(void **state)
{
    struct fixture *f = *state;
    int fd = eventfd(0, EFD_CLOEXEC);
    struct cm_poll_item items[] = {{.socket = f->router}, {.fd = fd}};
    struct cm_poll_item many[CM_POLL_ITEMS + 1] = {0};
    struct cm_message in = {0};
    uint64_t one = 1;

    assert_int_equal(cm_poll(items, 2, cm_deadline_in_ms(0)), CM_ETIMEDOUT);
    assert_false(items[0].ready || items[1].ready);
    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
    assert_int_equal(cm_poll(items, 2, cm_deadline_in_ms(LONG_MS)), CM_OK);
    assert_true(!items[0].ready && items[1].ready);
    assert_int_equal(read(fd, &one, sizeof(one)), sizeof(one));
    send_ok(f->dealer, MESSAGE("x"));
    assert_int_equal(cm_poll(items, 2, cm_deadline_in_ms(-1)), CM_OK);
    assert_true(items[0].ready && !items[1].ready);
    recv_ok(f->router, &in);
    assert_int_equal(cm_poll(many, CM_POLL_ITEMS + 1, cm_deadline_in_ms(0)), CM_EINVAL);
    cm_message_release(&in);
    close(fd);
}

#define SECRET "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* Who has the key that the endpoint tells is heard, and hears; who has none or another one gets no
 * link, nor one who wants a key of a place that has none. */
static void test_keys(void **state)
{
    struct fixture *f = *state;
    struct cm_message in = {0}, out = MESSAGE("let me in");
    char endpoint[256], other[512];
    struct cm_socket *server =
        open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_ROUTER, .secret = SECRET});
    assert_int_equal(cm_socket_bind(server, "tcp://127.0.0.1:0", endpoint, sizeof endpoint), CM_OK);
    char *mark = strchr(endpoint, '#');
    assert_non_null(mark);
    assert_int_equal(strlen(mark + 1), 64);
    assert_null(strstr(endpoint, SECRET));

    struct cm_socket *friend = open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_DEALER});
    assert_int_equal(cm_socket_connect(friend, endpoint), CM_OK);
    send_ok(friend, MESSAGE("hello"));
    recv_ok(server, &in);
    assert_true(frame_is(&in, 1, "hello"));
    struct cm_message reply = MESSAGE("", "welcome");
    reply.frame[0].data = in.frame[0].data;
    reply.frame[0].n = in.frame[0].n;
    send_ok(server, reply);
    recv_ok(friend, &in);
    assert_true(frame_is(&in, 0, "welcome"));
    assert_int_equal(cm_socket_connect(friend, f->endpoint), CM_EINVAL);

    char bare[256];
    snprintf(bare, sizeof bare, "%.*s", (int)(mark - endpoint), endpoint);
    snprintf(other, sizeof other, "%s#%c%s", bare, mark[1] == '0' ? '1' : '0', mark + 2);
    const char *const strangers[] = {other, bare};
    for (int i = 0; i < 2; i++) {
        struct cm_socket *stranger =
            open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_DEALER});
        assert_int_equal(cm_socket_connect(stranger, strangers[i]), CM_OK);
        assert_int_equal(cm_socket_send(stranger, &out, cm_deadline_in_ms(200)), CM_ETIMEDOUT);
        cm_socket_close(&stranger);
    }
    snprintf(other, sizeof other, "%s%s", f->endpoint, mark);
    struct cm_socket *strict = open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_DEALER});
    assert_int_equal(cm_socket_connect(strict, other), CM_OK);
    assert_int_equal(cm_socket_send(strict, &out, cm_deadline_in_ms(200)), CM_ETIMEDOUT);
    assert_int_equal(cm_socket_recv(server, &in, cm_deadline_in_ms(0)), CM_ETIMEDOUT);
    cm_message_release(&in);
    cm_socket_close(&strict);
    cm_socket_close(&friend);
    cm_socket_close(&server);
}

static void test_bad_keys(void **state)
{
    struct fixture *f = *state;
    struct cm_socket *s;
    char endpoint[20];
    static const char *const bad[] = {"", "0011", SECRET "00", "x" SECRET, "-" SECRET};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct cm_socket_config cfg = {.type = CM_SOCKET_ROUTER, .secret = bad[i]};
        assert_int_equal(cm_socket_open(&s, f->ctx, &cfg), CM_EINVAL);
        assert_null(s);
        assert_non_null(strstr(cm_error_text(), "64 hex digits"));
    }
    assert_int_equal(cm_socket_connect(f->dealer, "tcp://127.0.0.1:1#00"), CM_EINVAL);
    assert_non_null(strstr(cm_error_text(), "64 hex digits"));
    assert_int_equal(cm_socket_connect(f->dealer, "ipc:///tmp/a#b/nobody"), CM_OK); /* a path */
    s = open_socket(f, (struct cm_socket_config){.type = CM_SOCKET_ROUTER, .secret = SECRET});
    assert_int_equal(cm_socket_bind(s, "inproc://short", endpoint, sizeof endpoint), CM_EINVAL);
    cm_socket_close(&s);
}

static void on_alarm(int number)
{
    (void)number;
}

struct waking {
    pthread_t waiter;
    atomic_bool enough;
};

static void *wake(void *arg)
{
    struct waking *w = arg;
    while (!atomic_load(&w->enough)) {
        cm_sleep_us(20000);
        pthread_kill(w->waiter, SIGUSR1);
    }
    return NULL;
}

/* A signal ends a poll (a loop looks at its stop flag), but no receive: that one waits for its
 * deadline, and however many signals come, no longer (or this test never ends). */
static void test_bare_endpoints(void **state)
{
    (void)state;
    assert_int_equal(cm_endpoint_bare("tcp://127.0.0.1:5570"), 20);
    assert_int_equal(cm_endpoint_bare("tcp://127.0.0.1:5570#" SECRET), 20);
    assert_int_equal(cm_endpoint_bare("ipc:///tmp/a#b/there"), 20); /* a path of its own */
    assert_int_equal(cm_endpoint_bare("ipc:///tmp/a#b/there#" SECRET), 20);
    assert_int_equal(cm_endpoint_bare(""), 0);
}

static void test_signals(void **state)
{
    struct fixture *f = *state;
    struct sigaction action = {.sa_handler = on_alarm};
    struct cm_poll_item item = {.socket = f->router};
    struct cm_message in = {0};
    struct waking waking = {.waiter = pthread_self()};
    pthread_t thread;

    sigaction(SIGUSR1, &action, NULL);
    assert_int_equal(pthread_create(&thread, NULL, wake, &waking), 0);
    assert_int_equal(cm_poll(&item, 1, cm_deadline_in_ms(-1)), CM_ETIMEDOUT);
    int64_t start_ns = cm_now_ns();
    assert_int_equal(cm_socket_recv(f->router, &in, cm_deadline_in_ms(200)), CM_ETIMEDOUT);
    assert_true(cm_now_ns() - start_ns >= 199 * 1000000);
    atomic_store(&waking.enough, true);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_to_receive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_peer_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(test_frame_counts_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_address_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_peer_no_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_frame_disconnects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflate_keeps_the_newest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_handover, setup, teardown),
        cmocka_unit_test_setup_teardown(test_linger_delivers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_poll, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_keys, setup, teardown),
        cmocka_unit_test(test_bare_endpoints),
        cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
