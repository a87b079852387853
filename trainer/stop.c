#include "trainer/stop.h"

#include <signal.h>
#include <stddef.h>

static const int stop_signals[] = {SIGUSR1, SIGTERM, SIGINT};
#define NSIGNALS (sizeof stop_signals / sizeof *stop_signals)

void tr_stop_block(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < NSIGNALS; i++)
        sigaddset(&set, stop_signals[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool tr_stop_asked(void)
{
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    for (size_t i = 0; i < NSIGNALS; i++)
        if (sigismember(&pending, stop_signals[i]))
            return true;
    return false;
}
