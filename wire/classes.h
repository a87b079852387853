/* The body of a good reply: classes, most probable first. The worker writes it, the gateway passes
 * it on untouched, and a capture keeps it. Pure; any thread. Little-endian:
 *
 *   0  u16 classes listed   2  u16 classes that the model has
 *   then each:  u16 index   u16 bytes of the name   f32 probability   name   NUL */
#ifndef WIRE_CLASSES_H
#define WIRE_CLASSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "wire/bytes.h"

#define WI_CLASSES_MAX    65535
#define WI_CLASS_NAME_MAX 255 /* bytes of UTF-8 */

/* Appends the top_k (0: all) of n classes; equal probabilities go by index. order is scratch for n
 * numbers. CM_ENUMERIC: a probability that is not in [0, 1] (nothing is appended). */
CM_MUST_CHECK cm_status wi_classes_encode(struct wi_buffer *body, const float *probability,
                                          const char *const *name, int n, int top_k,
                                          uint16_t *order);

struct wi_class {
    int index;
    const char *name; /* borrowed from the body; ends with NUL */
    float probability;
};

/* Reading: wi_classes_open checks all of it, and then next cannot fail. Borrows data. */
struct wi_classes {
    int n, total;
    const uint8_t *at; /* private */
    int left;          /* private */
};
CM_MUST_CHECK cm_status wi_classes_open(struct wi_classes *out, const void *data, size_t n);
bool wi_classes_next(struct wi_classes *c, struct wi_class *out); /* false after the last */

#endif
