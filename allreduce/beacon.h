/* The UDP socket of a rank's heartbeats: sends them to all, keeps the newest of each other rank,
 * and hears when a host says that the socket of a rank is gone. Internal to allreduce. */
#ifndef ALLREDUCE_BEACON_H
#define ALLREDUCE_BEACON_H

#include <netinet/in.h>
#include <stdint.h>

#include "allreduce/heartbeat.h"
#include "allreduce/place.h"
#include "common/status.h"

struct ar_beacon {
    int socket; /* -1: closed */
    int rank, size;
    uint64_t key;                  /* of the job: messages of others are ignored */
    struct sockaddr_in *addresses; /* (size), port 0: unreachable */
    struct ar_place *places;       /* (size) */
    /* Owner: the thread that receives. */
    struct ar_peer *peers; /* (size) */
    uint8_t newest[AR_BEAT_NBYTES];
};

/* Binds the socket and says where it is. */
CM_MUST_CHECK cm_status ar_beacon_open(struct ar_beacon *b, struct ar_place *here);
/* The others are known: places (size), copied. */
CM_MUST_CHECK cm_status ar_beacon_join(struct ar_beacon *b, const struct ar_place *places, int rank,
                                       int size, uint64_t key);
void ar_beacon_release(struct ar_beacon *b);

/* To all others; any thread. A message that cannot be sent is one that is lost: the peers judge by
 * what arrives. */
void ar_beacon_send(const struct ar_beacon *b, const struct ar_beat *beat);
/* The same with the heartbeat of now, which is sent again to a rank whose host has refused it once:
 * one refusal may be a mistake. */
void ar_beacon_beat(struct ar_beacon *b, const struct ar_beat *beat);
/* Takes all that has arrived. Returns a rank that says it is leaving, -1 when none does. */
int ar_beacon_receive(struct ar_beacon *b);

#endif
