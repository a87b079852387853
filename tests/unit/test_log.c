#include "common/log.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/unit/expect.h"

static char dir[CM_PATH];
static char path[CM_PATH];
static int saved_stderr;

/* stderr goes to a file until end(), which gives what was written. */
static void begin(void)
{
    expect_ok(cm_path_join(path, dir, "stderr"));
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0 && saved_stderr >= 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static char *end(void)
{
    char *text;
    size_t n;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    return text;
}

static void test_a_line_in_a_pipe(void **state)
{
    (void)state;
    begin();
    cm_log_init("train");
    cm_log_set_rank(3);
    cm_log_info("step %d", 7);
    cm_log_set_rank(-1);
    cm_log_warn("careful");
    char *text = end();
    assert_int_equal(text[4], '-');
    assert_int_equal(text[19], 'Z');
    assert_non_null(strstr(text, "Z info train[3]: step 7\n"));
    assert_non_null(strstr(text, "Z warn train: careful\n"));
    cm_free(&text);
}

static void test_levels(void **state)
{
    (void)state;
    setenv("FLYWHEEL_LOG", "warn", 1);
    begin();
    cm_log_init("x");
    cm_log_info("hidden");
    cm_log_warn("seen");
    char *text = end();
    assert_int_equal(cm_log_get_level(), CM_LOG_WARN);
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, "seen"));
    cm_free(&text);

    setenv("FLYWHEEL_LOG", "loud", 1);
    begin();
    cm_log_init("x");
    text = end();
    assert_non_null(strstr(text, "FLYWHEEL_LOG=loud"));
    cm_free(&text);
    unsetenv("FLYWHEEL_LOG");
    cm_log_set_level(CM_LOG_INFO);
}

static void test_text_from_outside_can_not_forge_lines(void **state)
{
    (void)state;
    begin();
    cm_log_info("key '%s'", "a\n2026 error: forged\r\x1b[2J\xc2\x9b[2J\x9b_\x7f \xc3\xa9");
    char *text = end();
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_null(strchr(text, '\r'));
    assert_null(strchr(text, '\x1b'));
    assert_null(strchr(text, '\x9b'));
    assert_null(strchr(text, '\x7f'));
    assert_non_null(strstr(text, "\xc3\xa9"));
    cm_free(&text);
}

static void test_a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    char longest[9000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    begin();
    cm_log_info("%s", longest);
    char *text = end();
    size_t n = strlen(text);
    assert_true(n > 1000 && n < 5000);
    assert_string_equal(text + n - 4, "...\n");
    cm_free(&text);
}

static void test_main_ends_with_one_report(void **state)
{
    (void)state;
    begin();
    assert_int_equal(cm_main_end(CM_FAIL(CM_ECONFIG, "bad batch")), 2);
    assert_int_equal(cm_main_end(CM_FAIL(CM_EPREEMPTED, "asked to stop")), 75);
    assert_int_equal(cm_main_end(CM_OK), 0);
    char *text = end();
    assert_non_null(strstr(text, "bad batch (CM_ECONFIG at test_log.c:"));
    assert_null(strstr(text, "asked to stop"));
    cm_free(&text);
}

static int occurrences(const char *text, const char *what)
{
    int n = 0;
    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

/* By main, by a library before it, or by another process. */
static void test_a_fault_is_reported_once(void **state)
{
    (void)state;
    begin();
    cm_status st = CM_FAIL(CM_EIO, "first");
    cm_error_report(CM_LOG_WARN, st, "before");
    cm_error_report(CM_LOG_ERROR, st, "then");
    assert_int_equal(cm_main_end(st), 1);
    st = CM_FAIL(CM_ECONFIG, "second");
    cm_error_share(false);
    assert_int_equal(cm_main_end(st), 2);
    char *text = end();
    assert_non_null(strstr(text, "before: first"));
    assert_non_null(strstr(text, "then: first"));
    assert_int_equal(occurrences(text, "first"), 2);
    assert_null(strstr(text, "second"));
    cm_free(&text);
}

static int setup(void **state)
{
    (void)state;
    expect_dir_make(dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    expect_dir_remove(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_in_a_pipe),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_text_from_outside_can_not_forge_lines),
        cmocka_unit_test(test_a_long_line_is_cut_and_says_so),
        cmocka_unit_test(test_main_ends_with_one_report),
        cmocka_unit_test(test_a_fault_is_reported_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
