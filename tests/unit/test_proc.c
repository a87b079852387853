/* Guardians, with sh as the command: how it ended, what it left behind, and what was made for it.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "common/mem.h"
#include "launcher/proc.h"

struct place {
    char dir[128], log[160], scratch[160];
};

static void make_place(struct place *p)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%s/fwp.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->log, sizeof p->log, "%s/log", p->dir);
    snprintf(p->scratch, sizeof p->scratch, "%s/scratch", p->dir);
}

static void remove_place(struct place *p)
{
    assert_int_equal(cm_dir_remove(p->dir), CM_OK);
}

static cm_status start(struct la_proc *proc, struct place *place, char *script)
{
    char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, script, NULL};
    char *env[] = {(char[]){"GREETING=hello"}, NULL};
    struct la_command command = {
        .argv = argv, .env = env, .log_path = place->log, .scratch = place->scratch, .keep_fd = -1};
    return la_proc_start(proc, &command);
}

static int wait_end(struct la_proc *proc)
{
    int status = 0;
    struct pollfd fd = {.fd = proc->lifeline, .events = POLLIN};
    do
        assert_int_equal(poll(&fd, 1, 20000), 1);
    while (!la_proc_ended(proc, &status, NULL, 0));
    return status;
}

/* Waits for a line in the log; there is no event for another process's write. */
static void read_line(char *line, size_t size, const char *path)
{
    line[0] = '\0';
    for (int i = 0; i < 2000 && !strchr(line, '\n'); i++) {
        FILE *f = fopen(path, "r");
        if (f) {
            if (!fgets(line, (int)size, f))
                line[0] = '\0';
            fclose(f);
        }
        usleep(5000);
    }
    assert_non_null(strchr(line, '\n'));
}

static void test_exit_status_log_env_and_scratch(void **state)
{
    (void)state;
    struct place place;
    struct la_proc proc;
    char script[256], line[256];
    make_place(&place);
    snprintf(script, sizeof script, "test -d %s && echo $GREETING; exit 7", place.scratch);
    assert_int_equal(start(&proc, &place, script), CM_OK);
    int status = wait_end(&proc);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(proc.guardian, 0);
    read_line(line, sizeof line, place.log);
    assert_string_equal(line, "hello\n");
    assert_false(cm_path_exists(place.scratch));
    remove_place(&place);
}

static void test_a_missing_program_is_named(void **state)
{
    (void)state;
    char *argv[] = {(char[]){"/nowhere/program"}, NULL};
    struct la_command command = {.argv = argv, .keep_fd = -1};
    struct la_proc proc;
    assert_int_equal(la_proc_start(&proc, &command), CM_ENOTFOUND);
    assert_non_null(strstr(cm_error_text(), "/nowhere/program"));
    assert_int_equal(proc.guardian, 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_a_scratch_that_exists_is_refused(void **state)
{
    (void)state;
    struct place place;
    struct la_proc proc;
    make_place(&place);
    assert_int_equal(cm_dir_make(place.scratch), CM_OK);
    assert_int_equal(start(&proc, &place, (char[]){"exit 0"}), CM_EEXIST);
    remove_place(&place);
}

static void test_signals_reach_the_command(void **state)
{
    (void)state;
    struct place place;
    struct la_proc proc;
    char line[64];
    make_place(&place);
    assert_int_equal(
        start(&proc, &place,
              (char[]){"trap 'exit 75' USR1; echo up; while :; do sleep 100 & wait $!; done"}),
        CM_OK);
    read_line(line, sizeof line, place.log);
    assert_true(la_process_ticks(proc.pid) == proc.ticks && proc.ticks > 0);
    la_proc_signal(&proc, SIGUSR1);
    int status = wait_end(&proc);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 75);
    remove_place(&place);
}

/* A grandchild that ignores TERM, in a session of its own; its pid is the log's first line. */
#define WITH_GRANDCHILD "setsid sh -c 'trap \"\" TERM HUP; echo $$; exec sleep 100' & "

static pid_t grandchild(const struct place *place)
{
    char line[64];
    read_line(line, sizeof line, place->log);
    pid_t pid = (pid_t)strtol(line, NULL, 10);
    assert_true(pid > 1);
    assert_int_equal(kill(pid, 0), 0);
    return pid;
}

static void test_what_a_command_leaves_behind_is_killed(void **state)
{
    (void)state;
    struct place place;
    struct la_proc proc;
    make_place(&place);
    char script[256];
    snprintf(script, sizeof script, WITH_GRANDCHILD "while [ ! -s %s ]; do :; done; exit 3",
             place.log);
    assert_int_equal(start(&proc, &place, script), CM_OK);
    int status = wait_end(&proc);
    assert_int_equal(WEXITSTATUS(status), 3);
    char line[64];
    read_line(line, sizeof line, place.log);
    assert_int_equal(kill((pid_t)strtol(line, NULL, 10), 0), -1);
    remove_place(&place);
}

static void test_kill_ends_all(void **state)
{
    (void)state;
    struct place place;
    struct la_proc proc;
    make_place(&place);
    assert_int_equal(start(&proc, &place, (char[]){WITH_GRANDCHILD "trap '' TERM; wait; wait"}),
                     CM_OK);
    pid_t pid = grandchild(&place);
    la_proc_kill(&proc);
    int status = wait_end(&proc);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(kill(pid, 0), -1);
    assert_false(cm_path_exists(place.scratch));
    remove_place(&place);
}

static void test_a_killed_guardian_takes_all_along(void **state)
{
    (void)state;
    struct place place;
    struct la_proc proc;
    make_place(&place);
    assert_int_equal(la_proc_init(), CM_OK);
    assert_int_equal(start(&proc, &place, (char[]){WITH_GRANDCHILD "wait"}), CM_OK);
    pid_t pid = grandchild(&place), command = proc.pid;
    kill(proc.guardian, SIGKILL);
    int status = wait_end(&proc);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(kill(command, 0), -1);
    assert_false(cm_path_exists(place.scratch));
    remove_place(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_status_log_env_and_scratch),
        cmocka_unit_test(test_a_missing_program_is_named),
        cmocka_unit_test(test_a_scratch_that_exists_is_refused),
        cmocka_unit_test(test_signals_reach_the_command),
        cmocka_unit_test(test_what_a_command_leaves_behind_is_killed),
        cmocka_unit_test(test_kill_ends_all),
        cmocka_unit_test(test_a_killed_guardian_takes_all_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
