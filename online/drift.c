#include "online/drift.h"

#include <math.h>
#include <string.h>

#define EVERY    32 /* bits between two tries */
#define SMALLEST 5  /* bits on either side of a cut */

static void remove_oldest(struct ol_drift *d, int row, int k)
{
    d->count[row] -= k;
    memmove(d->sum[row], d->sum[row] + k, (size_t)d->count[row] * sizeof d->sum[row][0]);
}

/* Six of one size: the two oldest become one of the next. */
static void insert(struct ol_drift *d, bool error)
{
    int64_t sum = error;
    for (int row = 0; row < OL_DRIFT_ROWS; row++) {
        d->sum[row][d->count[row]++] = sum;
        if (d->count[row] <= OL_DRIFT_BUCKETS)
            break;
        sum = d->sum[row][0] + d->sum[row][1];
        remove_oldest(d, row, 2);
    }
    d->seen++;
    d->n++;
    d->errors += error;
}

static void drop_oldest(struct ol_drift *d)
{
    int row = OL_DRIFT_ROWS - 1;
    while (d->count[row] == 0)
        row--;
    d->n -= INT64_C(1) << row;
    d->errors -= d->sum[row][0];
    remove_oldest(d, row, 1);
}

/* 0: no cut shows a difference; else the sign of newer mean - older mean. */
static int find_cut(const struct ol_drift *d, double delta)
{
    double n = (double)d->n, p = (double)d->errors / n, v = p * (1 - p);
    double chance = log(2 * log(n) / delta);
    double n0 = 0, sum0 = 0;
    for (int row = OL_DRIFT_ROWS - 1; row >= 0; row--)
        for (int i = 0; i < d->count[row]; i++) {
            n0 += (double)(INT64_C(1) << row);
            sum0 += (double)d->sum[row][i];
            double n1 = n - n0;
            if (n0 < SMALLEST || n1 < SMALLEST)
                continue;
            double m = 1 / (n0 - SMALLEST + 1) + 1 / (n1 - SMALLEST + 1);
            double difference = ((double)d->errors - sum0) / n1 - sum0 / n0;
            if (fabs(difference) > sqrt(2 * m * v * chance) + 2.0 / 3 * chance * m)
                return difference > 0 ? 1 : -1;
        }
    return 0;
}

bool ol_drift_observe(struct ol_drift *d, double delta, bool error)
{
    bool risen = false;
    insert(d, error);
    if (d->seen % EVERY != 0)
        return false;
    for (int sign; d->n >= 2 * SMALLEST && (sign = find_cut(d, delta)) != 0;) {
        risen = risen || sign > 0;
        drop_oldest(d);
    }
    return risen;
}
