/* Time. Durations and deadlines use the monotonic clock; files carry UTC seconds; clocks never
 * change arithmetic. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Nanoseconds of the monotonic clock. */
int64_t cm_now_ns(void);
/* Seconds since the epoch, UTC. */
double cm_utc_now(void);
#define CM_UTC_TEXT 24
/* "2026-11-22T04:10:03Z". */
void cm_utc_format(char text[CM_UTC_TEXT], double utc_s);

struct cm_deadline {
    int64_t at_ns; /* monotonic; INT64_MAX: never */
};
struct cm_deadline cm_deadline_in_ms(int64_t ms); /* negative: never */
bool cm_deadline_passed(struct cm_deadline d);
/* Milliseconds left, rounded up, 0 when passed, INT32_MAX at most: what poll() takes. */
int cm_deadline_left_ms(struct cm_deadline d);

/* A deadline for what this very process works on. Time in which it did not run does not count
 * (SIGSTOP, a job that its scheduler suspends, a frozen container): its work stood still too.
 * Whoever waits looks every CM_AWAKE_LOOK_MS at the latest; a look that comes after more than twice
 * that counts as one in time. */
struct cm_awake {
    struct cm_deadline end; /* moves on with what does not count */
    int64_t looked_ns;
};
#define CM_AWAKE_LOOK_MS 250
struct cm_awake cm_awake_until(struct cm_deadline d);
bool cm_awake_passed(struct cm_awake *a); /* a look */

void cm_sleep_us(int64_t us);

/* 128 random bits from the kernel; text form "8-4-4-4-12" (version 4). */
struct cm_uuid {
    uint8_t byte[16];
};
struct cm_uuid cm_uuid_make(void);
#define CM_UUID_TEXT 37
void cm_uuid_format(char text[CM_UUID_TEXT], struct cm_uuid id);

#endif
