/* Signals that ask for a stop: kept by the kernel, seen by every thread. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/stop.h"

static void *look(void *seen)
{
    *(bool *)seen = tr_stop_asked();
    return NULL;
}

/* In a child, since a blocked signal stays with its process. Exit 0: all went as it should. */
static int asked_by(int sig)
{
    bool seen_elsewhere = false;
    pthread_t thread;
    tr_stop_block();
    if (tr_stop_asked())
        return 1;
    kill(getpid(), sig);
    if (pthread_create(&thread, NULL, look, &seen_elsewhere) != 0)
        return 2;
    pthread_join(thread, NULL);
    if (!seen_elsewhere)
        return 3;
    return tr_stop_asked() && tr_stop_asked() ? 0 : 4; /* looking takes nothing away */
}

static void every_stop_signal_is_seen_by_every_thread(void **state)
{
    (void)state;
    static const int signals[] = {SIGUSR1, SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(asked_by(signals[i]));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void nothing_is_seen_where_nothing_is_blocked(void **state)
{
    (void)state;
    assert_false(tr_stop_asked());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stop_signal_is_seen_by_every_thread),
        cmocka_unit_test(nothing_is_seen_where_nothing_is_blocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
