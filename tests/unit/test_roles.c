/* Section "cluster": defaults, the roles it asks for, and the private Redis. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/mem.h"
#include "launcher/roles.h"

static cm_status read_cluster(struct la_cluster *cluster, const char *section)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "{\"schema\": 1, \"cluster\": {%s}}", section);
    struct cm_config *cfg = NULL;
    CM_TRY(cm_config_parse(&cfg, text, (size_t)n, "test.json"));
    cm_status st = cm_config_read(cfg, &la_cluster_section, cluster);
    cm_config_close(&cfg);
    return st;
}

static char *options[] = {(char[]){"--set"}, (char[]){"a.b=1"}};
static const struct la_tiers tiers = {.bin_dir = "/opt/bin",
                                      .config = "c.json",
                                      .run_dir = "/run",
                                      .options = options,
                                      .noptions = 2};

static void test_defaults_and_mistakes(void **state)
{
    (void)state;
    struct la_cluster cluster;
    assert_int_equal(read_cluster(&cluster, ""), CM_OK);
    assert_true(cluster.gateway);
    assert_int_equal(cluster.workers, 1);
    assert_int_equal(cluster.online_ranks, 0);
    assert_int_equal(la_cluster_backoff(&cluster).initial_ms, 500);
    assert_int_equal(read_cluster(&cluster, "\"workers\": 65"), CM_ECONFIG);
    assert_int_equal(read_cluster(&cluster, "\"workers\": -1"), CM_ECONFIG);
    assert_int_equal(read_cluster(&cluster, "\"worker\": 1"), CM_ECONFIG);
    assert_int_equal(read_cluster(&cluster, "\"redis\": true"), CM_ECONFIG);
}

static void release(struct la_role *roles, size_t n)
{
    for (size_t i = 0; i < n; i++)
        la_role_release(&roles[i]);
}

static void test_all_roles(void **state)
{
    (void)state;
    unsetenv("SLURM_JOB_ID");
    struct la_cluster cluster;
    struct la_role roles[LA_ROLES_MAX];
    size_t n = 0;
    assert_int_equal(read_cluster(&cluster, "\"redis\": \"127.0.0.1:6400\", \"workers\": 2, "
                                            "\"online_ranks\": 2, \"train_ranks\": 1"),
                     CM_OK);
    assert_int_equal(la_roles_build(roles, &n, LA_ROLES_ALL, &cluster, &tiers), CM_OK);
    static const char *const names[] = {"redis",    "gateway", "worker-0",
                                        "worker-1", "online",  "train"};
    static const int phases[] = {2, 0, 1, 1, 0, 0};
    assert_int_equal(n, 6);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(roles[i].name, names[i]);
        assert_int_equal(roles[i].stop_phase, phases[i]);
        assert_int_equal(roles[i].max_restarts, -1);
        assert_int_equal(roles[i].lives != NULL, i >= 4); /* those that leave a summary */
    }
    assert_string_equal(roles[0].argv.item[0], "redis-server");
    assert_string_equal(roles[0].argv.item[1], "/run/redis/redis.conf");
    assert_string_equal(roles[3].log_path, "/run/logs/worker-1.log");
    static const char *const worker[] = {
        "/opt/bin/flywheel-worker", "c.json", "--id", "1", "--set", "a.b=1"};
    assert_int_equal(roles[3].argv.n, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(roles[3].argv.item[i], worker[i]);
    assert_string_equal(roles[4].argv.item[0], "mpirun");
    assert_int_equal(roles[4].stop_signal, SIGUSR1);
    assert_non_null(roles[4].scratch);
    assert_false(roles[4].once);
    /* One rank needs no mpirun, and a finished training run is no failure. */
    assert_string_equal(roles[5].argv.item[0], "/opt/bin/flywheel-train");
    assert_string_equal(roles[5].argv.item[1], "train");
    assert_int_equal(roles[5].stop_signal, SIGTERM);
    assert_true(roles[5].once);
    release(roles, n);
}

static void test_serve_has_a_worker_at_least(void **state)
{
    (void)state;
    struct la_cluster cluster;
    struct la_role roles[LA_ROLES_MAX];
    size_t n = 0;
    assert_int_equal(
        read_cluster(&cluster, "\"redis\": \"127.0.0.1:6400\", \"workers\": 0, \"gateway\": false"),
        CM_OK);
    assert_int_equal(la_roles_build(roles, &n, LA_ROLES_SERVE, &cluster, &tiers), CM_OK);
    assert_int_equal(n, 2);
    assert_string_equal(roles[0].name, "gateway");
    assert_string_equal(roles[1].name, "worker-0");
    assert_null(roles[1].log_path);
    release(roles, n);
    *cluster.redis = '\0';
    assert_int_equal(la_roles_build(roles, &n, LA_ROLES_ALL, &cluster, &tiers), CM_ECONFIG);
}

