/* Lines come out whole and in order; who puts them never waits, whatever their file does; what
 * found no room is told; and nothing that was put is lost when the process ends. */
#include "common/lines.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/events.h"
#include "common/log.h"
#include "common/mem.h"
#include "tests/unit/expect.h"

#define LONG_MS 60000

/* A file that hangs while its gate is shut. */
struct slow_file {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool shut;
    char *text; /* what was written */
    size_t n, lines;
    int64_t lost, told; /* told: how many times */
};

static void pass(struct slow_file *f)
{
    while (f->shut)
        pthread_cond_wait(&f->opened, &f->lock);
}

static void write_slowly(void *ctx, const char *line, size_t n)
{
    struct slow_file *f = ctx;
    pthread_mutex_lock(&f->lock);
    pass(f);
    expect_ok(cm_realloc(&f->text, f->n + n, 1, "text"));
    memcpy(f->text + f->n, line, n);
    f->n += n;
    f->lines++;
    pthread_mutex_unlock(&f->lock);
}

static void hear_of_loss(void *ctx, int64_t n)
{
    struct slow_file *f = ctx;
    pthread_mutex_lock(&f->lock);
    pass(f);
    f->lost += n;
    f->told++;
    pthread_mutex_unlock(&f->lock);
}

static void let_through(struct slow_file *f, bool open)
{
    pthread_mutex_lock(&f->lock);
    f->shut = !open;
    pthread_cond_broadcast(&f->opened);
    pthread_mutex_unlock(&f->lock);
}

static struct cm_lines *begin(struct slow_file *f, int *id)
{
    struct cm_lines *l;
    const struct cm_line_sink sink = {.write = write_slowly, .lost = hear_of_loss, .ctx = f};
    *f = (struct slow_file){.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};
    expect_ok(cm_lines_start(&l));
    expect_ok(cm_lines_add_sink(l, &sink, id));
    return l;
}

static void end(struct cm_lines *l, struct slow_file *f)
{
    assert_true(cm_lines_stop(l, LONG_MS));
    assert_true(cm_lines_stop(l, 0)); /* may be called again */
    cm_lines_close(&l);
    cm_lines_close(&l);
    cm_free(&f->text);
}

static void test_in_order(void **state)
{
    struct slow_file f;
    int id;
    struct cm_lines *l = begin(&f, &id);
    char line[64];
    size_t at = 0, total = 0;
    (void)state;
    for (int i = 0; total < 3 * (size_t)CM_LINES_NBYTES; i++) { /* both buffers, several times */
        int n = snprintf(line, sizeof line, "%d%*s\n", i, i % 40, "x");
        if (i % 256 == 0)
            cm_lines_await(l, LONG_MS); /* there is room for all */
        assert_true(cm_lines_put(l, id, line, (size_t)n));
        total += (size_t)n + 8;
    }
    assert_true(cm_lines_remove_sink(l, id, LONG_MS));
    for (size_t i = 0; i < f.lines; i++) {
        int n = snprintf(line, sizeof line, "%d%*s\n", (int)i, (int)(i % 40), "x");
        assert_true(at + (size_t)n <= f.n);
        assert_memory_equal(f.text + at, line, (size_t)n);
        at += (size_t)n;
    }
    assert_int_equal(at, f.n);
    assert_int_equal(f.told, 0);
    end(l, &f);
}

/* Puts go on at once and are counted; the file is told once it writes again. */
static void test_a_file_that_hangs(void **state)
{
    struct slow_file f;
    char line[1000], huge[CM_LINE_NBYTES + 1];
    int id, n = 2 * CM_LINES_NBYTES / (int)sizeof line;
    struct cm_lines *l = begin(&f, &id);
    (void)state;
    memset(line, 'a', sizeof line);
    memset(huge, 'b', sizeof huge);
    let_through(&f, false);
    for (int i = 0; i < n; i++)
        assert_true(cm_lines_put(l, id, line, sizeof line));
    assert_true(cm_lines_put(l, id, huge, sizeof huge));
    assert_false(cm_lines_remove_sink(l, id, 1));
    int64_t began_ns = cm_now_ns();
    cm_lines_await(l, 5); /* gives up */
    assert_true(cm_now_ns() - began_ns >= 5000000);
    let_through(&f, true);
    assert_true(cm_lines_remove_sink(l, id, LONG_MS));
    assert_int_equal(f.lines + (size_t)f.lost, n + 1);
    assert_int_equal(f.told, 1);
    assert_true(f.lines * sizeof line > CM_LINES_NBYTES / 2);
    end(l, &f);
}

