/* Every Redis key of Flywheel, and the fields that lie under them. Pure; any thread. */
#ifndef WIRE_KEYS_H
#define WIRE_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "wire/id.h"

#define WI_KEY_DLQ           "fw:dlq"        /* stream; online writes */
#define WI_KEY_EPOCH         "fw:epoch"      /* string: a UUID; a new one means other data */
#define WI_KEY_OWNER         "fw:owner"      /* string: the one loop that reads this Redis */
#define WI_KEY_FEEDBACK_GLOB "fw:feedback:*" /* for SCAN */
#define WI_OPERATOR          65              /* longest name of an operator, with its NUL */
#define WI_KEY               80              /* longest key, with its NUL */

/* "fw:feedback:<operator>", a stream that the operator writes and online trims. False: no name. */
bool wi_key_feedback(char key[WI_KEY], const char *operator_name);
/* The operator of such a key: false when it is none. */
bool wi_key_operator(char operator_name[WI_OPERATOR], const char *key, size_t n);
/* "fw:capture:<prediction id>", a hash that the gateway writes and that expires. */
void wi_key_capture(char key[WI_KEY], struct wi_id prediction_id);

/* A field of a stream entry or a hash; bytes, borrowed. */
struct wi_field {
    const char *name, *value;
    size_t nname, nvalue;
};

#endif
