#include "common/file.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/unit/expect.h"

static void test_silent_unless_asked(void **state)
{
    (void)state;
    unsetenv("FLYWHEEL_INJECT");
    expect_ok(cm_fault("store.rename"));
    setenv("FLYWHEEL_INJECT", "", 1);
    expect_ok(cm_fault("store.rename"));
    setenv("FLYWHEEL_INJECT", "store.rename=eio", 1);
    expect_ok(cm_fault("store.rename2"));
    expect_ok(cm_fault("store"));
}

static void test_the_nth_passage(void **state)
{
    (void)state;
    setenv("FLYWHEEL_INJECT", "a=enospc@3,b=eio,a=eio@5", 1);
    expect_ok(cm_fault("a"));
    expect_fault(CM_EIO, "injected at b", cm_fault("b"));
    expect_ok(cm_fault("b"));
    expect_ok(cm_fault("a"));
    expect_fault(CM_ENOSPC, "injected at a", cm_fault("a"));
    expect_ok(cm_fault("a"));
    expect_fault(CM_EIO, "injected at a", cm_fault("a"));
    expect_ok(cm_fault("a"));
}

static void test_a_bad_spec_is_told_every_time(void **state)
{
    (void)state;
    const char *list[] = {"a",        "a=",         "=kill",      "a=eio@",     "a=eio@0",
                          "a=eio@-1", "a=eio@2x",   "a=die",      "a=EIO",      "a=eiox",
                          ",a=eio",   "a=eio,",     "a=kill@1@2", "a=eio:5",    "a=delay",
                          "a=delay:", "a=delay:0",  "a=delay:-1", "a=delay:5x", "a=eio@*1",
                          "a=eio@**", "a=delay:5@", "a=hold:5"};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        setenv("FLYWHEEL_INJECT", list[i], 1);
        expect_fault(CM_EUSAGE, "FLYWHEEL_INJECT", cm_fault("elsewhere"));
        expect_fault(CM_EUSAGE, "FLYWHEEL_INJECT", cm_fault("elsewhere"));
    }
    char longest[2000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    setenv("FLYWHEEL_INJECT", longest, 1);
    expect_fault(CM_EUSAGE, "longer", cm_fault("a"));
}

static void test_delays_and_every_passage(void **state)
{
    (void)state;
    setenv("FLYWHEEL_INJECT", "a=delay:30@2,b=eio@*", 1);
    int64_t began = cm_now_ns();
    expect_ok(cm_fault("a"));
    expect_ok(cm_fault("a"));
    assert_true(cm_now_ns() - began >= 30000000);
    for (int i = 0; i < 3; i++)
        expect_fault(CM_EIO, "injected at b", cm_fault("b"));
}

static void *pass_a(void *passed)
{
    for (int i = 0; i < 2; i++) {
        expect_ok(cm_fault("a"));
        atomic_store((atomic_int *)passed, i + 1);
    }
    return NULL;
}

static void test_hold(void **state)
{
    (void)state;
    char dir[CM_PATH], path[CM_PATH];
    atomic_int passed = 0;
    pthread_t thread;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "hold"));
    expect_ok(cm_file_replace(path, "", 0));
    setenv("FLYWHEEL_HOLD", path, 1);
    setenv("FLYWHEEL_INJECT", "a=hold@2", 1);
    assert_int_equal(pthread_create(&thread, NULL, pass_a, &passed), 0);
    while (atomic_load(&passed) < 1)
        cm_sleep_us(1000);
    cm_sleep_us(10000); /* there is no event to await where nothing is to happen */
    assert_int_equal(atomic_load(&passed), 1);
    expect_ok(cm_dir_remove(path));
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&passed), 2);
    setenv("FLYWHEEL_INJECT", "a=hold@*", 1);
    expect_ok(cm_fault("a")); /* no file */
    unsetenv("FLYWHEEL_HOLD");
    setenv("FLYWHEEL_INJECT", "a=hold", 1);
    expect_fault(CM_EUSAGE, "FLYWHEEL_HOLD", cm_fault("a"));
    expect_dir_remove(dir);
}

static int status_of_child(const char *spec, int options)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("FLYWHEEL_INJECT", spec, 1);
        cm_status st = cm_fault("a");
        _exit(st == CM_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, options), child);
    if (WIFSTOPPED(status)) {
        int after;
        kill(child, SIGCONT);
        assert_int_equal(waitpid(child, &after, 0), child);
        assert_true(WIFEXITED(after) && WEXITSTATUS(after) == 0);
    }
    return status;
}

static void test_kill_and_stop(void **state)
{
    (void)state;
    int status = status_of_child("a=kill", 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = status_of_child("a=stop", WUNTRACED);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    status = status_of_child("a=kill@2", 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silent_unless_asked),
        cmocka_unit_test(test_the_nth_passage),
        cmocka_unit_test(test_a_bad_spec_is_told_every_time),
        cmocka_unit_test(test_delays_and_every_passage),
        cmocka_unit_test(test_kill_and_stop),
        cmocka_unit_test(test_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
