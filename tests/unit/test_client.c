/* The client against a gateway that this test plays step by step on a real ROUTER socket: it
 * answers late, twice, in another order, never, dies, and comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hash.h"
#include "common/mem.h"
#include "common/socket.h"
#include "wire/bytes.h"
#include "wire/client.h"

#define LONG_MS 60000
#define SLOTS   8
#define KEPT    16

struct kept { /* a request that the gateway has received */
    struct cm_message message;
    struct wi_header header;
};

struct fixture {
    struct cm_socket_ctx *ctx;
    struct cm_socket *router;
    struct wi_client *client;
    char dir[32], endpoint[64];
    uint64_t life;
    struct kept kept[KEPT];
    int nkept;
    int pings;
};

static void start_gateway(struct fixture *f)
{
    struct cm_socket_config cfg = {.type = CM_SOCKET_ROUTER};
    f->life++;
    assert_int_equal(cm_socket_open(&f->router, f->ctx, &cfg), CM_OK);
    /* The former socket's address is given back by a thread of ZeroMQ, a moment after its close. */
    cm_status st = CM_EBUSY;
    for (int i = 0; i < 1000 && st == CM_EBUSY; i++) {
        st = cm_socket_bind(f->router, f->endpoint, NULL, 0);
        if (st == CM_EBUSY)
            cm_sleep_us(1000);
    }
    assert_int_equal(st, CM_OK);
}

