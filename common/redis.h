/* Redis: the only file with hiredis.h behind it is redis.c. A connection is made on first use and
 * made anew after any fault (hiredis keeps no state worth saving); callers see CM_ECONNECT (cannot
 * connect), CM_ETIMEDOUT, CM_ECLOSED (went away in the middle: the command may or may not have run)
 * and may just call again. A connection that the server closed while it was idle is replaced
 * unseen. An error reply (also one inside the array of EXEC) is CM_EINVAL with Redis' own text,
 * -OOM and -MISCONF CM_ENOSPC, -LOADING, -READONLY, -BUSY and too many clients CM_EBUSY, -NOPERM,
 * -NOAUTH and -WRONGPASS CM_EUNSUPPORTED. One thread at a time. SIGPIPE must be ignored by the
 * process (cm_redis_open does it). */
#ifndef COMMON_REDIS_H
#define COMMON_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct cm_redis;

struct cm_redis_config {
    const char *address;  /* "host:port", "[v6 address]:port" or "unix:/path" */
    const char *user;     /* NULL or "": no AUTH */
    const char *password; /* NULL or "": none */
    int timeout_ms;   /* > 0: to connect, and without a byte of a reply beyond what a command itself
                         waits */
    const char *name; /* CLIENT SETNAME */
};

/* CM_EINVAL: an address of none of these forms. */
CM_MUST_CHECK cm_status cm_redis_check_address(const char *address);
/* Does not connect yet. Copies cfg. */
CM_MUST_CHECK cm_status cm_redis_open(struct cm_redis **out, const struct cm_redis_config *cfg);
void cm_redis_close(struct cm_redis **r);

enum cm_redis_type { CM_REDIS_NIL, CM_REDIS_INT, CM_REDIS_STRING, CM_REDIS_ARRAY };
struct cm_redis_value { /* read-only; lives until the next command on the connection */
    enum cm_redis_type type;
    int64_t integer;
    const char *string; /* n bytes, then NUL */
    size_t n;           /* bytes of the string, elements of the array */
    const struct cm_redis_value *element;
};

/* One command of argc arguments with lengths; *reply stays valid until the next command. extra_ms:
 * how long the command itself may wait (BLOCK). */
CM_MUST_CHECK cm_status cm_redis_command(struct cm_redis *r, const struct cm_redis_value **reply,
                                         int argc, const char *const *argv, const size_t *argn,
                                         int extra_ms);
/* n commands in one round trip, each of whose replies is looked at for an error only. *done: how
 * many were carried out for sure; after a failure the rest may or may not have been. For replies of
 * a few bytes: nothing is read before all is sent. */
struct cm_redis_args {
    int argc;
    const char *const *argv;
    const size_t *argn;
};
CM_MUST_CHECK cm_status cm_redis_pipeline(struct cm_redis *r, const struct cm_redis_args *commands,
                                          size_t n, size_t *done);
/* The same for arguments without NUL bytes: a NULL-terminated list of strings. */
CM_MUST_CHECK cm_status cm_redis_call(struct cm_redis *r, const struct cm_redis_value **reply, ...)
    __attribute__((sentinel));

#endif
