/* How much of a step's sums over ranks backward does not hide, on paper: from the times at which
 * backward finished the gradients, measured on one GPU, and a link that is stated. No I/O.
 *
 *   backward   [ piece ][ piece ][ piece ]…[ statistics ]              ► update
 *   link                [ sum of a bucket ][ sum ]      [ sum ][totals]
 *                                                       └───────────┴ exposed: the update waits */
#ifndef ALLREDUCE_OVERLAP_H
#define ALLREDUCE_OVERLAP_H

#include <stddef.h>

#include "allreduce/group.h"

/* Between the GPUs of a job, all of which send and receive at the same time. */
struct ar_link {
    const char *name;
    double latency_s;          /* of one collective, whatever its size */
    double bytes_per_s;        /* that leave a GPU, while as many arrive */
    double memory_bytes_per_s; /* of a GPU's memory, which additions read and write */
};

/* Seconds of the sum of nbytes over so many ranks.
 *     fast    a ring: latency + 2 (W - 1) / W nbytes / bytes_per_s
 *     fixed   two exchanges, and in between each rank adds the W parts of its share:
 *             2 latency + 2 (W - 1) / W nbytes / bytes_per_s + 3 (W - 1) / W nbytes / memory
 * Nothing for one rank. */
double ar_link_seconds(const struct ar_link *link, enum ar_order order, int ranks, size_t nbytes);

/* What buckets of one step at least hold: ar_bucket_limit of such sums of nbytes, in bytes. */
size_t ar_link_bucket(const struct ar_link *link, enum ar_order order, int ranks, size_t nbytes);

/* A part of the gradients; ready_s: since the step began, in the order of becoming ready. */
struct ar_piece {
    size_t nbytes;
    double ready_s;
};
struct ar_overlap {
    size_t nbuckets;
    double busy_s;    /* the link's */
    double exposed_s; /* from the last piece's being ready to the end of the totals */
};
/* Pieces are put together until a bucket holds `bucket` bytes; the last of them, which is the
 * statistics, leaves alone; of nothing there is no sum. One sum at a time, none before its bucket
 * is ready; behind them loss and counts, a few bytes in one exchange. n is at least 1. */
struct ar_overlap ar_overlap(const struct ar_piece *pieces, size_t n, size_t bucket,
                             const struct ar_link *link, enum ar_order order, int ranks);

#endif
