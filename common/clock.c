#include "common/clock.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_US INT64_C(1000)

int64_t cm_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

double cm_utc_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cm_utc_format(char text[CM_UTC_TEXT], double utc_s)
{
    /* Years 0 to 9999; the comparison is false for NaN too. */
    bool printable = utc_s >= -62167219200.0 && utc_s < 253402300800.0;
    time_t seconds = printable ? (time_t)floor(utc_s) : 0;
    struct tm tm;
    if (!printable || !gmtime_r(&seconds, &tm) ||
        strftime(text, CM_UTC_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(text, CM_UTC_TEXT, "no time");
}

struct cm_deadline cm_deadline_in_ms(int64_t ms)
{
    struct cm_deadline d = {.at_ns = INT64_MAX};
    int64_t now_ns = cm_now_ns();
    if (ms >= 0 && ms < (INT64_MAX - now_ns) / NS_PER_MS)
        d.at_ns = now_ns + ms * NS_PER_MS;
    return d;
}

bool cm_deadline_passed(struct cm_deadline d)
{
    return d.at_ns != INT64_MAX && cm_now_ns() >= d.at_ns;
}

int cm_deadline_left_ms(struct cm_deadline d)
{
    if (d.at_ns == INT64_MAX)
        return INT32_MAX;
    int64_t left_ns = d.at_ns - cm_now_ns();
    if (left_ns <= 0)
        return 0;
    int64_t left_ms = left_ns / NS_PER_MS + (left_ns % NS_PER_MS != 0);
    return left_ms > INT32_MAX ? INT32_MAX : (int)left_ms;
}

struct cm_awake cm_awake_until(struct cm_deadline d)
{
    return (struct cm_awake){.end = d, .looked_ns = cm_now_ns()};
}

bool cm_awake_passed(struct cm_awake *a)
{
    const int64_t look_ns = CM_AWAKE_LOOK_MS * NS_PER_MS;
    int64_t now_ns = cm_now_ns(), since_ns = now_ns - a->looked_ns;
    a->looked_ns = now_ns;
    if (since_ns > 2 * look_ns && a->end.at_ns < INT64_MAX - since_ns)
        a->end.at_ns += since_ns - look_ns;
    return a->end.at_ns <= now_ns;
}

void cm_sleep_us(int64_t us)
{
    if (us <= 0)
        return;
    int64_t at_ns = cm_now_ns() + us * NS_PER_US;
    struct timespec until = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

struct cm_uuid cm_uuid_make(void)
{
    struct cm_uuid id;
    if (getentropy(id.byte, sizeof id.byte) != 0) {
        /* Only on kernels older than any that runs this (before 3.17); unique on one host still. */
        int64_t parts[2] = {cm_now_ns(), (int64_t)getpid() << 32 ^ (int64_t)time(NULL)};
        memcpy(id.byte, parts, sizeof id.byte);
    }
    id.byte[6] = (uint8_t)((id.byte[6] & 0x0f) | 0x40); /* version 4: random */
    id.byte[8] = (uint8_t)((id.byte[8] & 0x3f) | 0x80); /* RFC 4122's variant */
    return id;
}

void cm_uuid_format(char text[CM_UUID_TEXT], struct cm_uuid id)
{
    static const char hex[] = "0123456789abcdef";
    char *t = text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *t++ = '-';
        *t++ = hex[id.byte[i] >> 4];
        *t++ = hex[id.byte[i] & 15];
    }
    *t = '\0';
}
