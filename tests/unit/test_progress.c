#include "common/progress.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "tests/unit/expect.h"

#define S INT64_C(1000000000)

static void expect_line(const struct cm_progress *p, int64_t now_ns, const char *note,
                        const char *expected)
{
    char text[512];
    cm_progress_line(text, sizeof text, p, now_ns, note);
    assert_string_equal(text, expected);
}

static void test_plain_lines(void **state)
{
    (void)state;
    struct cm_progress p = {.label = "epoch 3/10", .total = 200, .started_ns = 5 * S};
    expect_line(&p, 5 * S, NULL, "epoch 3/10   0%");
    p.done = 50;
    expect_line(&p, 15 * S, NULL, "epoch 3/10  25%  0:30 left");
    expect_line(&p, 15 * S, "812 images/s", "epoch 3/10  25%  0:30 left  812 images/s");
    expect_line(&p, 3605 * S, "", "epoch 3/10  25%  3:00:00 left");
    p.left_s = 1500; /* the caller knows better */
    expect_line(&p, 15 * S, NULL, "epoch 3/10  25%  25:00 left");
    p.left_s = 0;
    p.done = 199; /* never 100 before the end */
    expect_line(&p, 5 * S, NULL, "epoch 3/10  99%  0:00 left");
    p.done = 200;
    expect_line(&p, 70 * S, "loss 1.2", "epoch 3/10 100%  1:05  loss 1.2");
    p.done = 300;
    expect_line(&p, 70 * S, NULL, "epoch 3/10 100%  1:05");
    p.done = -5;
    expect_line(&p, 70 * S, NULL, "epoch 3/10   0%");
    p = (struct cm_progress){.label = "nothing", .total = 0};
    expect_line(&p, S, NULL, "nothing 100%  0:01");
}

static void test_the_bar(void **state)
{
    (void)state;
    struct cm_progress p = {.label = "e", .total = 48, .tty = 1};
    expect_line(&p, 0, NULL, "e                            0%");
    p.done = 3; /* one and a half of 24 columns */
    expect_line(&p, S, NULL, "e █▌                         6%  0:15 left");
    p.done = 48;
    expect_line(&p, S, NULL, "e ████████████████████████ 100%  0:01");
}

static void test_a_short_buffer_is_not_overrun(void **state)
{
    (void)state;
    struct cm_progress p = {.label = "a label", .total = 2, .done = 1, .tty = 1};
    char text[12] = "###########";
    cm_progress_line(text, 8, &p, S, "note");
    assert_int_equal(strlen(text), 7);
    assert_int_equal(text[8], '#');
}

/* Runs three updates and an end with stderr at fd. */
static void run_on(int fd, int enabled)
{
    struct cm_progress p;
    int saved = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    cm_progress_begin(&p, "epoch 1/1", 4, enabled);
    for (int i = 1; i <= 4; i++)
        cm_progress_update(&p, i, "note");
    cm_progress_end(&p, "last");
    cm_progress_end(&p, "again"); /* shows nothing */
    dup2(saved, STDERR_FILENO);
    close(saved);
}

static void test_in_a_pipe_one_line_a_unit(void **state)
{
    (void)state;
    char text[512];
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    run_on(fds[1], 0);
    run_on(fds[1], 1);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_memory_equal(text, "epoch 1/1 100%  ", 16);
    assert_string_equal(text + 20, "  last\n"); /* after a time of some seconds at most */
    close(fds[0]);
}

/* As a rank under mpirun, whose pipe ends at a terminal. */
static void test_in_a_pipe_to_a_terminal(void **state)
{
    (void)state;
    char text[4096];
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(setenv(CM_ENV_TERMINAL, "1", 1), 0);
    run_on(fds[1], 1);
    assert_int_equal(unsetenv(CM_ENV_TERMINAL), 0);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_memory_equal(text, "\r\033[Kepoch 1/1 ", 14);
    assert_string_equal(text + n - 7, "  last\n");
    close(fds[0]);
}

/* Ten seconds later (told by moving drawn_ns back) a plain line comes in between. */
static void test_in_a_pipe_a_line_now_and_then(void **state)
{
    (void)state;
    char text[512];
    int fds[2];
    struct cm_progress p;
    assert_int_equal(pipe(fds), 0);
    int saved = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    cm_progress_begin(&p, "e", 4, 1);
    cm_progress_update(&p, 1, "early");
    p.drawn_ns -= 10 * S;
    cm_progress_update(&p, 2, "late");
    cm_progress_update(&p, 3, "at once");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, "e  50%"));
    assert_non_null(strstr(text, "late\n"));
    assert_null(strstr(text, "early"));
    assert_null(strstr(text, "at once"));
    close(fds[0]);
}

static void test_on_a_terminal_one_line_redrawn(void **state)
{
    (void)state;
    char text[4096];
    int leader, follower; /* of a pseudo-terminal */
    struct winsize window = {.ws_row = 24, .ws_col = 30};
    leader = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(leader >= 0 && grantpt(leader) == 0 && unlockpt(leader) == 0);
    follower = open(ptsname(leader), O_RDWR | O_NOCTTY);
    assert_true(follower >= 0 && ioctl(follower, TIOCSWINSZ, &window) == 0);
    run_on(follower, 1);
    size_t length = 0; /* a terminal hands on what it has, in pieces */
    text[0] = '\0';
    while (!strchr(text, '\n')) {
        ssize_t n = read(leader, text + length, sizeof text - 1 - length);
        assert_true(n > 0);
        length += (size_t)n;
        text[length] = '\0';
    }
    assert_memory_equal(text, "\r\033[Kepoch 1/1 ", 14);
    char *newline = strchr(text, '\n');
    assert_non_null(newline);
    assert_null(strchr(newline + 1, '\n'));
    /* The last state is cut to 29 columns: 10 of label and space, 19 full blocks of three bytes. */
    const char *last = strrchr(text, '\033');
    assert_memory_equal(last, "\033[Kepoch 1/1 ", 13);
    assert_int_equal(newline - last, 3 + 10 + 19 * 3 + 1 /* the terminal's own return */);
    close(leader);
    close(follower);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_lines),
        cmocka_unit_test(test_the_bar),
        cmocka_unit_test(test_a_short_buffer_is_not_overrun),
        cmocka_unit_test(test_in_a_pipe_one_line_a_unit),
        cmocka_unit_test(test_in_a_pipe_to_a_terminal),
        cmocka_unit_test(test_in_a_pipe_a_line_now_and_then),
        cmocka_unit_test(test_on_a_terminal_one_line_redrawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
