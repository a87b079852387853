/* What Redis says about the operators' streams. */
#ifndef ONLINE_STREAM_FACTS_H
#define ONLINE_STREAM_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/redis.h"
#include "common/status.h"
#include "online/entry_id.h"
#include "online/ledger.h"
#include "wire/keys.h"

struct ol_facts {
    bool there;
    int64_t length;    /* entries in it now */
    int64_t added;     /* entries ever */
    struct ol_id last; /* the highest id ever given out */
};
/* Redis' answer to a question about a stream: there is none, or the key holds something else, which
 * its operator may have put there. */
bool ol_facts_is_none(cm_status st);
CM_MUST_CHECK
cm_status ol_facts_get(struct ol_facts *f, struct cm_redis *redis, const char *key);

/* The consumer group that trimming leaves on each stream (stream_trim.h), to show the lag. */
#define OL_GROUP "online"
/* Does it stand where s was accounted for? Then the stream goes on: Redis loses a group before the
 * entries that it was set behind. Cheap, whereas XINFO STREAM, and so ol_facts_get, carries the
 * first and the last entry, up to 8 MiB each. */
CM_MUST_CHECK
cm_status ol_facts_group_stands(bool *stands, struct cm_redis *redis, const char *key,
                                const struct ol_stream *s);

/* The stream still holds all that it held when s was accounted for: it did not go back in time. */
bool ol_facts_goes_on(const struct ol_facts *f, const struct ol_stream *s);
/* Entries that nobody accounted for and that are gone: trimmed or deleted by another before they
 * were read. At least so many: what was read again after Redis lost data hides as many. */
int64_t ol_facts_lost(const struct ol_facts *f, const struct ol_stream *s);

/* Calls found for every operator that has a stream, in no order, perhaps twice. found must not use
 * the connection. A page of them at a time: from cursor, "0" at first and again after the last. */
#define OL_CURSOR 32
typedef cm_status ol_facts_found(void *ctx, const char *operator_name);
CM_MUST_CHECK
cm_status ol_facts_page(char cursor[OL_CURSOR], struct cm_redis *redis, ol_facts_found *found,
                        void *ctx);
CM_MUST_CHECK
cm_status ol_facts_operators(struct cm_redis *redis, ol_facts_found *found, void *ctx);

#endif
