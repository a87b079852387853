#include "common/cond.h"

#define NS_PER_S INT64_C(1000000000)

/* None of these fails in glibc: the clock is one that a condition can have. */
void cm_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

bool cm_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, struct cm_deadline d)
{
    if (d.at_ns == INT64_MAX)
        return pthread_cond_wait(cond, lock) == 0;
    struct timespec at = {.tv_sec = d.at_ns / NS_PER_S, .tv_nsec = d.at_ns % NS_PER_S};
    return pthread_cond_timedwait(cond, lock, &at) == 0;
}

bool cm_cond_wait_awake(pthread_cond_t *cond, pthread_mutex_t *lock, struct cm_awake *a)
{
    if (a->end.at_ns == INT64_MAX)
        return cm_cond_wait(cond, lock, a->end);
    struct cm_deadline look = cm_deadline_in_ms(CM_AWAKE_LOOK_MS);
    (void)cm_cond_wait(cond, lock, look.at_ns < a->end.at_ns ? look : a->end);
    return !cm_awake_passed(a);
}
