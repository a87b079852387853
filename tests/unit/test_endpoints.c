/* serve.json there and back, the one gateway of a run directory, and where sockets go. */
#include "tests/unit/store_fixture.h"

#include "serve/endpoints.h"

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct sv_endpoints e = {.clients = "tcp://127.0.0.1:5570",
                             .workers = "ipc:///x/workers.sock",
                             .announce = "ipc:///x/announce.sock",
                             .http_host = "127.0.0.1",
                             .http_port = 8080,
                             .pid = 42,
                             .life = "0193a4c2-0000-4000-8000-000000000000"},
                        back;
    assert_fails(sv_endpoints_read(&back, f->dir), CM_ENOTFOUND);
    assert_ok(sv_endpoints_write(&e, f->dir));
    assert_ok(sv_endpoints_read(&back, f->dir));
    assert_memory_equal(&e, &back, sizeof e);
    sv_endpoints_remove(f->dir);
    assert_fails(sv_endpoints_read(&back, f->dir), CM_ENOTFOUND);
    sv_endpoints_remove(f->dir);
}

static void test_damaged(void **state)
{
    struct fixture *f = *state;
    char path[CM_PATH];
    static const char bad_port[] =
        "{\"format\": \"1.0\", \"clients\": \"a\", \"workers\": \"b\", \"announce\": \"c\", "
        "\"http_host\": \"d\", \"life\": \"e\", \"http_port\": 70000, \"pid\": 1}";
    static const char *const bad[] = {
        "",      "{", "[]", "{}", "{\"format\": \"2.0\"}", "{\"format\": \"1.0\", \"clients\": 7}",
        bad_port};
    struct sv_endpoints e;
    assert_ok(cm_path_join(path, f->dir, "serve.json"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fixture_overwrite(path, bad[i], strlen(bad[i]));
        assert_int_not_equal(sv_endpoints_read(&e, f->dir), CM_OK);
        assert_says("serve.json");
    }
}

static void test_one_gateway(void **state)
{
    struct fixture *f = *state;
    int first, second;
    char pid[32];
    assert_ok(sv_run_lock(&first, f->dir));
    assert_fails(sv_run_lock(&second, f->dir), CM_EBUSY);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_says(pid);
    assert_int_equal(second, -1);
    sv_run_unlock(&first);
    assert_ok(sv_run_lock(&second, f->dir));
    sv_run_unlock(&second);
    sv_run_unlock(&second);
    assert_fails(sv_run_lock(&first, "/nonexistent"), CM_ENOTFOUND);
}

static void test_choice(void **state)
{
    char out[SV_ENDPOINT], dir[200];
    (void)state;
    sv_endpoint_choose(out, "tcp://*:1", "/run", "workers.sock");
    assert_string_equal(out, "tcp://*:1");
    sv_endpoint_choose(out, "", "/nowhere", "workers.sock");
    assert_string_equal(out, "ipc:///nowhere/workers.sock");
    char want[CM_PATH + 32], cwd[CM_PATH];
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(want, sizeof want, "ipc://%s/workers.sock", cwd);
    sv_endpoint_choose(out, "", ".", "workers.sock"); /* a worker may be started elsewhere */
    assert_string_equal(out, strlen(want) < 100 ? want : "tcp://127.0.0.1:0");
    memset(dir, 'd', sizeof dir - 1);
    dir[sizeof dir - 1] = '\0';
    sv_endpoint_choose(out, "", dir, "workers.sock"); /* longer than a socket's path may be */
    assert_string_equal(out, "tcp://127.0.0.1:0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_damaged, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_one_gateway, fixture_setup, fixture_teardown),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