static void stop_gateway(struct fixture *f)
{
    while (f->nkept > 0)
        cm_message_release(&f->kept[--f->nkept].message);
    cm_socket_close(&f->router);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/fw-client-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/gateway", f->dir);
    assert_int_equal(cm_socket_ctx_open(&f->ctx), CM_OK);
    start_gateway(f);
    struct wi_client_config cfg = {
        .endpoint = f->endpoint, .max_outstanding = SLOTS, .ping_ms = 20};
    assert_int_equal(wi_client_open(&f->client, &cfg), CM_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char path[64];
    wi_client_close(&f->client);
    wi_client_close(&f->client);
    stop_gateway(f);
    cm_socket_ctx_close(&f->ctx);
    snprintf(path, sizeof(path), "%s/gateway", f->dir);
    unlink(path);
    rmdir(f->dir);
    free(f);
    return 0;
}

static void gateway_send(struct fixture *f, const struct cm_message *to, struct wi_header h,
                         const char *text)
{
    uint8_t header[WI_HEADER_NBYTES];
    struct cm_message m = {.nframes = text ? 3 : 2};
    h.session = cm_xxh64(to->frame[0].data, to->frame[0].n) + f->life;
    h.body_nbytes = text ? (uint32_t)strlen(text) : 0;
    wi_header_encode(header, &h);
    m.frame[0].data = to->frame[0].data;
    m.frame[0].n = to->frame[0].n;
    m.frame[1].data = header;
    m.frame[1].n = sizeof(header);
    m.frame[2].data = text;
    m.frame[2].n = h.body_nbytes;
    cm_status st = cm_socket_send(f->router, &m, cm_deadline_in_ms(LONG_MS));
    assert_true(st == CM_OK || st == CM_ECONNECT); /* the client may have gone */
}

static void gateway_answer(struct fixture *f, int i, const char *text)
{
    struct wi_header h = {.type = WI_REPLY, .id = f->kept[i].header.id, .body = WI_BODY_TEXT};
    gateway_send(f, &f->kept[i].message, h, text);
}

/* Takes what has arrived: pings are answered, requests kept. */
static void gateway_serve(struct fixture *f)
{
    struct kept *k = &f->kept[f->nkept];
    while (cm_socket_recv(f->router, &k->message, cm_deadline_in_ms(0)) == CM_OK) {
        const struct cm_message *m = &k->message;
        assert_in_range(m->nframes, 2, 3);
        assert_int_equal(wi_header_decode(&k->header, m->frame[1].data, m->frame[1].n,
                                          m->nframes == 3 ? m->frame[2].n : 0),
                         CM_OK);
        if (k->header.type == WI_PING) {
            f->pings++;
            gateway_send(f, m, (struct wi_header){.type = WI_PONG, .id = k->header.id}, NULL);
            continue;
        }
        assert_int_equal(k->header.type, WI_REQUEST);
        assert_in_range(++f->nkept, 1, KEPT - 1);
        k++;
    }
    cm_message_release(&k->message);
}

/* Both sides go on until the gateway has kept n requests; no answer may come. */
static void serve_until(struct fixture *f, int n)
{
    struct cm_deadline patience = cm_deadline_in_ms(LONG_MS);
    struct wi_answer a;
    while (f->nkept < n) {
        assert_false(cm_deadline_passed(patience));
        assert_int_equal(wi_client_poll(f->client, &a, cm_deadline_in_ms(1)), CM_ETIMEDOUT);
        gateway_serve(f);
    }
}

static struct wi_answer poll_ok(struct fixture *f)
{
    struct wi_answer a;
    assert_int_equal(wi_client_poll(f->client, &a, cm_deadline_in_ms(LONG_MS)), CM_OK);
    return a;
}

static struct wi_id submit(struct fixture *f, uint64_t tag, int timeout_ms)
{
    static const uint8_t pixels[3] = {1, 2, 3};
    struct wi_question q = {.image = {WI_IMAGE_PIXELS, 1, 1, 3, pixels, 3},
                            .timeout_ms = timeout_ms,
                            .top_k = 2,
                            .tag = tag};
    struct wi_id id;
    assert_int_equal(wi_client_submit(f->client, &q, &id), CM_OK);
    return id;
}

static void test_many_in_any_order(void **state)
{
    struct fixture *f = *state;
    struct wi_id id[SLOTS];
    char text[16];

    for (int i = 0; i < SLOTS; i++)
        id[i] = submit(f, (uint64_t)i, LONG_MS);
    serve_until(f, SLOTS);
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(f->kept[i].header.top_k, 2);
        assert_in_range(f->kept[i].header.deadline_us, 1, LONG_MS * 1000);
        assert_int_equal(f->kept[i].message.frame[2].n, 3);
        for (int j = 0; j < i; j++)
            assert_false(wi_id_equal(id[i], id[j]));
    }
    for (int i = SLOTS - 1; i >= 0; i--) {
        snprintf(text, sizeof(text), "a%d", i);
        gateway_answer(f, i, text);
    }
    for (int i = SLOTS - 1; i >= 0; i--) {
        struct wi_answer a = poll_ok(f);
        assert_int_equal(a.st, CM_OK);
        assert_true(wi_id_equal(a.id, id[a.tag]));
        assert_int_equal(a.header.body_nbytes, 2);
        assert_int_equal(((const char *)a.body)[1], '0' + (int)a.tag);
        assert_true(a.ns > 0);
    }
    struct wi_answer a;
    assert_int_equal(wi_client_poll(f->client, &a, cm_deadline_in_ms(LONG_MS)), CM_ENOTFOUND);
    struct wi_client_stats stats = wi_client_stats(f->client);
    assert_true(stats.submitted == SLOTS && stats.sent == SLOTS && stats.answered == SLOTS);
}

static void test_second_answer_is_dropped(void **state)
{
    struct fixture *f = *state;
    submit(f, 1, LONG_MS);
    serve_until(f, 1);
    gateway_answer(f, 0, "first");
    gateway_answer(f, 0, "second");
    struct wi_answer a = poll_ok(f);
    assert_memory_equal(a.body, "first", 5);
    /* The second one names a slot that may hold another request by now. */
    for (uint64_t tag = 2; tag < 2 + SLOTS; tag++)
        submit(f, tag, LONG_MS);
    serve_until(f, 1 + SLOTS);
    assert_int_equal(wi_client_stats(f->client).dropped, 1);
    assert_int_equal(wi_client_outstanding(f->client), SLOTS);
}

