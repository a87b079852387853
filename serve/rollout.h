/* Which version is served, and how the next one takes over. A state machine without I/O or clock;
 * the gateway tells it what happened and asks what to do.
 *
 *   aim ---> CANDIDATE --enough workers loaded it--> SERVING --another took over--> (dropped)
 *               |  ^                                    |
 *   one refused,|  | aim again, by a new change         | all refuse it, so nobody can answer
 *   or it kills |  | of the alias                       |
 *               v  |                                    |
 *           QUARANTINED <-------------------------------+
 *
 * Enough: every live worker; after load_timeout, half of them; at once when nothing can be served
 * anyway. Until then the old version serves. A worker that could not read a version just now has
 * not refused it: it is asked again after load_timeout. One that has been loading for longer than
 * that is stuck: it counts as one that cannot, for as long as another could load something else.
 * When none can read a version and nobody could answer meanwhile, it is put off: dropped without a
 * quarantine, so that another one may stand in and it may be aimed at again. It kills: two workers
 * died of loading it, did not come back within mourn_ns, and of the others none could, or is at it;
 * a version that somebody has loaded is not to blame. Versions go back only when the alias does, or
 * when the one that serves can be loaded by nobody any more. One thread at a time. */
#ifndef SERVE_ROLLOUT_H
#define SERVE_ROLLOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/id.h"

#define SV_WORKERS_MAX    64
#define SV_QUARANTINE_MAX 64 /* the oldest is forgotten */
#define SV_LOAD_DEATHS    2  /* of workers, until what they loaded may be to blame */

struct sv_version {
    int64_t number; /* 0: none */
    uint64_t hash;  /* of its manifest */
};
static inline bool sv_version_equal(struct sv_version a, struct sv_version b)
{
    return a.number == b.number && a.hash == b.hash;
}

/* A worker's last word on a version: none, it cannot read it just now, it never will, it has it. */
enum sv_word { SV_SILENT, SV_UNREAD, SV_REFUSED, SV_LOADED };
struct sv_stand {
    enum sv_word word;
    int64_t from_ns; /* not asked for it before */
};

struct sv_rollout_worker {
    bool live;
    struct wi_id life; /* of its process */
    struct sv_stand serving, candidate;
    struct sv_version asked; /* that it is loading, since: */
    int64_t asked_ns;
};

/* Zeroed, with load_timeout_ns set, is the start. */
struct sv_rollout {
    int64_t load_timeout_ns;
    int64_t mourn_ns; /* until one that is taken for dead, as its link broke, is dead; the caller
                         sets it by the slowest beat of a worker */
    struct sv_version serving, candidate;
    int64_t impatient_ns; /* when half the workers are enough for the candidate */
    bool proven;          /* somebody has loaded the candidate */
    int ndead;            /* workers that were loading the candidate … */
    struct wi_id dead[SV_WORKERS_MAX];
    int64_t death_ns; /* … and when the last one died */
    struct sv_rollout_worker worker[SV_WORKERS_MAX];
    struct sv_version quarantine[SV_QUARANTINE_MAX];
    int nquarantine;
};

enum sv_aim { SV_AIM_KNOWN, SV_AIM_NEW, SV_AIM_QUARANTINED };
/* The alias names v. anew: by a change of the alias that was not aimed at before, which lifts a
 * quarantine. */
enum sv_aim sv_rollout_aim(struct sv_rollout *r, struct sv_version v, bool anew, int64_t now_ns);
/* No worker needs to try. */
void sv_rollout_ban(struct sv_rollout *r, struct sv_version v);
bool sv_rollout_is_banned(const struct sv_rollout *r, struct sv_version v);

/* w in 0 .. SV_WORKERS_MAX - 1; what it had before is forgotten. life: of the process; when it was
 * taken for dead, it was not. */
void sv_rollout_join(struct sv_rollout *r, int w, struct wi_id life);
/* died: what it was loading may be why. */
void sv_rollout_part(struct sv_rollout *r, int w, bool died, int64_t now_ns);
/* Does the candidate kill? It is in quarantine now: *v. */
bool sv_rollout_condemn(struct sv_rollout *r, int64_t now_ns, struct sv_version *v);
void sv_rollout_loaded(struct sv_rollout *r, int w, struct sv_version v);
enum sv_refusal {
    SV_REFUSED_CANDIDATE, /* it is in quarantine now */
    SV_REFUSED_SERVING,   /* others may serve it: the fault is this worker's */
    SV_REFUSED_FOR_NOW,   /* it will be asked again */
    SV_REFUSED_OTHER,     /* nobody wants it any more */
};
/* passing: w could not read it, which says nothing about the version. */
enum sv_refusal sv_rollout_refused(struct sv_rollout *r, int w, struct sv_version v, bool passing,
                                   int64_t now_ns);
/* Has no live worker what serves, and can none load it? Then nothing serves any more; *was: what
 * did. It is in quarantine now, unless some just could not read it or are stuck: *put_off. */
bool sv_rollout_forsake(struct sv_rollout *r, int64_t now_ns, struct sv_version *was,
                        bool *put_off);
/* Nothing serves, and no live worker can read the candidate just now? Then it is put off: *v. */
bool sv_rollout_put_off(struct sv_rollout *r, int64_t now_ns, struct sv_version *v);
/* w turns out not to have the serving version. */
void sv_rollout_lacks(struct sv_rollout *r, int w);

/* What w should load now; number 0: nothing. */
struct sv_version sv_rollout_wants(const struct sv_rollout *r, int w, int64_t now_ns);
/* It was told so. */
void sv_rollout_asked(struct sv_rollout *r, int w, struct sv_version v, int64_t now_ns);
bool sv_rollout_can_serve(const struct sv_rollout *r, int w);
bool sv_rollout_is_ahead(const struct sv_rollout *r, int w); /* it has the candidate */
bool sv_rollout_is_ready(const struct sv_rollout *r);        /* somebody can serve */
/* The candidate may take over, as soon as the batches of the old version are back. */
bool sv_rollout_may_switch(const struct sv_rollout *r, int64_t now_ns);
/* There is a candidate, its time is up, and too few have it. */
bool sv_rollout_is_stalled(const struct sv_rollout *r, int64_t now_ns);
/* Makes it so; returns what was served before. */
struct sv_version sv_rollout_switch(struct sv_rollout *r);
int sv_rollout_live(const struct sv_rollout *r);
int sv_rollout_ahead(const struct sv_rollout *r); /* live workers that have the candidate */

#endif
