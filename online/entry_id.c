#include "online/entry_id.h"

#include <inttypes.h>
#include <stdio.h>

void ol_id_format(char text[OL_ID_TEXT], struct ol_id id)
{
    snprintf(text, OL_ID_TEXT, "%" PRIu64 "-%" PRIu64, id.ms, id.seq);
}

/* A decimal number at text[*at]; false without a digit and past 2^64 - 1. */
static bool read_number(uint64_t *out, const char *text, size_t n, size_t *at)
{
    size_t first = *at;
    *out = 0;
    for (; *at < n && text[*at] >= '0' && text[*at] <= '9'; ++*at) {
        uint64_t digit = (uint64_t)(text[*at] - '0');
        if (*out > (UINT64_MAX - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return *at > first;
}

bool ol_id_parse(struct ol_id *id, const char *text, size_t n)
{
    size_t at = 0;
    struct ol_id read = {0};
    if (!read_number(&read.ms, text, n, &at))
        return false;
    if (at < n && (text[at++] != '-' || !read_number(&read.seq, text, n, &at)))
        return false;
    if (at != n)
        return false;
    *id = read;
    return true;
}

int ol_id_compare(struct ol_id a, struct ol_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}

struct ol_id ol_id_next(struct ol_id id)
{
    if (++id.seq == 0 && ++id.ms == 0)
        return (struct ol_id){UINT64_MAX, UINT64_MAX};
    return id;
}