static void test_gateway_restart(void **state)
{
    struct fixture *f = *state;
    struct wi_id id = submit(f, 1, LONG_MS);
    serve_until(f, 1);
    stop_gateway(f);
    start_gateway(f);
    /* Asked again, with the same id; answered by the second life. */
    serve_until(f, 1);
    assert_true(wi_id_equal(f->kept[0].header.id, id));
    gateway_answer(f, 0, "second life");
    struct wi_answer a = poll_ok(f);
    assert_true(a.tag == 1 && a.st == CM_OK);
    assert_memory_equal(a.body, "second life", 11);
    struct wi_client_stats stats = wi_client_stats(f->client);
    assert_true(stats.submitted == 1 && stats.sent == 2 && stats.answered == 1);
    assert_int_equal(stats.sessions, 2);
}

/* Silence alone makes nobody send twice: pings go out, and the answer comes in the end. */
static void test_slow_gateway_is_not_asked_twice(void **state)
{
    struct fixture *f = *state;
    submit(f, 1, LONG_MS);
    serve_until(f, 1);
    int pings = f->pings;
    struct cm_deadline patience = cm_deadline_in_ms(LONG_MS);
    while (f->pings < pings + 5) {
        struct wi_answer a;
        assert_false(cm_deadline_passed(patience));
        assert_int_equal(wi_client_poll(f->client, &a, cm_deadline_in_ms(1)), CM_ETIMEDOUT);
        gateway_serve(f);
    }
    assert_int_equal(f->nkept, 1);
    gateway_answer(f, 0, "at last");
    assert_int_equal(poll_ok(f).st, CM_OK);
    assert_int_equal(wi_client_stats(f->client).sent, 1);
}

static void test_submitted_before_the_gateway_is_there(void **state)
{
    struct fixture *f = *state;
    struct wi_answer a;
    stop_gateway(f);
    submit(f, 5, LONG_MS);
    int64_t start_ns = cm_now_ns();
    assert_int_equal(wi_client_poll(f->client, &a, cm_deadline_in_ms(50)), CM_ETIMEDOUT);
    assert_in_range((cm_now_ns() - start_ns) / 1000000, 49, LONG_MS);
    start_gateway(f);
    serve_until(f, 1);
    gateway_answer(f, 0, "hello");
    assert_int_equal(poll_ok(f).tag, 5);
}

static void test_deadlines(void **state)
{
    struct fixture *f = *state;
    submit(f, 1, LONG_MS);
    serve_until(f, 1);
    submit(f, 2, 30);
    struct wi_answer a = poll_ok(f);
    assert_int_equal(a.st, CM_ETIMEDOUT);
    assert_int_equal(a.tag, 2);
    assert_true(a.ns >= 30 * 1000000);
    assert_null(a.body);
    serve_until(f, 2); /* it had been sent */
    gateway_answer(f, 1, "too late");
    gateway_answer(f, 0, "in time");
    a = poll_ok(f);
    assert_true(a.tag == 1 && a.st == CM_OK);
    struct wi_client_stats stats = wi_client_stats(f->client);
    assert_true(stats.timed_out == 1 && stats.answered == 1 && stats.dropped == 1);

    /* Also without any gateway. */
    stop_gateway(f);
    submit(f, 3, 30);
    a = poll_ok(f);
    assert_true(a.tag == 3 && a.st == CM_ETIMEDOUT);
    assert_int_equal(wi_client_outstanding(f->client), 0);
}

