/* What the gateway keeps of an answer, for whoever corrects it: a Redis hash at
 * fw:capture:<prediction id> that expires. Its fields:
 *
 *   format    "1.0"                 kind      "file" or "pixels"
 *   image     bytes                 shape     "HxWxC" of pixels ("0x0x0": the model's input)
 *   version   decimal               manifest  16 hexadecimal digits: of the version that answered
 *   time      seconds since 1970, UTC, with milliseconds
 *   classes   the body of the reply (classes.h)
 *   label     name of its most probable class, for people
 *
 * Pure; any thread. */
#ifndef WIRE_CAPTURE_H
#define WIRE_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#include "common/hash.h"
#include "common/status.h"
#include "wire/keys.h"
#include "wire/wire_image.h"

struct wi_capture {
    struct wi_image image; /* borrowed, as sent by the client */
    int64_t version;       /* >= 1 */
    uint64_t manifest_hash;
    double utc_s;
    const void *classes; /* borrowed; checked by wi_classes_open */
    size_t nclasses;     /* bytes */
};

#define WI_CAPTURE_FIELDS 9
struct wi_capture_fields { /* for HSET; borrows from the capture and from its own texts */
    struct wi_field field[WI_CAPTURE_FIELDS];
    size_t n;
    char shape[24], version[24], manifest[CM_XXH_TEXT], time[40];
};
CM_MUST_CHECK cm_status wi_capture_encode(struct wi_capture_fields *out,
                                          const struct wi_capture *c);

/* From the fields of HGETALL, in any order; unknown ones are ignored. CM_EFORMAT names the field;
 * CM_ENOTFOUND when there are no fields (it expired, or never was). Borrows the fields. */
CM_MUST_CHECK cm_status wi_capture_decode(struct wi_capture *out, const struct wi_field *field,
                                          size_t n);

#endif
