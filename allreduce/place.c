#include "allreduce/place.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <math.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/hash.h"

static void take_addresses(struct ar_place *place, const struct ifaddrs *all)
{
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        bool usable = (i->ifa_flags & IFF_UP) && !(i->ifa_flags & IFF_LOOPBACK) && i->ifa_addr &&
                      i->ifa_addr->sa_family == AF_INET && i->ifa_netmask;
        if (!usable || place->naddresses == AR_PLACE_ADDRESSES)
            continue;
        struct sockaddr_in address, mask;
        memcpy(&address, i->ifa_addr, sizeof address);
        memcpy(&mask, i->ifa_netmask, sizeof mask);
        place->at[place->naddresses].address = address.sin_addr.s_addr;
        place->at[place->naddresses].mask = mask.sin_addr.s_addr;
        place->naddresses++;
    }
}

cm_status ar_place_here(struct ar_place *place)
{
    *place = (struct ar_place){0};
    if (gethostname(place->host, sizeof place->host - 1) != 0)
        return CM_FAIL_ERRNO("gethostname");

    /* The boot id tells two hosts of one name apart, the namespace two "hosts" of one kernel. */
    char identity[256] = "", boot_id[64] = "", network[64] = "";
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f) {
        if (!fgets(boot_id, sizeof boot_id, f))
            boot_id[0] = 0;
        fclose(f);
    }
    ssize_t n = readlink("/proc/self/ns/net", network, sizeof network - 1);
    network[n > 0 ? n : 0] = 0;
    snprintf(identity, sizeof identity, "%s %s %s", place->host, boot_id, network);
    place->host_id = cm_xxh64(identity, strlen(identity));

    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return CM_FAIL_ERRNO("getifaddrs");
    take_addresses(place, all);
    freeifaddrs(all);
    return CM_OK;
}

uint32_t ar_place_route(const struct ar_place *from, const struct ar_place *to)
{
    if (from->host_id == to->host_id)
        return htonl(INADDR_LOOPBACK);
    for (int i = 0; i < to->naddresses; i++)
        for (int k = 0; k < from->naddresses; k++)
            if ((to->at[i].address & from->at[k].mask) == (from->at[k].address & from->at[k].mask))
                return to->at[i].address;
    return to->naddresses > 0 ? to->at[0].address : 0;
}

void ar_place_local(const struct ar_place *places, int n, int rank, int *local_rank,
                    int *local_size)
{
    *local_rank = *local_size = 0;
    for (int r = 0; r < n; r++) {
        bool same = places[r].host_id == places[rank].host_id;
        *local_size += same;
        *local_rank += same && r < rank;
    }
}

int ar_place_odd_clock(const double *utc_s, int n, double tolerance_s)
{
    int odd = -1;
    for (int r = 1; r < n; r++) {
        double off = fabs(utc_s[r] - utc_s[0]);
        if (off > tolerance_s && (odd < 0 || off > fabs(utc_s[odd] - utc_s[0])))
            odd = r;
    }
    return odd;
}