static void test_garbage_from_the_gateway(void **state)
{
    struct fixture *f = *state;
    submit(f, 1, LONG_MS);
    serve_until(f, 1);
    const struct cm_message *to = &f->kept[0].message;
    struct cm_message m = {.nframes = 3};
    for (int i = 0; i < 3; i++) {
        m.frame[i].data = i ? "garbage" : to->frame[0].data;
        m.frame[i].n = i ? 7 : to->frame[0].n;
    }
    assert_int_equal(cm_socket_send(f->router, &m, cm_deadline_in_ms(LONG_MS)), CM_OK);
    m.nframes = CM_MESSAGE_FRAMES;
    for (int i = 3; i < CM_MESSAGE_FRAMES; i++)
        m.frame[i] = m.frame[1];
    assert_int_equal(cm_socket_send(f->router, &m, cm_deadline_in_ms(LONG_MS)), CM_OK);
    struct wi_header other = {.type = WI_REPLY, .id = {{1, 2, 3}}};
    gateway_send(f, to, other, NULL);
    other.id = f->kept[0].header.id;
    memset(other.id.byte + 12, 0xff, 4); /* a slot that is none */
    gateway_send(f, to, other, NULL);
    gateway_answer(f, 0, "good");
    struct wi_answer a = poll_ok(f);
    assert_memory_equal(a.body, "good", 4);
    struct wi_client_stats stats = wi_client_stats(f->client);
    assert_int_equal(stats.malformed, 2);
    assert_int_equal(stats.dropped, 2);
}

/* A peer that sends nothing but messages that answer nothing does not hold a call past its
 * deadline: each one that has passed looks at one message. */
static void test_flood_ends_at_the_deadline(void **state)
{
    enum { FLOOD = 100 };
    struct fixture *f = *state;
    struct wi_answer a;
    submit(f, 1, LONG_MS);
    serve_until(f, 1);
    struct cm_message m = {.nframes = 2};
    m.frame[0] = f->kept[0].message.frame[0];
    m.frame[1].data = "junk";
    m.frame[1].n = 4;
    for (int i = 0; i < FLOOD; i++)
        assert_int_equal(cm_socket_send(f->router, &m, cm_deadline_in_ms(LONG_MS)), CM_OK);
    struct cm_deadline patience = cm_deadline_in_ms(LONG_MS);
    for (uint64_t seen = 0; seen < FLOOD;) {
        assert_false(cm_deadline_passed(patience));
        assert_int_equal(wi_client_poll(f->client, &a, cm_deadline_in_ms(0)), CM_ETIMEDOUT);
        uint64_t now = wi_client_stats(f->client).malformed;
        assert_in_range(now, seen, seen + 1);
        seen = now;
    }
    gateway_answer(f, 0, "good");
    a = poll_ok(f);
    assert_int_equal(a.tag, 1);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    struct wi_question q = {.image = {WI_IMAGE_FILE, 0, 0, 0, "no image", 8}, .timeout_ms = 1};
    struct wi_client *none;

    assert_int_equal(wi_client_submit(f->client, &q, NULL), CM_EFORMAT);
    q.image = (struct wi_image){WI_IMAGE_FILE, 0, 0, 0, "\xff\xd8\xff", 3};
    q.timeout_ms = 0;
    assert_int_equal(wi_client_submit(f->client, &q, NULL), CM_EINVAL);
    q.timeout_ms = 1;
    q.top_k = 65536;
    assert_int_equal(wi_client_submit(f->client, &q, NULL), CM_EINVAL);
    assert_int_equal(wi_client_outstanding(f->client), 0);
    for (uint64_t i = 0; i < SLOTS; i++)
        submit(f, i, LONG_MS);
    q.top_k = 0;
    assert_int_equal(wi_client_submit(f->client, &q, NULL), CM_EBUSY);

    struct wi_client_config cfg = {.endpoint = "tcp://127.0.0.1:1"};
    assert_int_equal(wi_client_open(&none, &cfg), CM_EINVAL);
    cfg.max_outstanding = 1;
    cfg.endpoint = "nonsense";
    assert_int_equal(wi_client_open(&none, &cfg), CM_EINVAL);
    cfg.endpoint = f->endpoint;
    for (long k = 1; k <= 3; k++) {
        cm_mem_fail_at(k);
        assert_int_equal(wi_client_open(&none, &cfg), CM_ENOMEM);
        assert_null(none);
    }
    cm_mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_answer_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gateway_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_gateway_is_not_asked_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_submitted_before_the_gateway_is_there, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_deadlines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_from_the_gateway, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flood_ends_at_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
