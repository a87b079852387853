/* What became of every entry, per stream: the account that must close. An entry is read once and
 * then counted once, so read = trained + rejected + dead + duplicate at all times; Redis' own
 * entries-added minus read is the lag. One thread at a time. */
#ifndef ONLINE_LEDGER_H
#define ONLINE_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "common/json.h"
#include "common/status.h"
#include "online/entry_id.h"
#include "wire/keys.h"

struct ol_count {
    int64_t trained, rejected, dead, duplicate;
};
enum ol_fate { OL_TRAINED, OL_REJECTED, OL_DEAD, OL_DUPLICATE };

struct ol_stream {
    char name[WI_OPERATOR]; /* of the operator */
    struct ol_id offset;    /* of the last entry that is accounted for */
    int64_t read; /* entries since the stream's own beginning: less than the sum of the counts once
                     Redis has lost data and the stream was read again */
    struct ol_count count; /* since this run's first state */
};
#define OL_LEDGER_STREAMS 4096 /* that a loop reads: their account stays a small file */
struct ol_ledger {             /* zeroed is empty */
    struct ol_stream *stream;  /* owned; sorted by name */
    size_t n;
};
void ol_ledger_release(struct ol_ledger *l);

/* NULL: not there. Pointers live until the next add. */
struct ol_stream *ol_ledger_find(const struct ol_ledger *l, const char *name);
/* The one that is there, or a new one at 0-0. */
CM_MUST_CHECK
cm_status ol_ledger_add(struct ol_stream **out, struct ol_ledger *l, const char *name);

/* Accounts for the next entry of the stream. */
void ol_stream_account(struct ol_stream *s, struct ol_id id, enum ol_fate fate);
/* The stream begins again: what was read before is no part of it. */
void ol_stream_restart(struct ol_stream *s);
int64_t ol_count_sum(const struct ol_count *c);

/* As the member "streams" of the object being written, and from there. */
void ol_ledger_write(const struct ol_ledger *l, struct cm_jw *w);
CM_MUST_CHECK
cm_status ol_ledger_read(struct ol_ledger *l, const struct cm_json *object, const char *where);

#endif
