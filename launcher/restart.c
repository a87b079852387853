/* The restart policy of restart.h. */
#include "launcher/restart.h"

#include <sys/wait.h>

static int64_t delay_after(const struct la_backoff *backoff, int failures_in_a_row)
{
    int64_t ms = backoff->initial_ms;
    for (int i = 1; i < failures_in_a_row && ms < backoff->max_ms; i++)
        ms *= 2;
    return ms < backoff->max_ms ? ms : backoff->max_ms;
}

struct la_restart la_restart_decide(const struct la_backoff *backoff, bool once, int exit_code,
                                    int64_t lived_ms, int failures_in_a_row, int64_t restarts_left)
{
    if (once && (exit_code == 0 || exit_code == LA_EXIT_PREEMPTED))
        return (struct la_restart){.verdict = LA_DONE};
    if (la_exit_is_final(exit_code) || restarts_left == 0)
        return (struct la_restart){.verdict = LA_FAILED};
    int row = lived_ms >= backoff->healthy_ms ? 1 : failures_in_a_row + 1;
    return (struct la_restart){
        .verdict = LA_AGAIN, .delay_ms = delay_after(backoff, row), .failures_in_a_row = row};
}

bool la_exit_is_final(int exit_code)
{
    return exit_code == LA_EXIT_USAGE || exit_code == LA_EXIT_UNFIT || exit_code == LA_EXIT_ABSENT;
}

int la_exit_code(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}
