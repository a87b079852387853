/* Every path of the gateway, and what is none of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "serve/http_route.h"

static void test_paths(void **state)
{
    static const struct {
        const char *method, *path;
        int code;
        enum sv_route route;
        const char *name;
        int64_t version;
    } cases[] = {
        {"POST", "/predict", 0, SV_ROUTE_PREDICT, "", 0},
        {"POST", "/predict/", 0, SV_ROUTE_PREDICT, "", 0},
        {"POST", "/predictions/lenet", 0, SV_ROUTE_PREDICT, "lenet", 0},
        {"POST", "/predictions/lenet/7", 0, SV_ROUTE_PREDICT, "lenet", 7},
        {"POST", "/predictions/lenet/v000007", 0, SV_ROUTE_PREDICT, "lenet", 7},
        {"GET", "/v2", 0, SV_ROUTE_SERVER, "", 0},
        {"GET", "/v2/", 0, SV_ROUTE_SERVER, "", 0},
        {"GET", "/v2/health/live", 0, SV_ROUTE_LIVE, "", 0},
        {"HEAD", "/v2/health/ready", 0, SV_ROUTE_READY, "", 0},
        {"GET", "/v2/models/lenet", 0, SV_ROUTE_MODEL, "lenet", 0},
        {"GET", "/v2/models/lenet/versions/3", 0, SV_ROUTE_MODEL, "lenet", 3},
        {"GET", "/v2/models/lenet/ready", 0, SV_ROUTE_MODEL_READY, "lenet", 0},
        {"GET", "/v2/models/lenet/versions/3/ready", 0, SV_ROUTE_MODEL_READY, "lenet", 3},
        {"GET", "/metrics", 0, SV_ROUTE_METRICS, "", 0},
        {"GET", "/predict", 405, 0, "", 0},
        {"DELETE", "/metrics", 405, 0, "", 0},
        {"POST", "/v2/health/live", 405, 0, "", 0},
        {"PUT", "/predictions/lenet", 405, 0, "", 0},
        {"get", "/metrics", 405, 0, "", 0},
        {"GET", "/", 404, 0, "", 0},
        {"GET", "", 404, 0, "", 0},
        {"GET", "metrics", 404, 0, "", 0},
        {"GET", "//metrics", 404, 0, "", 0},
        {"GET", "/metrics/x", 404, 0, "", 0},
        {"GET", "/v2/health", 404, 0, "", 0},
        {"GET", "/v2/models", 404, 0, "", 0},
        {"GET", "/v2/models/lenet/versions", 404, 0, "", 0},
        {"GET", "/v2/models/lenet/versions/x", 404, 0, "", 0},
        {"GET", "/a/b/c/d/e/f/g/h", 404, 0, "", 0},
        {"POST", "/predictions", 404, 0, "", 0},
        {"POST", "/predictions/lenet/0", 404, 0, "", 0},
        {"POST", "/predictions/lenet/-1", 404, 0, "", 0},
        {"POST", "/predictions/lenet/7x", 404, 0, "", 0},
        {"POST", "/predictions/lenet/v", 404, 0, "", 0},
        {"POST", "/predictions/lenet/9999999999999999999", 404, 0, "", 0},
        {"POST", "/predictions/lenet/7/8", 404, 0, "", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sv_target t;
        int code = sv_route_find(&t, cases[i].method, cases[i].path);
        if (code != cases[i].code)
            fail_msg("%s %s: %d instead of %d", cases[i].method, cases[i].path, code,
                     cases[i].code);
        if (code)
            continue;
        assert_int_equal(t.route, cases[i].route);
        assert_string_equal(t.name, cases[i].name);
        assert_int_equal(t.version, cases[i].version);
    }
}

static void test_long_names(void **state)
{
    char path[256] = "/predictions/";
    struct sv_target t;
    (void)state;
    memset(path + 13, 'a', NN_NAME - 1);
    assert_int_equal(sv_route_find(&t, "POST", path), 0);
    path[13 + NN_NAME - 1] = 'a';
    assert_int_equal(sv_route_find(&t, "POST", path), 404);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
