/* Where a rank is: its host, and how the heartbeats of others reach it. Plain bytes, so that ranks
 * can gather it. */
#ifndef ALLREDUCE_PLACE_H
#define ALLREDUCE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

#define AR_PLACE_ADDRESSES 8

struct ar_place {
    char host[64];
    uint64_t host_id; /* of the running system and its network namespace: equal means that loopback
                         connects the two */
    uint16_t port;    /* UDP */
    uint16_t naddresses;
    struct {
        uint32_t address, mask; /* IPv4, network byte order */
    } at[AR_PLACE_ADDRESSES];
};

/* All but the port. A host without addresses beyond loopback is fine. */
CM_MUST_CHECK cm_status ar_place_here(struct ar_place *place);
/* The IPv4 address, network byte order, at which `from` should reach `to`: loopback on the same
 * host, else the first address of `to` on a network that both are on, else its first; 0 when there
 * is none. Pure. */
uint32_t ar_place_route(const struct ar_place *from, const struct ar_place *to);
/* How many of places[0, n) are on the host of places[rank], and how many of these come before it.
 * Pure. */
void ar_place_local(const struct ar_place *places, int n, int rank, int *local_rank,
                    int *local_size);
/* The rank whose clock is furthest from rank 0's, and more than tolerance_s; -1 when none is.
 * utc_s: (n), read at about the same moment. Pure. */
int ar_place_odd_clock(const double *utc_s, int n, double tolerance_s);

#endif
