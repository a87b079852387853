#include "common/metrics.h"

#include <math.h>
#include <pthread.h>

#include "common/mem.h"
#include "tests/unit/expect.h"

static void expect_exposition(const struct cm_metrics *m, const char *expected)
{
    char *text;
    size_t n;
    expect_ok(cm_metrics_text(m, &text, &n));
    assert_string_equal(text, expected);
    assert_int_equal(n, strlen(expected));
    cm_free(&text);
}

static void test_exposition(void **state)
{
    (void)state;
    const double bounds[] = {0.1, 0.5};
    struct cm_metrics *m;
    struct cm_metric *a, *b, *g, *h;
    expect_ok(cm_metrics_open(&m));
    expect_exposition(m, "");
    expect_ok(
        cm_metric_counter(&a, m, "fw_requests_total", "role=\"a\"", "Requests.\nAll \\ of them"));
    expect_ok(cm_metric_gauge(&g, m, "fw_queue", "", "Waiting."));
    expect_ok(cm_metric_histogram(&h, m, "fw_seconds", "role=\"a\"", "Time.", bounds, 2));
    expect_ok(cm_metric_counter(&b, m, "fw_requests_total", "role=\"b\"", "ignored"));
    cm_metric_add(a, 1);
    cm_metric_add(a, 2.5);
    cm_metric_add(b, 1e15);
    cm_metric_set(g, -3);
    cm_metric_add(g, 1);
    cm_metric_observe(h, 0.1); /* bounds are inclusive */
    cm_metric_observe(h, 0.25);
    cm_metric_observe(h, 7);
    expect_exposition(m, "# HELP fw_requests_total Requests.\\nAll \\\\ of them\n"
                         "# TYPE fw_requests_total counter\n"
                         "fw_requests_total{role=\"a\"} 3.5\n"
                         "fw_requests_total{role=\"b\"} 1e+15\n"
                         "# HELP fw_queue Waiting.\n"
                         "# TYPE fw_queue gauge\n"
                         "fw_queue -2\n"
                         "# HELP fw_seconds Time.\n"
                         "# TYPE fw_seconds histogram\n"
                         "fw_seconds_bucket{role=\"a\",le=\"0.1\"} 1\n"
                         "fw_seconds_bucket{role=\"a\",le=\"0.5\"} 2\n"
                         "fw_seconds_bucket{role=\"a\",le=\"+Inf\"} 3\n"
                         "fw_seconds_sum{role=\"a\"} 7.35\n"
                         "fw_seconds_count{role=\"a\"} 3\n");
    assert_true(cm_metric_value(a) == 3.5 && cm_metric_value(h) == 3);
    cm_metrics_close(&m);
    cm_metrics_close(&m);
}

static void test_values_that_are_not_finite(void **state)
{
    (void)state;
    struct cm_metrics *m;
    struct cm_metric *g, *h, *c;
    const double bounds[] = {1};
    expect_ok(cm_metrics_open(&m));
    expect_ok(cm_metric_gauge(&g, m, "g", "", "x"));
    cm_metric_set(g, (double)INFINITY);
    expect_exposition(m, "# HELP g x\n# TYPE g gauge\ng +Inf\n");
    cm_metric_set(g, (double)NAN);
    expect_exposition(m, "# HELP g x\n# TYPE g gauge\ng NaN\n");
    expect_ok(cm_metric_histogram(&h, m, "h", "", "x", bounds, 1));
    cm_metric_observe(h, (double)NAN); /* counted, in the last bucket */
    assert_true(cm_metric_value(h) == 1);
    expect_ok(cm_metric_counter(&c, m, "c", "", "x"));
    cm_metric_add(c, -1);
    cm_metric_add(c, (double)NAN);
    cm_metric_set(c, 5);
    assert_true(cm_metric_value(c) == 0); /* counters never go back */
    cm_metrics_close(&m);
}

static void test_null_and_other_kinds_are_ignored(void **state)
{
    (void)state;
    struct cm_metrics *m;
    struct cm_metric *g, *h;
    cm_metric_add(NULL, 1);
    cm_metric_set(NULL, 1);
    cm_metric_observe(NULL, 1);
    assert_true(cm_metric_value(NULL) == 0);
    expect_ok(cm_metrics_open(&m));
    expect_ok(cm_metric_gauge(&g, m, "g", "", "x"));
    expect_ok(cm_metric_histogram(&h, m, "h", "", "x", cm_latency_bounds_s, cm_latency_nbounds));
    cm_metric_observe(g, 1);
    cm_metric_add(h, 1);
    cm_metric_set(h, 1);
    assert_true(cm_metric_value(g) == 0 && cm_metric_value(h) == 0);
    cm_metrics_close(&m);
}

