/* Heartbeats: what a rank tells the others about itself, and what the others conclude. Formats and
 * arithmetic, no I/O.
 *
 * A message is 288 bytes, little-endian:
 *
 *   0 "FWHB"              4 version 1, u16         6 kind, u16          8 key of the job, u64
 *  16 collective, u64    24 step, i64             32 rank, u32         36 ms in this phase, u32
 *  40 ms in the collective, u32                   44 zeros
 *  64 phase, NUL-padded  96 text, NUL-padded
 *
 * A heartbeat of another job (key) or another version is ignored. */
#ifndef ALLREDUCE_HEARTBEAT_H
#define ALLREDUCE_HEARTBEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ar_beat_kind {
    AR_BEAT_ALIVE = 1,
    AR_BEAT_LEAVING = 2, /* the job is lost; text says why */
    AR_BEAT_DONE = 3,    /* parts in good order: its silence from now on means nothing */
};

#define AR_BEAT_NBYTES 288
#define AR_BEAT_PHASE  32  /* with NUL */
#define AR_BEAT_TEXT   192 /* with NUL */

struct ar_beat {
    enum ar_beat_kind kind;
    uint64_t key;
    uint32_t rank;
    uint64_t collective; /* number of the newest collective entered; the first is 1 */
    int64_t step;
    uint32_t in_phase_ms;
    uint32_t waiting_ms; /* in that collective; 0: it is done */
    char phase[AR_BEAT_PHASE];
    char text[AR_BEAT_TEXT]; /* alive: the newest collective's name; leaving: why */
};

void ar_beat_encode(uint8_t bytes[AR_BEAT_NBYTES], const struct ar_beat *beat);
/* False: not a heartbeat of this version, or malformed. */
bool ar_beat_decode(struct ar_beat *beat, const uint8_t *bytes, size_t nbytes);

/* One row per rank: the newest heartbeat and its age. */
struct ar_peer {
    const char *host;
    struct ar_beat beat; /* kind 0: none came yet */
    int64_t age_ms;      /* since it came, or since the watch began */
    int refusals;        /* by its host since: there is no such socket (any more) */
};

enum ar_fault {                  /* from harmless to certain */
                AR_FAULT_NONE,   /* waits with the others, or is done */
                AR_FAULT_BEHIND, /* alive, elsewhere */
                AR_FAULT_SILENT, /* dead, stopped, or cut off */
                AR_FAULT_GONE,   /* its host lives and says that the process does not */
                AR_FAULT_LEFT,
                AR_FAULT_COUNT
};
extern const char *const ar_fault_names[AR_FAULT_COUNT]; /* "waits", "behind", … */

#define AR_REFUSALS 2 /* of one that was heard before: a firewall refuses from the beginning */

/* What is wrong with a peer, seen by a rank that waits in `collective`. silent_ms: older heartbeats
 * mean silence. */
enum ar_fault ar_peer_fault(const struct ar_peer *p, uint64_t collective, int64_t silent_ms);

/* The rank to blame: of those with the worst fault the one that got the least far, then the one
 * that was heard of the longest ago (who has just left, telling of the first, falls silent as
 * well); -1 when all wait in the same collective. me is not looked at. */
int ar_culprit(const struct ar_peer *peers, int n, int me, uint64_t collective, int64_t silent_ms);

/* True when `me` is the one to speak: no lower rank has a fault less than `from`. Ranks may see it
 * differently, so that two speak, or none: whoever keeps quiet does so for a moment only. */
bool ar_speaks(const struct ar_peer *peers, int me, enum ar_fault from, uint64_t collective,
               int64_t silent_ms);

/* "rank 3 on node07: silent for 41.2 s (…), last in 'step' step 812, collective 17 (sum of a
 * gradient bucket), 2 behind". */
void ar_peer_describe(char *text, size_t n, const struct ar_peer *p, int rank, enum ar_fault fault,
                      uint64_t collective);

#endif
