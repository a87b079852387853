#include "allreduce/heartbeat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VERSION 1

/* Where fields begin; the phase and the text end the message. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_KIND = 6,
    AT_KEY = 8,
    AT_COLLECTIVE = 16,
    AT_STEP = 24,
    AT_RANK = 32,
    AT_IN_PHASE = 36,
    AT_WAITING = 40,
    AT_RESERVED = 44, /* 20 bytes of zeros */
    AT_PHASE = 64,
    AT_TEXT = AT_PHASE + AR_BEAT_PHASE,
};
_Static_assert(AT_TEXT + AR_BEAT_TEXT == AR_BEAT_NBYTES, "layout");

static const uint8_t magic[4] = {'F', 'W', 'H', 'B'};

static void put(uint8_t *at, uint64_t v, int nbytes)
{
    for (int i = 0; i < nbytes; i++)
        at[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *at, int nbytes)
{
    uint64_t v = 0;
    for (int i = 0; i < nbytes; i++)
        v |= (uint64_t)at[i] << 8 * i;
    return v;
}

void ar_beat_encode(uint8_t bytes[AR_BEAT_NBYTES], const struct ar_beat *beat)
{
    memset(bytes, 0, AR_BEAT_NBYTES);
    memcpy(bytes + AT_MAGIC, magic, sizeof magic);
    put(bytes + AT_VERSION, VERSION, 2);
    put(bytes + AT_KIND, beat->kind, 2);
    put(bytes + AT_KEY, beat->key, 8);
    put(bytes + AT_COLLECTIVE, beat->collective, 8);
    put(bytes + AT_STEP, (uint64_t)beat->step, 8);
    put(bytes + AT_RANK, beat->rank, 4);
    put(bytes + AT_IN_PHASE, beat->in_phase_ms, 4);
    put(bytes + AT_WAITING, beat->waiting_ms, 4);
    memcpy(bytes + AT_PHASE, beat->phase, strnlen(beat->phase, AR_BEAT_PHASE - 1));
    memcpy(bytes + AT_TEXT, beat->text, strnlen(beat->text, AR_BEAT_TEXT - 1));
}

bool ar_beat_decode(struct ar_beat *beat, const uint8_t *bytes, size_t nbytes)
{
    if (nbytes != AR_BEAT_NBYTES || memcmp(bytes + AT_MAGIC, magic, sizeof magic) != 0 ||
        get(bytes + AT_VERSION, 2) != VERSION)
        return false;
    uint64_t kind = get(bytes + AT_KIND, 2);
    bool ends = bytes[AT_PHASE + AR_BEAT_PHASE - 1] == 0 && bytes[AT_TEXT + AR_BEAT_TEXT - 1] == 0;
    if (kind < AR_BEAT_ALIVE || kind > AR_BEAT_DONE || !ends)
        return false;
    *beat = (struct ar_beat){
        .kind = (enum ar_beat_kind)kind,
        .key = get(bytes + AT_KEY, 8),
        .collective = get(bytes + AT_COLLECTIVE, 8),
        .step = (int64_t)get(bytes + AT_STEP, 8),
        .rank = (uint32_t)get(bytes + AT_RANK, 4),
        .in_phase_ms = (uint32_t)get(bytes + AT_IN_PHASE, 4),
        .waiting_ms = (uint32_t)get(bytes + AT_WAITING, 4),
    };
    memcpy(beat->phase, bytes + AT_PHASE, AR_BEAT_PHASE);
    memcpy(beat->text, bytes + AT_TEXT, AR_BEAT_TEXT);
    return true;
}

const char *const ar_fault_names[] = {"waits", "behind", "silent", "gone", "left"};

enum ar_fault ar_peer_fault(const struct ar_peer *p, uint64_t collective, int64_t silent_ms)
{
    if (p->beat.kind == AR_BEAT_LEAVING)
        return AR_FAULT_LEFT;
    if (p->beat.kind == AR_BEAT_DONE)
        return AR_FAULT_NONE;
    if (p->beat.kind == AR_BEAT_ALIVE && p->refusals >= AR_REFUSALS)
        return AR_FAULT_GONE;
    if (p->age_ms > silent_ms)
        return AR_FAULT_SILENT;
    return p->beat.collective < collective ? AR_FAULT_BEHIND : AR_FAULT_NONE;
}

static bool is_earlier(const struct ar_peer *a, const struct ar_peer *b)
{
    if (a->beat.collective != b->beat.collective)
        return a->beat.collective < b->beat.collective;
    return a->age_ms > b->age_ms;
}

int ar_culprit(const struct ar_peer *peers, int n, int me, uint64_t collective, int64_t silent_ms)
{
    enum ar_fault worst = AR_FAULT_NONE;
    int culprit = -1;
    for (int r = 0; r < n; r++) {
        if (r == me)
            continue;
        enum ar_fault fault = ar_peer_fault(&peers[r], collective, silent_ms);
        if (fault > worst ||
            (culprit >= 0 && fault == worst && is_earlier(&peers[r], &peers[culprit]))) {
            worst = fault;
            culprit = r;
        }
    }
    return culprit;
}

bool ar_speaks(const struct ar_peer *peers, int me, enum ar_fault from, uint64_t collective,
               int64_t silent_ms)
{
    for (int r = 0; r < me; r++)
        if (ar_peer_fault(&peers[r], collective, silent_ms) < from)
            return false;
    return true;
}

/* "'step' step 812, collective 17 (sum of a gradient bucket), 2 behind" */
static void describe_place(char *text, size_t n, const struct ar_beat *b, uint64_t collective)
{
    char behind[32] = "", name[AR_BEAT_TEXT + 4] = "";
    if (b->collective < collective)
        snprintf(behind, sizeof behind, ", %" PRIu64 " behind", collective - b->collective);
    if (b->kind == AR_BEAT_ALIVE && *b->text)
        snprintf(name, sizeof name, " (%s)", b->text);
    snprintf(text, n, "'%s' step %" PRId64 ", collective %" PRIu64 "%s%s",
             b->kind ? b->phase : "start", b->step, b->collective, name, behind);
}

void ar_peer_describe(char *text, size_t n, const struct ar_peer *p, int rank, enum ar_fault fault,
                      uint64_t collective)
{
    const struct ar_beat *b = &p->beat;
    char where[AR_BEAT_PHASE + AR_BEAT_TEXT + 128];
    double age_s = (double)p->age_ms / 1e3;
    describe_place(where, sizeof where, b, collective);
    switch (fault) {
    case AR_FAULT_LEFT:
        snprintf(text, n, "rank %d on %s: left: %s", rank, p->host, b->text);
        break;
    case AR_FAULT_GONE:
        snprintf(text, n, "rank %d on %s: gone (killed or crashed), last in %s", rank, p->host,
                 where);
        break;
    case AR_FAULT_SILENT:
        snprintf(text, n,
                 "rank %d on %s: silent for %.1f s (stopped, cut off, or its host is down), last "
                 "in %s",
                 rank, p->host, age_s, where);
        break;
    case AR_FAULT_BEHIND:
        snprintf(text, n, "rank %d on %s: behind: for %.1f s in %s", rank, p->host,
                 b->in_phase_ms / 1e3 + age_s, where);
        break;
    case AR_FAULT_NONE:
    case AR_FAULT_COUNT:
        snprintf(text, n, "rank %d on %s: waits since %.1f s in %s", rank, p->host,
                 b->waiting_ms / 1e3 + age_s, where);
        break;
    }
}
