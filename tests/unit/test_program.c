/* Children: output, exit codes, limits, stalls. */
#include <signal.h>

#include "common/clock.h"
#include "tests/unit/expect.h"
#include "trainer/program.h"

static cm_status run(struct tr_program *p, const char *script, size_t *n, int *code)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    p->argv = argv;
    return tr_program_run(p, n, code);
}

static void output_and_code(void **state)
{
    (void)state;
    static char big[300000];
    struct tr_program p = {.into = big, .capacity = sizeof big};
    size_t n;
    int code;

    expect_ok(run(&p, "printf abc; exit 7", &n, &code));
    assert_int_equal(code, 7);
    assert_int_equal(n, 3);
    assert_memory_equal(big, "abc", 3);
    expect_ok(run(&p, "head -c 300000 /dev/zero", &n, &code)); /* more than a pipe holds */
    assert_int_equal(n, 300000);
    expect_ok(run(&p, "kill -9 $$", &n, &code));
    assert_int_equal(code, 128 + SIGKILL);
    p.into = NULL;
    expect_ok(run(&p, "head -c 300000 /dev/zero", &n, &code));
    assert_int_equal(code, 0);
}

static void faults(void **state)
{
    (void)state;
    char small[10];
    struct tr_program p = {.into = small, .capacity = sizeof small};
    size_t n;
    int code;

    expect_fault(CM_EFORMAT, "more than the 10 bytes", run(&p, "printf 12345678901", &n, &code));
    /* An endless writer is ended, not waited for. */
    expect_fault(CM_EFORMAT, "more than the 10 bytes", run(&p, "exec yes", &n, &code));
    p.stall_ms = 300;
    int64_t begin = cm_now_ns();
    expect_fault(CM_ETIMEDOUT, "gave nothing", run(&p, "exec sleep 100", &n, &code));
    assert_true(cm_now_ns() - begin < 30 * INT64_C(1000000000));
    p.argv = (const char *const[]){"no-such-program-here", NULL};
    expect_fault(CM_ENOTFOUND, "no-such-program-here", tr_program_run(&p, &n, &code));
}

/* The trainer blocks them and looks (stop.h); curl and tar are to end when they are told to. */
static void a_child_blocks_no_signal(void **state)
{
    (void)state;
    char line[64] = "";
    struct tr_program p = {.into = line, .capacity = sizeof line - 1};
    size_t n;
    int code;
    sigset_t set, before;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, &before), 0);
    cm_status st = run(&p, "grep SigBlk /proc/self/status", &n, &code);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    expect_ok(st);
    assert_string_equal(line, "SigBlk:\t0000000000000000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_code),
        cmocka_unit_test(faults),
        cmocka_unit_test(a_child_blocks_no_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
