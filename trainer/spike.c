#include "trainer/spike.h"

#include <math.h>

#include "common/vec.h"

double tr_losses_limit(const struct tr_losses *l, double k, double share)
{
    double v[TR_SPIKE_WINDOW];
    int n = l->n < TR_SPIKE_WINDOW ? (int)l->n : TR_SPIKE_WINDOW;
    if (n < TR_SPIKE_LEAST)
        return (double)INFINITY;
    for (int i = 0; i < n; i++)
        v[i] = l->loss[i];
    double middle = cm_vec_median(v, (size_t)n);
    for (int i = 0; i < n; i++)
        v[i] = fabs(v[i] - middle);
    return middle + k / sqrt(share) * fmax(1.4826 * cm_vec_median(v, (size_t)n), middle / 50);
}

void tr_losses_note(struct tr_losses *l, double loss)
{
    l->loss[l->n % TR_SPIKE_WINDOW] = loss;
    l->n++;
}

int tr_skips_in_a_row(const struct tr_skip *skip, int64_t n, int64_t step)
{
    int row = 0;
    for (; n > 0 && skip[n - 1].last + 1 >= step; n--, row++)
        if (skip[n - 1].first < step)
            step = skip[n - 1].first;
    return row;
}
