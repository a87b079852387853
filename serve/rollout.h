/* Which version is served, and how the next one takes over. A state machine without I/O or clock;
 * the gateway tells it what happened and asks what to do.
 *
 *   aim ---> CANDIDATE --enough workers loaded it--> SERVING --another took over--> (dropped)
 *               |  ^
 *   one refused |  | aim again, by a new change of the alias
 *               v  |
 *           QUARANTINED
 *
 * Enough: every live worker; after load_timeout, more than half of them; at once when nothing can
 * be served anyway. Until then the old version serves. Versions go back only when the alias does.
 * One thread at a time. */
#ifndef SERVE_ROLLOUT_H
#define SERVE_ROLLOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SV_WORKERS_MAX    64
#define SV_QUARANTINE_MAX 64 /* the oldest is forgotten */

struct sv_version {
    int64_t number; /* 0: none */
    uint64_t hash;  /* of its manifest */
};

struct sv_rollout_worker {
    bool live;
    bool has_serving, has_candidate;
    bool refused_serving; /* asked no more for this version */
    int64_t asked;        /* version that it is loading; 0: none */
};

/* Zeroed, with load_timeout_ns set, is the start. */
struct sv_rollout {
    int64_t load_timeout_ns;
    struct sv_version serving, candidate;
    int64_t impatient_ns; /* when most workers are enough for the candidate */
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

/* w in 0 .. SV_WORKERS_MAX - 1; what it had before is forgotten. */
void sv_rollout_join(struct sv_rollout *r, int w);
void sv_rollout_part(struct sv_rollout *r, int w);
void sv_rollout_loaded(struct sv_rollout *r, int w, struct sv_version v);
enum sv_refusal {
    SV_REFUSED_CANDIDATE, /* it is in quarantine now */
    SV_REFUSED_SERVING,   /* others serve it: the fault is this worker's */
    SV_REFUSED_OTHER,     /* nobody wants it any more */
};
enum sv_refusal sv_rollout_refused(struct sv_rollout *r, int w, struct sv_version v);
/* w turns out not to have the serving version. */
void sv_rollout_lacks(struct sv_rollout *r, int w);

/* What w should load now, and counts as asked for; number 0: nothing. */
struct sv_version sv_rollout_ask(struct sv_rollout *r, int w);
bool sv_rollout_can_serve(const struct sv_rollout *r, int w);
bool sv_rollout_is_ready(const struct sv_rollout *r); /* somebody can serve */
/* The candidate may take over, as soon as the batches of the old version are back. */
bool sv_rollout_may_switch(const struct sv_rollout *r, int64_t now_ns);
/* Makes it so; returns what was served before. */
struct sv_version sv_rollout_switch(struct sv_rollout *r);
int sv_rollout_live(const struct sv_rollout *r);

#endif
