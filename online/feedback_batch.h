/* A batch of feedback, resolved: every entry that was read, in order, with its fate, and the pixels
 * and labels of those to train on. On shared storage it is
 *
 *   online/log/b000045.safetensors      meta "batch": JSON, with a hash of all that follows
 *     pixels U8 (F, H, W, C)            as the network takes them
 *     label  I32 (F)
 *     id     U64 (E, 2)                 of the entry: milliseconds, sequence
 *     source I32 (E, 3)                 operator, fate, row of pixels or -1
 *     served I64 (E, 2)                 version that answered (0: unknown) and the class it said
 *     keys   U64 (E, 2)                 for the dedup window: of pixels and label, of operator and
 *                                       producer's id (0: none)
 *
 * and training is a function of that file, the champion that it names, and the config. One thread
 * at a time. */
#ifndef ONLINE_FEEDBACK_BATCH_H
#define ONLINE_FEEDBACK_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/status.h"
#include "model/spec.h"
#include "online/entry_id.h"
#include "online/ledger.h"

#define OL_REASON 256 /* longest reason of a dead letter, with its NUL */

struct ol_entry {
    struct ol_id id;
    int32_t operator_index;
    int32_t fate;           /* OL_TRAINED (if the gate agrees), OL_DEAD or OL_DUPLICATE */
    int32_t row;            /* of pixels; -1: none */
    int64_t served_version; /* 0: unknown */
    int64_t served_class;   /* -1: unknown */
    uint64_t content, producer;
    char *reason; /* owned; dead letters only */
};
/* By which the same delivery is recognised when it comes again: the producer's id, else the place
 * in the stream and what was there. Beside it, content names what was said, whoever said it. */
uint64_t ol_entry_delivery(const char *operator_name, const struct ol_entry *e);
#define OL_ENTRY_KEYS 2 /* hashes that an entry leaves in the dedup window */

struct ol_batch {             /* zeroed is empty */
    int64_t number;           /* from 1, without gaps */
    int64_t champion;         /* the version that training starts from */
    char epoch[CM_UUID_TEXT]; /* Redis' when the batch was read */
    struct nn_shape shape;    /* of an image */
    uint64_t classes;         /* hash of the class names that labels are numbers of; 0: unknown */
    char (*operators)[WI_OPERATOR];
    struct ol_id *after; /* of each operator: everything above was still to be read */
    size_t noperators;
    struct ol_entry *entries;
    size_t nentries;
    uint8_t *pixels; /* (nimages, H, W, C) */
    int32_t *labels; /* (nimages) */
    size_t nimages;
    uint64_t hash; /* of all of it: set by save and parse */
};
void ol_batch_release(struct ol_batch *b);

/* The number of an operator in this batch, added when new: after is then its offset. */
CM_MUST_CHECK
cm_status ol_batch_operator(int32_t *out, struct ol_batch *b, const char *name, struct ol_id after);
/* Copies entry, its reason, and, for OL_TRAINED, pixels (of b->shape) and label. */
CM_MUST_CHECK
cm_status ol_batch_add(struct ol_batch *b, const struct ol_entry *entry, const uint8_t *pixels,
                       int32_t label);

/* "DIR/b000045.safetensors". */
CM_MUST_CHECK
cm_status ol_batch_path(char path[CM_PATH], const char *dir, int64_t number);
/* Durable; replaces an older one. */
CM_MUST_CHECK
cm_status ol_batch_save(struct ol_batch *b, const char *path);
/* From the bytes of such a file. CM_ECORRUPT: not what was written; CM_EFORMAT, CM_EVERSION. */
CM_MUST_CHECK
cm_status ol_batch_parse(struct ol_batch *out, const void *bytes, size_t nbytes, const char *what);

#endif
