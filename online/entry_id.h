/* The id of a stream entry, "milliseconds-sequence": Redis gives them out ascending. Pure. */
#ifndef ONLINE_ENTRY_ID_H
#define ONLINE_ENTRY_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ol_id {
    uint64_t ms, seq;
};
#define OL_ID_TEXT 44 /* two numbers of 20 digits, '-', NUL */

void ol_id_format(char text[OL_ID_TEXT], struct ol_id id);
/* False unless text is "123-4", or "123", which means "123-0". */
bool ol_id_parse(struct ol_id *id, const char *text, size_t n);
int ol_id_compare(struct ol_id a, struct ol_id b);
struct ol_id ol_id_next(struct ol_id id); /* the smallest one above it */

#endif
