/* News of a store, published to whoever serves from it: one frame on a PUB socket that keeps only
 * the newest (so it may be lost; readers also look at the store from time to time). Pure; any
 * thread. Little-endian:
 *
 *    0  magic "FWAN"    4  major   5  minor   6  u16 bytes, hash included
 *    8  kind            9  zero, 3 bytes     12  u32 generation
 *   16  run UUID, 16 bytes                   32  u64 version   40  u64 manifest hash
 *   48  u64 version that the alias named before               56  alias, 64 bytes, padded with NUL
 *  120  u64 XXH3-64 of all before: the last 8 bytes, however long it is */
#ifndef WIRE_ANNOUNCE_H
#define WIRE_ANNOUNCE_H

#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"

#define WI_ANNOUNCE_TOPIC  "FWAN" /* what to subscribe to */
#define WI_ANNOUNCE_NBYTES 128
#define WI_ALIAS           64 /* with its NUL */

enum wi_announce_kind {
    WI_PUBLISHED = 1, /* version is in the store */
    WI_ALIASED = 2,   /* alias names version now */
};

struct wi_announce {
    enum wi_announce_kind kind;
    uint32_t generation; /* of the writer's lease */
    struct cm_uuid run;
    int64_t version; /* >= 1 */
    uint64_t manifest_hash;
    int64_t previous;     /* 0: none */
    char alias[WI_ALIAS]; /* "" unless WI_ALIASED */
};

void wi_announce_encode(uint8_t out[WI_ANNOUNCE_NBYTES], const struct wi_announce *a);
/* CM_EFORMAT, CM_ECORRUPT, or CM_EVERSION for a higher major and for an unknown kind. */
CM_MUST_CHECK cm_status wi_announce_decode(struct wi_announce *a, const void *data, size_t n);

#endif
