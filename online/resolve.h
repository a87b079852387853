/* From the fields of an entry to what can be trained on: the class that the label means, and the
 * pixels as the network takes them, from the entry itself or from what the gateway kept of the
 * answer. One thread at a time. */
#ifndef ONLINE_RESOLVE_H
#define ONLINE_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/redis.h"
#include "common/status.h"
#include "model/image.h"
#include "model/spec.h"
#include "online/dedup.h"
#include "online/feedback_batch.h"
#include "wire/keys.h"

struct ol_resolver {
    const struct nn_spec *spec; /* borrowed */
    const char **classes;       /* owned list of spec's names */
    struct nn_image_limits limits;
    struct cm_redis *captures;     /* borrowed: not the one whose reply the fields are */
    const struct ol_dedup *barred; /* borrowed: ol_image_hash of images that must not be trained on,
                                      which are the holdout's; NULL: none */
};

/* Of pixels as the network takes them: (H, W, C), n bytes. */
uint64_t ol_image_hash(const uint8_t *pixels, size_t n);

CM_MUST_CHECK
cm_status ol_resolver_init(struct ol_resolver *r, const struct nn_spec *spec,
                           const struct nn_image_limits *limits, struct cm_redis *captures,
                           const struct ol_dedup *barred);
void ol_resolver_release(struct ol_resolver *r); /* zeroed is fine */

/* *good: entry has served answer and hashes, *label its class, and pixels (the network's input) are
 * set. Otherwise the entry is at fault, and the recorded message (cm_error_text) is the reason. A
 * failure is Redis' or ours. name: the operator's. */
CM_MUST_CHECK
cm_status ol_resolve(struct ol_resolver *r, const char *name, const struct wi_field *field,
                     size_t nfields, bool *good, struct ol_entry *entry, int32_t *label,
                     uint8_t *pixels);

#endif
