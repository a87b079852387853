/* Conditions whose waits end at a deadline of the monotonic clock. Signalled, and destroyed, as
 * any. */
#ifndef COMMON_COND_H
#define COMMON_COND_H

#include <pthread.h>
#include <stdbool.h>

#include "common/clock.h"

void cm_cond_init(pthread_cond_t *cond);
/* Like pthread_cond_wait, which may wake for nothing; false when the deadline passed first. */
bool cm_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, struct cm_deadline d);
/* The same, for as long as this process runs. */
bool cm_cond_wait_awake(pthread_cond_t *cond, pthread_mutex_t *lock, struct cm_awake *a);

#endif
