#include "allreduce/join.h"

#include "common/clock.h"

#define LOOK_US 200

/* pthread_clockjoin_np would do, but ThreadSanitizer does not know it. */
bool ar_join(pthread_t thread, int timeout_ms)
{
    struct cm_deadline end = cm_deadline_in_ms(timeout_ms);
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        if (cm_deadline_passed(end))
            return false;
        cm_sleep_us(LOOK_US);
    }
    return true;
}
