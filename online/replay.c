#include "online/replay.h"

#include <math.h>

#include "common/mem.h"
#include "common/rng.h"

cm_status ol_replay_init(struct ol_replay *r, const int32_t *labels, const uint32_t *rows,
                         uint32_t n, int nclasses, bool balanced)
{
    *r = (struct ol_replay){.n = n, .balanced = balanced};
    CM_TRY(cm_alloc(&r->rows, n, sizeof *r->rows, "replay rows"));
    CM_TRY(cm_alloc(&r->first, (size_t)nclasses + 1, sizeof *r->first, "replay classes"));
    uint32_t at = 0;
    for (int c = 0; c < nclasses; c++) {
        uint32_t begin = at;
        for (uint32_t i = 0; i < n; i++)
            if (labels[rows[i]] == c)
                r->rows[at++] = rows[i];
        if (at > begin)
            r->first[r->nfilled++] = begin;
    }
    r->first[r->nfilled] = at;
    return CM_OK;
}

void ol_replay_release(struct ol_replay *r)
{
    cm_free(&r->rows);
    cm_free(&r->first);
}

uint32_t ol_replay_draw(const struct ol_replay *r, uint64_t seed, uint32_t epoch, uint32_t k)
{
    uint32_t bits = cm_rng_u32(seed, CM_RNG_REPLAY, epoch, k, 0);
    if (!r->balanced)
        return r->rows[cm_rng_below(bits, r->n)];
    uint32_t class = k % r->nfilled, begin = r->first[class];
    return r->rows[begin + cm_rng_below(bits, r->first[class + 1] - begin)];
}

uint32_t ol_replay_epoch_size(uint32_t nfeedback, double ratio, uint32_t batch)
{
    double least = ceil((double)nfeedback * (1 + ratio) - 1e-9);
    return (uint32_t)ceil(least / (double)batch) * batch;
}
