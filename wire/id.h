/* The two names of an exchange. A request id is the client's and names the question; a prediction
 * id is the gateway's and names the answer: feedback refers to it. Both are 16 bytes, and 32
 * lower-case hexadecimal digits as text. Pure; any thread.
 *
 *   prediction id   | milliseconds since 1970, UTC | random   |
 *                   |  6 bytes, big-endian         | 10 bytes |   so texts sort by time */
#ifndef WIRE_ID_H
#define WIRE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"

struct wi_id {
    uint8_t byte[16];
};
#define WI_ID_TEXT 33 /* 32 digits, NUL */

/* utc_s: now; random: from cm_uuid_make, of which 80 bits that are not its version are taken. */
struct wi_id wi_prediction_id(double utc_s, struct cm_uuid random);
/* When it was made, to the millisecond. */
double wi_prediction_utc(struct wi_id id);

bool wi_id_equal(struct wi_id a, struct wi_id b);
bool wi_id_is_zero(struct wi_id id); /* zero: none */
void wi_id_format(char text[WI_ID_TEXT], struct wi_id id);
/* False unless text is exactly 32 hexadecimal digits; upper case is read too. */
bool wi_id_parse(struct wi_id *id, const char *text, size_t n);

#endif
