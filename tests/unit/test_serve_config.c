/* Section "serve": defaults, batch sizes, and what is wrong with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "serve/serve_config.h"

static cm_status read_sizes(const char *section, int sizes[SV_BATCH_SIZES], int *n)
{
    struct cm_config *config;
    struct sv_config serve;
    char text[512];
    snprintf(text, sizeof text, "{\"schema\": 1, \"serve\": %s}", section);
    CM_TRY(cm_config_parse(&config, text, strlen(text), "test"));
    cm_status st = cm_config_read(config, &sv_config_section, &serve);
    if (st == CM_OK)
        st = sv_config_batches(&serve, sizes, n);
    cm_config_close(&config);
    return st;
}

static void test_sizes(void **state)
{
    int sizes[SV_BATCH_SIZES], n;
    (void)state;
    assert_int_equal(read_sizes("{}", sizes, &n), CM_OK);
    assert_int_equal(n, 7);
    assert_int_equal(sizes[0], 1);
    assert_int_equal(sizes[6], 64);
    assert_int_equal(read_sizes("{\"max_batch\": 5}", sizes, &n), CM_OK);
    assert_int_equal(n, 4);
    assert_int_equal(sizes[3], 5);
    assert_int_equal(read_sizes("{\"max_batch\": 1}", sizes, &n), CM_OK);
    assert_int_equal(n, 1);
    assert_int_equal(read_sizes("{\"max_batch\": 1024}", sizes, &n), CM_OK);
    assert_int_equal(n, 11);
    assert_int_equal(read_sizes("{\"max_batch\": 8, \"batch_sizes\": [3, 8]}", sizes, &n), CM_OK);
    assert_int_equal(n, 2);
    assert_int_equal(sizes[0], 3);
}

static void test_bad_sizes(void **state)
{
    static const char *const bad[] = {
        "{\"max_batch\": 8, \"batch_sizes\": [1, 2]}",
        "{\"max_batch\": 8, \"batch_sizes\": []}",
        "{\"max_batch\": 8, \"batch_sizes\": [4, 2, 8]}",
        "{\"max_batch\": 8, \"batch_sizes\": [8, 8]}",
        "{\"max_batch\": 8, \"batch_sizes\": [0, 8]}",
        "{\"max_batch\": 8, \"batch_sizes\": [1.5, 8]}",
        "{\"max_batch\": 8, \"batch_sizes\": [16]}",
        "{\"max_batch\": 8, \"batch_sizes\": {\"a\": 8}}",
        "{\"max_batch\": 0}",
        "{\"max_batch\": 64, \"batch_sizes\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,64]}",
        "{\"max_bach\": 8}",
        "{\"http_port\": 65536}",
        "{\"precision\": \"fp8\"}",
    };
    int sizes[SV_BATCH_SIZES], n;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (read_sizes(bad[i], sizes, &n) != CM_ECONFIG)
            fail_msg("%s is taken", bad[i]);
}

static cm_status read_device(const char *list, int64_t number, char which[CM_CONFIG_STRING],
                             int64_t *turn)
{
    struct sv_config serve = {0};
    snprintf(serve.device, sizeof serve.device, "%s", list);
    return sv_config_device(&serve, number, which, turn);
}

static void test_devices(void **state)
{
    static const struct {
        const char *list;
        int64_t number;
        const char *want; /* NULL: refused */
        int64_t turn;     /* -1: it is dealt none, and has any */
    } cases[] = {{"cpu", 7, "cpu", -1},
                 {"auto", 0, "auto", 0},
                 {"cuda", 3, "cuda", 3},
                 {"cuda,cpu", 2, "cuda", 1},
                 {"cpu,cuda:1,cuda,auto", 11, "auto", 5},
                 {"cuda:1023", 0, "cuda:1023", -1},
                 {"cuda:0,cuda:1", 0, "cuda:0", -1},
                 {"cuda:0,cuda:1", 3, "cuda:1", -1},
                 {"cuda:0,cuda:0,cpu", 5, "cpu", -1},
                 {"", 0, NULL, -1},
                 {"ref", 0, NULL, -1},
                 {"gpu", 0, NULL, -1},
                 {"cuda:", 0, NULL, -1},
                 {"cuda:1024", 0, NULL, -1},
                 {"cuda:0,", 0, NULL, -1},
                 {"cuda:0, cuda:1", 0, NULL, -1},
                 {"cuda:0,cuda:x", 0, NULL, -1}};
    char which[CM_CONFIG_STRING];
    int64_t turn;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cm_status st = read_device(cases[i].list, cases[i].number, which, &turn);
        if (st != (cases[i].want ? CM_OK : CM_ECONFIG))
            fail_msg("'%s': %s", cases[i].list, cm_status_name(st));
        if (cases[i].want)
            assert_string_equal(which, cases[i].want);
        if (cases[i].turn >= 0)
            assert_int_equal(turn, cases[i].turn);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_devices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
