#include "common/events.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "common/mem.h"
#include "tests/unit/expect.h"

static char dir[CM_PATH], path[CM_PATH];

static int setup(void **state)
{
    (void)state;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "events.jsonl"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    expect_dir_remove(dir);
    return 0;
}

static void put_epoch(struct cm_events *ev, int64_t epoch)
{
    struct cm_jw w;
    cm_events_begin(ev, &w, "epoch");
    cm_jw_i64(&w, "epoch", epoch);
    cm_events_put(ev, &w);
}

/* Parses every line, calls each with it, and returns how many there were. */
static int for_each_line(void (*each)(const struct cm_json *line))
{
    char *text;
    size_t n;
    int lines = 0;
    expect_ok(cm_file_read(&text, &n, path, 1 << 24));
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && rest; lines++) {
        struct cm_json *root;
        expect_ok(cm_json_parse(&root, line, strlen(line), "line"));
        each(root);
        cm_json_close(&root);
    }
    cm_free(&text);
    return lines;
}

static void expect_event(const struct cm_json *line)
{
    const char *event;
    int64_t rank, epoch;
    double t;
    expect_ok(cm_json_need_f64(line, "line", "t", &t));
    expect_ok(cm_json_need_string(line, "line", "event", &event));
    expect_ok(cm_json_need_i64(line, "line", "rank", 2, 2, &rank));
    expect_ok(cm_json_need_i64(line, "line", "epoch", 0, INT64_MAX, &epoch));
    assert_true(t > 1.7e9);
    assert_string_equal(event, "epoch");
    assert_string_equal(cm_json_key(cm_json_first(line)), "t");
}

static void test_one_line_an_event(void **state)
{
    (void)state;
    struct cm_events *ev;
    for (int i = 0; i < 2; i++) { /* opening again appends */
        expect_ok(cm_events_open(&ev, path, 2));
        put_epoch(ev, i);
        put_epoch(ev, i);
        cm_events_close(&ev);
        cm_events_close(&ev);
    }
    assert_int_equal(for_each_line(expect_event), 4);
    expect_ok(cm_dir_remove(path));
}

static void *put_many(void *ev)
{
    for (int i = 0; i < 500; i++)
        put_epoch(ev, i);
    return NULL;
}

static void test_threads_and_writers_do_not_mix(void **state)
{
    (void)state;
    struct cm_events *ev[2];
    pthread_t thread[4];
    expect_ok(cm_events_open(&ev[0], path, 2));
    expect_ok(cm_events_open(&ev[1], path, 2));
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, put_many, ev[i % 2]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    cm_events_close(&ev[0]);
    cm_events_close(&ev[1]);
    assert_int_equal(for_each_line(expect_event), 2000);
    expect_ok(cm_dir_remove(path));
}

static void test_a_torn_line_is_ended(void **state)
{
    (void)state;
    struct cm_events *ev;
    char *text;
    size_t n;
    expect_ok(cm_file_replace(path, "{\"t\":1,\"eve", 11));
    expect_ok(cm_events_open(&ev, path, 2));
    put_epoch(ev, 1);
    cm_events_close(&ev);
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    assert_memory_equal(text, "{\"t\":1,\"eve\n{\"t\":", 17);
    cm_free(&text);
    expect_ok(cm_dir_remove(path));
}

static void test_null_does_nothing(void **state)
{
    (void)state;
    put_epoch(NULL, 1);
}

static void test_faults(void **state)
{
    (void)state;
    struct cm_events *ev;
    expect_fault(CM_EIO, dir, cm_events_open(&ev, dir, 0));
    assert_null(ev);
    for (long k = 1; k <= 2; k++) {
        cm_mem_fail_at(k);
        expect_fault(CM_ENOMEM, "no memory", cm_events_open(&ev, path, 0));
        assert_null(ev);
    }
    cm_mem_fail_at(0);

    /* A write that fails (here: past the largest file allowed) stops nothing. */
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    expect_ok(cm_events_open(&ev, path, 2));
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    put_epoch(ev, 1);
    none.rlim_cur = 5; /* then one that is cut: what follows it has lines of its own */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    put_epoch(ev, 2);
    put_epoch(ev, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    put_epoch(ev, 3);
    put_epoch(ev, 4);
    cm_events_close(&ev);
    char *text;
    size_t n;
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    assert_memory_equal(text, "{\"t\":\n{\"t\":", 11);
    expect_ok(cm_file_replace(path, text + 6, n - 6));
    cm_free(&text);
    assert_int_equal(for_each_line(expect_event), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_line_an_event),
        cmocka_unit_test(test_threads_and_writers_do_not_mix),
        cmocka_unit_test(test_a_torn_line_is_ended),
        cmocka_unit_test(test_null_does_nothing),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
