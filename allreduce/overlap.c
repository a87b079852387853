#include "allreduce/overlap.h"

#include "allreduce/tree.h"

double ar_link_seconds(const struct ar_link *link, enum ar_order order, int ranks, size_t nbytes)
{
    if (ranks < 2)
        return 0;
    double part = (double)nbytes * (ranks - 1) / ranks;
    double moving_s = 2 * part / link->bytes_per_s;
    if (order == AR_ORDER_FAST)
        return link->latency_s + moving_s;
    return 2 * link->latency_s + moving_s + 3 * part / link->memory_bytes_per_s;
}

size_t ar_link_bucket(const struct ar_link *link, enum ar_order order, int ranks, size_t nbytes)
{
    size_t n = nbytes / sizeof(float);
    double least_s = ar_link_seconds(link, order, ranks, 0);
    double rate = (double)n / (ar_link_seconds(link, order, ranks, nbytes) - least_s);
    return ar_bucket_limit(n, least_s, rate) * sizeof(float);
}

struct ar_overlap ar_overlap(const struct ar_piece *pieces, size_t n, size_t bucket,
                             const struct ar_link *link, enum ar_order order, int ranks)
{
    struct ar_overlap found = {0};
    size_t nbytes = 0;
    double free_s = 0; /* when the link is */
    for (size_t i = 0; i < n; i++) {
        nbytes += pieces[i].nbytes;
        if (nbytes < bucket && i + 2 < n)
            continue;
        double begin_s = pieces[i].ready_s > free_s ? pieces[i].ready_s : free_s;
        double took_s = nbytes > 0 ? ar_link_seconds(link, order, ranks, nbytes) : 0;
        free_s = begin_s + took_s;
        found.busy_s += took_s;
        found.nbuckets += nbytes > 0;
        nbytes = 0;
    }
    double totals_s = ranks > 1 ? link->latency_s : 0;
    found.busy_s += totals_s;
    found.exposed_s = free_s + totals_s - pieces[n - 1].ready_s;
    return found;
}