/* It is told, though nothing else is to be written. */
static void test_too_long_a_line(void **state)
{
    struct slow_file f;
    char line[CM_LINE_NBYTES + 1];
    int id;
    struct cm_lines *l = begin(&f, &id);
    (void)state;
    memset(line, 'a', sizeof line);
    assert_true(cm_lines_put(l, id, line, sizeof line));
    assert_true(cm_lines_remove_sink(l, id, LONG_MS));
    assert_int_equal(f.lost, 1);
    assert_int_equal(f.lines, 0);
    end(l, &f);
}

static void test_the_end(void **state)
{
    struct slow_file f;
    int id;
    struct cm_lines *l = begin(&f, &id);
    (void)state;
    let_through(&f, false);
    assert_true(cm_lines_put(l, id, "a\n", 2));
    assert_false(cm_lines_stop(l, 1)); /* it hangs */
    assert_false(cm_lines_put(l, id, "b\n", 2));
    let_through(&f, true);
    assert_true(cm_lines_stop(l, LONG_MS));
    assert_int_equal(f.lines, 1);
    end(l, &f);
}

static void *put_many(void *ctx)
{
    void **arg = ctx;
    for (int i = 0; i < 1000; i++)
        cm_lines_put(arg[0], *(int *)arg[1], "0123456789\n", 11);
    return NULL;
}

static void test_threads(void **state)
{
    struct slow_file f;
    pthread_t thread[4];
    int id;
    struct cm_lines *l = begin(&f, &id);
    void *arg[] = {l, &id};
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, put_many, arg), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_true(cm_lines_remove_sink(l, id, LONG_MS));
    assert_int_equal((int64_t)f.lines + f.lost, 4000);
    for (size_t i = 0; i < f.lines; i++)
        assert_memory_equal(f.text + 11 * i, "0123456789\n", 11);
    end(l, &f);
}

static void test_sinks(void **state)
{
    struct slow_file f;
    const struct cm_line_sink sink = {.write = write_slowly, .lost = hear_of_loss, .ctx = &f};
    int id, other;
    struct cm_lines *l = begin(&f, &id);
    (void)state;
    for (int i = 1; i < CM_LINES_SINKS; i++)
        expect_ok(cm_lines_add_sink(l, &sink, &other));
    expect_fault(CM_EINTERNAL, "more than", cm_lines_add_sink(l, &sink, &other));
    assert_true(cm_lines_remove_sink(l, id, LONG_MS));
    expect_ok(cm_lines_add_sink(l, &sink, &other));
    assert_int_equal(other, id);
    end(l, &f);
}

static void test_no_memory(void **state)
{
    struct cm_lines *l;
    (void)state;
    for (long k = 1; k <= 3; k++) {
        cm_mem_fail_at(k);
        expect_fault(CM_ENOMEM, "no memory", cm_lines_start(&l));
        assert_null(l);
    }
    cm_mem_fail_at(0);
}

/* ---- the log and events, in a process that ends in some way ---- */

static void expect_in(const char *path, const char *want)
{
    char *text;
    size_t n;
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    if (!strstr(text, want))
        fail_msg("'%s' is not in: %s", want, text);
    cm_free(&text);
}

/* Logs, tells an event, and ends as it is told; ends: its exit code or the signal's number. */
static int life(const char *err, const char *events, int crash)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct cm_lines *l;
        struct cm_events *ev;
        struct cm_jw w;
        int fd = open(err, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666);
        bool good = fd >= 0 && dup2(fd, STDERR_FILENO) >= 0 && cm_log_detach(&l) == CM_OK &&
                    cm_events_open(&ev, events, 0) == CM_OK && cm_events_through(ev, l) == CM_OK;
        for (int i = 0; good && i < 200; i++) {
            cm_log_info("line %d", i);
            cm_events_begin(ev, &w, "tick");
            cm_jw_i64(&w, "i", i);
            cm_events_put(ev, &w);
        }
        if (good && crash)
            raise(crash);
        cm_events_close(&ev);
        _exit(cm_main_end(good ? CM_FAIL(CM_EIO, "the last word") : CM_EINTERNAL));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_log_and_events(void **state)
{
    char dir[CM_PATH], err[CM_PATH], events[CM_PATH];
    (void)state;
    expect_dir_make(dir);
    expect_ok(cm_path_join(err, dir, "err"));
    expect_ok(cm_path_join(events, dir, "events.jsonl"));
    assert_int_equal(life(err, events, 0), 1);
    expect_in(err, "line 0\n");
    expect_in(err, "line 199\n");
    expect_in(err, "the last word");
    expect_in(events, "\"i\":199}\n");
    /* A signal that a fault raises waits for the thread, and then does what it always does. */
    expect_ok(cm_dir_remove(events));
    assert_int_equal(life(err, events, SIGABRT), SIGABRT);
    expect_in(err, "line 199\n");
    expect_in(events, "\"i\":199}\n");
    expect_dir_remove(dir);
}

