/* What Redis says about the operators' streams. */
#ifndef ONLINE_STREAM_FACTS_H
#define ONLINE_STREAM_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/redis.h"
#include "common/status.h"
#include "online/entry_id.h"
#include "wire/keys.h"

struct ol_facts {
    bool there;
    int64_t length;    /* entries in it now */
    int64_t added;     /* entries ever */
    struct ol_id last; /* the highest id ever given out */
};
CM_MUST_CHECK
cm_status ol_facts_get(struct ol_facts *f, struct cm_redis *redis, const char *key);

/* Calls found for every operator that has a stream, in no order, perhaps twice. found must not use
 * the connection. */
CM_MUST_CHECK
cm_status ol_facts_operators(struct cm_redis *redis,
                             cm_status (*found)(void *ctx, const char *operator_name), void *ctx);

#endif
