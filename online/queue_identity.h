/* Whose Redis this is: new enough for us, holding the data that the states speak of, and this run
 * directory's alone. One thread at a time. */
#ifndef ONLINE_QUEUE_IDENTITY_H
#define ONLINE_QUEUE_IDENTITY_H

#include <stdbool.h>

#include "common/clock.h"
#include "common/redis.h"
#include "common/status.h"

#define OL_OWNER 512 /* longest name of a loop, with its NUL */

/* "UUID HOST:DIR": the UUID is kept in DIR, RUN/online, and made when missing or when DIR is a copy
 * of the folder that it was made for: two copies are two loops. The rest is for people. A copy made
 * below the file system (a snapshot of a disk), or on FUSE without times of birth, goes unnoticed.
 */
CM_MUST_CHECK
cm_status ol_queue_owner(char owner[OL_OWNER], const char *dir);
/* Two names of one loop, which may have moved. */
bool ol_queue_same_owner(const char *a, const char *b);

/* CM_EUNSUPPORTED: an older Redis than 7, which counts no entries. Warns where entries far larger
 * than feedback are accepted. */
CM_MUST_CHECK
cm_status ol_queue_check_server(struct cm_redis *redis);
/* The major version of what INFO says; 0: none is said. */
int ol_queue_version(const char *info);

/* Makes fw:owner this loop's; CM_EMISMATCH names the loop that it is of. Two loops on one Redis
 * would trim away each other's entries. */
CM_MUST_CHECK
cm_status ol_queue_claim(struct cm_redis *redis, const char *owner);
/* fw:epoch, made when missing: another UUID means other data. */
CM_MUST_CHECK
cm_status ol_queue_epoch(char epoch[CM_UUID_TEXT], struct cm_redis *redis);
/* Changes nothing. *same: owner and epoch are these. */
CM_MUST_CHECK
cm_status ol_queue_confirm(bool *same, struct cm_redis *redis, const char *owner,
                           const char *epoch);

#endif
