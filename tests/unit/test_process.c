/* Real processes, one of them with a name that looks like the rest of its line. */
#include "common/process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/expect.h"

static void test_oneself(void **state)
{
    (void)state;
    struct cm_process a, b;
    assert_true(cm_process_look(&a, getpid()));
    assert_int_equal(a.parent, getppid());
    assert_int_equal(a.state, 'R');
    assert_true(a.start_ticks > 0);
    assert_true(cm_process_look(&b, getppid()));
    assert_true(b.start_ticks <= a.start_ticks);
}

static void test_an_odd_name(void **state)
{
    (void)state;
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_NAME, ") Z 1 2) X (");
        (void)!write(ready[1], "x", 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    struct cm_process p;
    assert_true(cm_process_look(&p, child));
    assert_int_equal(p.parent, getpid());
    assert_true(p.state == 'S' || p.state == 'R');
    kill(child, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_true(cm_process_look(&p, child));
    assert_int_equal(p.state, 'Z');
    waitpid(child, NULL, 0);
    assert_false(cm_process_look(&p, child));
    assert_int_equal(p.start_ticks, 0);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oneself),
        cmocka_unit_test(test_an_odd_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