/* The log goes through a thread into a pipe that is full. */
static bool log_into_a_full(int fd, struct cm_lines **l)
{
    char text[4096];
    memset(text, 'x', sizeof text);
    alarm(LONG_MS / 1000);
    bool good = fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
    while (write(fd, text, sizeof text) > 0)
        ;
    return good && fcntl(fd, F_SETFL, 0) == 0 && dup2(fd, STDERR_FILENO) >= 0 &&
           cm_log_detach(l) == CM_OK;
}

static void live_unread(int fd)
{
    struct cm_lines *l;
    bool good = log_into_a_full(fd, &l);
    _exit(cm_main_end(good ? CM_FAIL(CM_EIO, "the last word") : CM_OK));
}

static void test_a_log_that_nobody_reads(void **state)
{
    int fd[2], status;
    (void)state;
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0)
        live_unread(fd[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    close(fd[0]);
    close(fd[1]);
}

/* ---- what found no room is told in the log and among the events ---- */

#define FLOOD 600 /* lines of 1 KB and as many events: more than both buffers hold */

/* ready: all is put, and the log may be read. */
static void live_flooded(int fd, int ready, const char *events)
{
    struct cm_lines *l;
    struct cm_events *ev;
    struct cm_jw w;
    bool good = log_into_a_full(fd, &l) && cm_events_open(&ev, events, 0) == CM_OK &&
                cm_events_through(ev, l) == CM_OK;
    for (int i = 0; good && i < FLOOD; i++) {
        cm_log_info("line %01000d", i);
        cm_events_begin(ev, &w, "tick");
        cm_events_put(ev, &w);
    }
    if (!good || write(ready, "", 1) != 1)
        _exit(99);
    cm_lines_await(l, LONG_MS);
    cm_events_close(&ev);
    _exit(cm_main_end(CM_OK));
}

static int64_t count(const char *text, const char *what)
{
    int64_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static int64_t number_after(const char *text, const char *before)
{
    const char *at = strstr(text, before);
    if (!at)
        fail_msg("'%s' is not there", before);
    return strtoll(at + strlen(before), NULL, 10);
}

static char *read_to_the_end(int fd, size_t size)
{
    char *text;
    size_t n = 0;
    expect_ok(cm_alloc(&text, size, 1, "text"));
    for (ssize_t got; (got = read(fd, text + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    return text;
}

static void test_what_is_lost_is_told(void **state)
{
    char dir[CM_PATH], events[CM_PATH], *text, byte;
    int log[2], ready[2], status;
    size_t n;
    (void)state;
    expect_dir_make(dir);
    expect_ok(cm_path_join(events, dir, "events.jsonl"));
    assert_int_equal(pipe(log), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0)
        live_flooded(log[1], ready[1], events);
    close(log[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    text = read_to_the_end(log[0], 1 << 20);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_non_null(strstr(text, " lines are missing here: "));
    int64_t lost = number_after(text, "warn flywheel: ");
    assert_true(lost > 0);
    assert_int_equal(count(text, "info flywheel: line ") + lost, FLOOD);
    cm_free(&text);
    expect_ok(cm_file_read(&text, &n, events, 1 << 20));
    assert_int_equal(count(text, "\"event\":\"events_lost\""), 1);
    lost = number_after(text, "\"events\":");
    assert_true(lost > 0);
    assert_int_equal(count(text, "\"event\":\"tick\"") + lost, FLOOD);
    cm_free(&text);
    close(log[0]);
    close(ready[0]);
    expect_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_a_file_that_hangs),
        cmocka_unit_test(test_too_long_a_line),
        cmocka_unit_test(test_the_end),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_sinks),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_log_and_events),
        cmocka_unit_test(test_a_log_that_nobody_reads),
        cmocka_unit_test(test_what_is_lost_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
