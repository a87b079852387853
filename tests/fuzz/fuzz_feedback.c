/* Entries and hashes from Redis: the input is cut into fields, each | u8 name | u16 bytes | value
 * |. */
#include <stdlib.h>
#include <string.h>

#include "wire/bytes.h"
#include "wire/capture.h"
#include "wire/feedback.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FIELDS 40

/* Names that the parsers know, so that the fuzzer spends its time on values. */
static const char *const names[] = {"label",    "image",  "prediction_id", "operator", "note",
                                    "id",       "format", "kind",          "shape",    "version",
                                    "manifest", "time",   "classes",       "other",    ""};
#define NNAMES (sizeof(names) / sizeof(names[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const classes[] = {"cat", "dog", "7"};
    struct wi_field field[FIELDS];
    struct wi_feedback feedback;
    struct wi_feedback_fields encoded;
    struct wi_capture capture;
    size_t nfields = 0;
    int class;

    while (n >= 3 && nfields < FIELDS) {
        size_t nvalue = wi_get16(data + 1);
        const char *name = names[data[0] % NNAMES];
        if (nvalue > n - 3)
            nvalue = n - 3;
        field[nfields++] = (struct wi_field){
            .name = name, .nname = strlen(name), .value = (const char *)data + 3, .nvalue = nvalue};
        data += 3 + nvalue;
        n -= 3 + nvalue;
    }
    if (wi_feedback_parse(&feedback, field, nfields) == CM_OK) {
        (void)!wi_feedback_class(&class, &feedback, classes, 3);
        if (wi_feedback_encode(&encoded, &feedback) != CM_OK)
            abort(); /* what was read can be written */
    }
    (void)!wi_capture_decode(&capture, field, nfields);
    return 0;
}
