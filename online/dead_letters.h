/* What could not be used, told to people: a stream of its own in Redis. One thread at a time. */
#ifndef ONLINE_DEAD_LETTERS_H
#define ONLINE_DEAD_LETTERS_H

#include <stdint.h>

#include "common/clock.h"
#include "common/redis.h"
#include "common/status.h"
#include "online/feedback_batch.h"

/* Adds the letters of b's dead entries from *next on, until the deadline; *next counts entries and
 * is b->nentries when all is done. most: letters that stay, about. After a crash some may be there
 * twice: readers go by 'source'. */
CM_MUST_CHECK
cm_status ol_letters_send(size_t *next, const struct ol_batch *b, struct cm_redis *redis,
                          int64_t most, struct cm_deadline deadline);

#endif