static void test_registration(void **state)
{
    (void)state;
    struct cm_metrics *m;
    struct cm_metric *a, *same, *bad;
    expect_ok(cm_metrics_open(&m));
    expect_ok(cm_metric_counter(&a, m, "a:b_9", "x=\"1\"", "help"));
    expect_ok(cm_metric_counter(&same, m, "a:b_9", "x=\"1\"", "help"));
    assert_ptr_equal(a, same);
    expect_fault(CM_EINVAL, "is a counter already", cm_metric_gauge(&bad, m, "a:b_9", "", "help"));
    assert_null(bad);
    const char *names[] = {"", "9a", "a-b", "a b", "a{", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_fault(CM_EINVAL, "is no metric name",
                     cm_metric_gauge(&bad, m, names[i], "", "help"));
    const double down[] = {1, 2, 2}, infinite[] = {1, (double)INFINITY};
    expect_fault(CM_EINVAL, "bound 2", cm_metric_histogram(&bad, m, "h", "", "help", down, 3));
    expect_fault(CM_EINVAL, "bound 1", cm_metric_histogram(&bad, m, "h", "", "help", infinite, 2));
    for (long k = 1; k <= 6; k++) {
        cm_mem_fail_at(k);
        expect_fault(
            CM_ENOMEM, "no memory",
            cm_metric_histogram(&bad, m, "h", "", "help", cm_latency_bounds_s, cm_latency_nbounds));
        assert_null(bad);
    }
    cm_mem_fail_at(0);
    assert_true(cm_latency_bounds_s[0] == 1e-4 &&
                cm_latency_bounds_s[cm_latency_nbounds - 1] == 10);
    cm_metrics_close(&m);
}

static void *count(void *metrics)
{
    struct cm_metric **metric = metrics;
    for (int i = 0; i < 10000; i++) {
        cm_metric_add(metric[0], 1);
        cm_metric_observe(metric[1], 0.5);
    }
    return NULL;
}

static void test_no_update_is_lost(void **state)
{
    (void)state;
    struct cm_metrics *m;
    struct cm_metric *metric[2];
    pthread_t thread[4];
    char *text;
    size_t n;
    expect_ok(cm_metrics_open(&m));
    expect_ok(cm_metric_counter(&metric[0], m, "c", "", "x"));
    expect_ok(
        cm_metric_histogram(&metric[1], m, "h", "", "x", cm_latency_bounds_s, cm_latency_nbounds));
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, count, metric), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_true(cm_metric_value(metric[0]) == 40000 && cm_metric_value(metric[1]) == 40000);
    expect_ok(cm_metrics_text(m, &text, &n));
    assert_non_null(strstr(text, "h_sum 20000\n"));
    cm_free(&text);
    cm_metrics_close(&m);
}

static void test_file(void **state)
{
    (void)state;
    char dir[CM_PATH], path[CM_PATH], *text;
    char **names;
    size_t n;
    struct cm_metrics *m;
    struct cm_metric *g;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "metrics.prom"));
    expect_ok(cm_metrics_open(&m));
    expect_ok(cm_metric_gauge(&g, m, "g", "", "x"));
    for (int i = 1; i <= 2; i++) {
        cm_metric_set(g, i);
        expect_ok(cm_metrics_write(m, path));
    }
    expect_ok(cm_file_read(&text, &n, path, 1000));
    assert_string_equal(text, "# HELP g x\n# TYPE g gauge\ng 2\n");
    cm_free(&text);
    expect_ok(cm_dir_list(&names, &n, dir));
    assert_int_equal(n, 1); /* no temporary file stays */
    cm_dir_list_free(&names, n);
    expect_ok(cm_path_join(path, dir, "absent/metrics.prom"));
    expect_fault(CM_ENOTFOUND, path, cm_metrics_write(m, path));
    cm_metrics_close(&m);
    expect_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exposition),
        cmocka_unit_test(test_values_that_are_not_finite),
        cmocka_unit_test(test_null_and_other_kinds_are_ignored),
        cmocka_unit_test(test_registration),
        cmocka_unit_test(test_no_update_is_lost),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