static void test_failed_allocations(void **state)
{
    (void)state;
    struct la_cluster cluster;
    struct la_role roles[LA_ROLES_MAX];
    size_t n = 0;
    assert_int_equal(read_cluster(&cluster, "\"online_ranks\": 2"), CM_OK);
    cm_mem_fail_at(0);
    assert_int_equal(la_roles_build(roles, &n, LA_ROLES_ALL, &cluster, &tiers), CM_OK);
    release(roles, n);
    long total = cm_mem_fail_at(0);
    for (long k = 1; k <= total; k++) {
        cm_mem_fail_at(k);
        assert_int_equal(la_roles_build(roles, &n, LA_ROLES_ALL, &cluster, &tiers), CM_ENOMEM);
        release(roles, n);
    }
    cm_mem_fail_at(0);
}

static void test_redis_addresses(void **state)
{
    (void)state;
    struct la_redis_address a;
    assert_int_equal(la_redis_address_parse(&a, "127.0.0.1:6400"), CM_OK);
    assert_string_equal(a.host, "127.0.0.1");
    assert_int_equal(a.port, 6400);
    assert_int_equal(la_redis_address_parse(&a, "unix:/run/r.sock"), CM_OK);
    assert_int_equal(a.port, 0);
    assert_string_equal(a.socket, "/run/r.sock");
    char cwd[512];
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(la_redis_address_parse(&a, "unix:r.sock"), CM_OK);
    assert_int_equal(strncmp(a.socket, cwd, strlen(cwd)), 0);

    char longest[160] = "unix:/";
    memset(longest + 6, 'x', 107);
    static const char *const bad[] = {"",        ":",    "host", "host:", ":1",   "h:0",
                                      "h:65536", "h:1x", "h :1", "h\n:1", "unix:"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(la_redis_address_parse(&a, bad[i]), CM_ECONFIG);
    assert_int_equal(la_redis_address_parse(&a, longest), CM_ECONFIG);
    longest[6 + 106] = '\0';
    assert_int_equal(la_redis_address_parse(&a, longest), CM_OK);
}

static void test_redis_conf(void **state)
{
    (void)state;
    struct la_redis_address a;
    char *text = NULL;
    assert_int_equal(la_redis_address_parse(&a, "127.0.0.1:6400"), CM_OK);
    assert_int_equal(la_redis_conf(&text, &a, "/run/redis"), CM_OK);
    assert_non_null(strstr(text, "dir \"/run/redis\"\n"));
    assert_non_null(strstr(text, "bind 127.0.0.1\nport 6400\n"));
    assert_non_null(strstr(text, "appendonly yes\n"));
    assert_non_null(strstr(text, "proto-max-bulk-len 8mb\n"));
    assert_null(strstr(text, "unixsocket"));
    cm_free(&text);
    assert_int_equal(la_redis_address_parse(&a, "unix:/r.sock"), CM_OK);
    assert_int_equal(la_redis_conf(&text, &a, "/run/redis"), CM_OK);
    assert_non_null(strstr(text, "port 0\nunixsocket \"/r.sock\"\nunixsocketperm 700\n"));
    cm_free(&text);
    assert_int_equal(la_redis_conf(&text, &a, "/run\" \"x"), CM_ECONFIG);
    assert_int_equal(la_redis_conf(&text, &a, "/run\nrequirepass x"), CM_ECONFIG);
    assert_null(text);
}

static void test_a_taken_port_is_refused(void **state)
{
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    char text[64];
    snprintf(text, sizeof text, "127.0.0.1:%d", ntohs(at.sin_port));
    struct la_redis_address a;
    assert_int_equal(la_redis_address_parse(&a, text), CM_OK);
    assert_int_equal(la_redis_check_free(&a, text), CM_EBUSY);
    close(fd);
    assert_int_equal(la_redis_check_free(&a, text), CM_OK);
    assert_int_equal(la_redis_address_parse(&a, "unix:/nowhere/r.sock"), CM_OK);
    assert_int_equal(la_redis_check_free(&a, "unix:/nowhere/r.sock"), CM_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_and_mistakes),
        cmocka_unit_test(test_all_roles),
        cmocka_unit_test(test_serve_has_a_worker_at_least),
        cmocka_unit_test(test_failed_allocations),
        cmocka_unit_test(test_redis_addresses),
        cmocka_unit_test(test_redis_conf),
        cmocka_unit_test(test_a_taken_port_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
