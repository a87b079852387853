/* The gateway's requests: which wait, which are with a worker, which were answered. Arithmetic on
 * numbered slots without I/O or clock; what a request carries lies with the caller, by slot.
 *
 *   FREE --admit--> QUEUED --take--> SENT --end--> DONE --the oldest, when slots run out--> FREE
 *                     ^                |
 *                     +--- give_back --+   (its worker died, or another one is to do it)
 *
 * Batches leave in the order of arrival. DONE remembers answers, so that a request that comes again
 * gets its answer again and is not computed twice. One thread at a time. */
#ifndef SERVE_BATCHER_H
#define SERVE_BATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/slot_lists.h"
#include "common/status.h"
#include "wire/id.h"

#define SV_NONE CM_NO_SLOT

enum sv_place { SV_FREE, SV_QUEUED, SV_SENT, SV_DONE, SV_PLACES };

struct sv_batcher_config {
    int max_requests; /* QUEUED and SENT */
    size_t max_nbytes;
    int remembered; /* DONE, at least */
    int max_batch;
    size_t max_batch_nbytes; /* one image may be larger */
    int64_t max_wait_ns;     /* of the oldest, until a batch that is not full may leave */
};

struct sv_batcher;
CM_MUST_CHECK
cm_status sv_batcher_open(struct sv_batcher **out, const struct sv_batcher_config *cfg);
void sv_batcher_close(struct sv_batcher **b);
int sv_batcher_nslots(const struct sv_batcher *b);

/* The slot of the request, wherever it is, or SV_NONE. */
int sv_batcher_find(const struct sv_batcher *b, struct wi_id id);
/* A slot for a new request (id is not found), QUEUED; SV_NONE when the limits are reached. The slot
 * may be one that was DONE: what lies there is forgotten. */
int sv_batcher_admit(struct sv_batcher *b, struct wi_id id, size_t nbytes, int64_t now_ns,
                     int64_t deadline_ns);

/* May a batch leave now? Full, or old enough. */
bool sv_batcher_is_due(const struct sv_batcher *b, int64_t now_ns);
/* The next batch, at most max (and the config's max_batch), as SENT; returns how many. A request
 * under suspicion travels alone: it may be what its worker died of. */
int sv_batcher_take(struct sv_batcher *b, int *slots, int max);
/* SENT to QUEUED, to its place in the order of arrival. suspect: its worker died or failed with it;
 * returns how often that was so. */
int sv_batcher_give_back(struct sv_batcher *b, int slot, bool suspect);
/* QUEUED or SENT to DONE, or to FREE when nobody may ask for it again. */
void sv_batcher_end(struct sv_batcher *b, int slot, bool remember);
void sv_batcher_forget(struct sv_batcher *b, int slot); /* DONE to FREE */
int sv_batcher_oldest_done(const struct sv_batcher *b); /* SV_NONE: there is none */

/* The request, QUEUED or SENT, whose deadline passed first, or SV_NONE. */
int sv_batcher_expired(const struct sv_batcher *b, int64_t now_ns);
/* When expired or, if a worker is free to take it, a batch's being due may change by time alone;
 * INT64_MAX: never. */
int64_t sv_batcher_wake_ns(const struct sv_batcher *b, bool worker_is_free);

enum sv_place sv_batcher_place(const struct sv_batcher *b, int slot);
struct wi_id sv_batcher_id(const struct sv_batcher *b, int slot);
int64_t sv_batcher_arrived_ns(const struct sv_batcher *b, int slot);
int64_t sv_batcher_deadline_ns(const struct sv_batcher *b, int slot);
int sv_batcher_count(const struct sv_batcher *b, enum sv_place place);
size_t sv_batcher_nbytes(const struct sv_batcher *b); /* of QUEUED and SENT */

#endif
