/* A feedback entry: what an operator adds to the own stream, by program or by hand:
 *
 *   XADD fw:feedback:ann * prediction_id 0193a4... label cat
 *   XADD fw:feedback:ann * label 3 image <bytes of a JPEG, PNG, or pixels as the model takes them>
 *
 *   field          value                                                         bytes
 *   label          a class by its name, else by its index                        1 .. 255
 *   image          \ exactly one                                                 1 .. 8 MiB
 *   prediction_id  / of the two; 32 hexadecimal digits                           32
 *   operator       who says so, when another than the stream's name says         1 .. 64
 *   note           free text for people                                          .. 1024
 *   id             the producer's: two entries of an operator with one id count once  1 .. 64
 *   format         "1.0", which it is when the field is absent
 *
 * Unknown fields are ignored, a field that comes twice is not. Pure; any thread. */
#ifndef WIRE_FEEDBACK_H
#define WIRE_FEEDBACK_H

#include <stddef.h>

#include "common/status.h"
#include "wire/id.h"
#include "wire/keys.h"
#include "wire/wire_image.h"

#define WI_FEEDBACK_LABEL_MAX 255
#define WI_FEEDBACK_IMAGE_MAX ((size_t)8 << 20)
#define WI_FEEDBACK_NOTE_MAX  1024
#define WI_FEEDBACK_ID_MAX    64
#define WI_FEEDBACK_FIELDS    7  /* known ones */
#define WI_FEEDBACK_ENTRY_MAX 32 /* fields of an entry, unknown ones included */

/* Texts are borrowed, not NUL-terminated, and {NULL, 0} when absent. */
struct wi_text {
    const char *s;
    size_t n;
};
struct wi_feedback {
    struct wi_text label;
    struct wi_image image;      /* kind WI_IMAGE_NONE: see prediction_id */
    struct wi_id prediction_id; /* zero: see image */
    struct wi_text operator_name, note, id;
};

/* CM_EFORMAT, or CM_EVERSION for a higher major, with a reason that names the field and can be
 * shown to the operator: it quotes nothing unprintable. Borrows the fields. */
CM_MUST_CHECK cm_status wi_feedback_parse(struct wi_feedback *out, const struct wi_field *field,
                                          size_t n);

/* The class that the label means: the one of that name; else, when it is a decimal number below n,
 * the one of that index. CM_EFORMAT says what was expected. */
CM_MUST_CHECK cm_status wi_feedback_class(int *out, const struct wi_feedback *f,
                                          const char *const *name, int n);

/* The fields for XADD. They borrow from f and from text. The result parses to f again; what cannot
 * is refused with the reason. */
struct wi_feedback_fields {
    struct wi_field field[WI_FEEDBACK_FIELDS];
    size_t n;
    char text[WI_ID_TEXT];
};
CM_MUST_CHECK cm_status wi_feedback_encode(struct wi_feedback_fields *out,
                                           const struct wi_feedback *f);

#endif
