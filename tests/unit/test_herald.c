/* News to a gateway that is there, that is not, and that came back at another place. */
#include "common/clock.h"
#include "common/log.h"
#include "online/herald.h"
#include "tests/unit/expect.h"

struct gateway {
    struct cm_socket_ctx *ctx;
    struct cm_socket *sub;
};

static void write_serve_json(const char *dir, const char *text)
{
    char path[CM_PATH];
    expect_ok(cm_path_join(path, dir, "serve.json"));
    expect_ok(cm_file_replace(path, text, strlen(text)));
}

static void open_gateway(struct gateway *g, const char *dir)
{
    struct cm_socket_config sub = {.type = CM_SOCKET_SUB};
    char endpoint[256], text[512];
    expect_ok(cm_socket_ctx_open(&g->ctx));
    expect_ok(cm_socket_open(&g->sub, g->ctx, &sub));
    expect_ok(cm_socket_subscribe(g->sub, WI_ANNOUNCE_TOPIC));
    expect_ok(cm_socket_bind(g->sub, "tcp://127.0.0.1:0", endpoint, sizeof endpoint));
    snprintf(text, sizeof text, "{\"format\": \"1.0\", \"announce\": \"%s\"}", endpoint);
    write_serve_json(dir, text);
}

static void close_gateway(struct gateway *g)
{
    cm_socket_close(&g->sub);
    cm_socket_ctx_close(&g->ctx);
}

/* What is sent before the connection stands is lost, so it is sent until it is heard. */
static void assert_heard(struct ol_herald *h, struct gateway *g, int64_t version)
{
    struct wi_announce news = {.kind = WI_ALIASED, .version = version, .alias = "champion"}, got;
    struct cm_message m = {0};
    cm_status st = CM_ETIMEDOUT;
    for (int i = 0; i < 200 && st == CM_ETIMEDOUT; i++) {
        ol_herald_tell(h, &news);
        st = cm_socket_recv(g->sub, &m, cm_deadline_in_ms(50));
    }
    assert_int_equal(st, CM_OK);
    expect_ok(wi_announce_decode(&got, m.frame[0].data, m.frame[0].n));
    assert_int_equal(got.version, version);
    assert_string_equal(got.alias, "champion");
    cm_message_release(&m);
}

static void test_gateways_come_and_go(void **state)
{
    (void)state;
    char dir[CM_PATH];
    struct ol_herald h;
    struct gateway first, second;
    struct wi_announce news = {.kind = WI_ALIASED, .version = 1, .alias = "champion"};
    cm_log_set_level(CM_LOG_ERROR);
    expect_dir_make(dir);
    expect_ok(ol_herald_open(&h, dir));
    ol_herald_look(&h); /* no gateway */
    ol_herald_tell(&h, &news);

    open_gateway(&first, dir);
    ol_herald_look(&h);
    assert_heard(&h, &first, 7);
    ol_herald_look(&h); /* the same one */
    assert_heard(&h, &first, 8);
    open_gateway(&second, dir);
    ol_herald_look(&h);
    assert_heard(&h, &second, 9);

    static const char *const bad[] = {"", "{", "{\"announce\": 3}", "{\"announce\": \"\"}",
                                      "{\"announce\": \"nonsense\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_serve_json(dir, bad[i]);
        ol_herald_look(&h);
        assert_string_equal(h.endpoint, "");
        ol_herald_tell(&h, &news);
    }
    ol_herald_close(&h);
    close_gateway(&first);
    close_gateway(&second);
    expect_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gateways_come_and_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
