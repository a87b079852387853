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

struct la_restart la_restart_decide(const struct la_backoff *backoff, const struct la_life *life,
                                    int64_t restarts_left)
{
    int code = life->exit_code;
    if (life->once && (code == 0 || code == LA_EXIT_PREEMPTED))
        return (struct la_restart){.verdict = LA_DONE};
    bool is_final = la_exit_is_final(code), is_healthy = life->ms >= backoff->healthy_ms;
    if ((is_final && !life->has_worked) || restarts_left == 0)
        return (struct la_restart){.verdict = LA_FAILED};
    int row = is_healthy ? 1 : life->failures_in_a_row + 1;
    return (struct la_restart){.verdict = LA_AGAIN,
                               .delay_ms = delay_after(backoff, row),
                               .failures_in_a_row = row,
                               .has_worked = life->has_worked || (is_healthy && !is_final)};
}

bool la_exit_is_final(int exit_code)
{
    return exit_code == LA_EXIT_USAGE || exit_code == LA_EXIT_UNFIT || exit_code == LA_EXIT_ABSENT;
}

int la_exit_code(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}
