/* Halving, doubling, and the pieces in which long exchanges travel: while one piece is added the
 * next is on its way, and a piece that was just received is still in the cache. A receive buffer of
 * the vector's size, as MPI libraries take, costs page faults and memory traffic on every call. */
#include "allreduce/sum.h"

#include <string.h>

#include "allreduce/tree.h"
#include "common/mem.h"
#include "common/vec.h"

#define SHORT_NBYTES ((size_t)16 << 10)  /* up to here latency counts, not bytes */
#define PIECE        ((size_t)256 << 10) /* elements of one message: 1 MiB, measured best or equal */
#define IN_FLIGHT    2                   /* pieces; at most AR_SLOTS */

_Static_assert(IN_FLIGHT <= AR_SLOTS, "a piece takes a slot");
_Static_assert(SHORT_NBYTES <= PIECE * sizeof(float), "a short vector fits the scratch");

cm_status ar_summer_init(struct ar_summer *s, struct ar_transport *transport, bool compress)
{
    *s = (struct ar_summer){.transport = transport, .compress = compress};
    return cm_alloc_aligned(&s->scratch, IN_FLIGHT * PIECE, sizeof(float), "all-reduce scratch");
}

void ar_summer_release(struct ar_summer *s)
{
    cm_free(&s->scratch);
}

/* ---- short: whole vectors; both partners add, the lower rank's operand first, so that even NaNs
 * agree ---- */

typedef void (*add_fn)(void *dst, const void *a, const void *b, size_t nbytes);

static void add_f32(void *dst, const void *a, const void *b, size_t nbytes)
{
    cm_vec_sum2(dst, a, b, nbytes / sizeof(float));
}

static void add_f32_rounded(void *dst, const void *a, const void *b, size_t nbytes)
{
    cm_vec_sum2(dst, a, b, nbytes / sizeof(float));
    cm_vec_round_bf16(dst, nbytes / sizeof(float));
}

static void add_f64(void *dst, const void *a, const void *b, size_t nbytes)
{
    double *sum = dst;
    const double *x = a, *y = b;
    for (size_t i = 0; i < nbytes / sizeof(double); i++)
        sum[i] = x[i] + y[i];
}

static void add_tail(void *dst, const void *a, const void *b, size_t nbytes)
{
    (void)nbytes;
    struct ar_tail *sum = dst;
    const struct ar_tail *x = a, *y = b;
    add_f64(sum->sum, x->sum, y->sum, sizeof sum->sum);
    sum->bits = x->bits | y->bits;
}

static cm_status sum_short(struct ar_summer *s, void *buf, size_t nbytes, add_fn add)
{
    struct ar_transport *t = s->transport;
    for (int level = 0; level < ar_tree_levels(t->size); level++) {
        int partner = ar_tree_partner(t->rank, level);
        CM_TRY(t->ops->post(t, 0, partner, buf, nbytes, s->scratch, nbytes));
        CM_TRY(t->ops->wait(t, 0));
        if (partner < t->rank)
            add(buf, s->scratch, buf, nbytes);
        else
            add(buf, buf, s->scratch, nbytes);
    }
    return CM_OK;
}

/* ---- long: halves ---- */

struct span {
    float *at;
    size_t n;
};

static struct span piece_of(struct span all, size_t k)
{
    size_t begin = k * PIECE < all.n ? k * PIECE : all.n;
    size_t left = all.n - begin;
    return (struct span){all.at + begin, left < PIECE ? left : PIECE};
}

static float *slot_scratch(struct ar_summer *s, int slot)
{
    return (float *)s->scratch + (size_t)slot * PIECE;
}

/* One message of a level: `out` leaves, `in` arrives and is added to what is there (adding) or
 * replaces it. */
static cm_status post_piece(struct ar_summer *s, int slot, int partner, struct span out,
                            struct span in, bool adding)
{
    struct ar_transport *t = s->transport;
    float *scratch = slot_scratch(s, slot);
    if (!s->compress)
        return t->ops->post(t, slot, partner, out.at, out.n * sizeof(float),
                            adding ? scratch : in.at, in.n * sizeof(float));
    /* bf16: arrivals in the first half of the slot's scratch, departures in the second. */
    uint16_t *arrives = (uint16_t *)scratch, *leaves = arrives + PIECE;
    cm_vec_to_bf16(leaves, out.at, out.n);
    return t->ops->post(t, slot, partner, leaves, out.n * sizeof *leaves, arrives,
                        in.n * sizeof *arrives);
}

static void add_bf16(float *dst, const uint16_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = cm_bf16_to_f32(cm_f32_to_bf16(dst[i] + cm_bf16_to_f32(src[i])));
}

static cm_status take_piece(struct ar_summer *s, int slot, struct span in, bool adding)
{
    CM_TRY(s->transport->ops->wait(s->transport, slot));
    const float *scratch = slot_scratch(s, slot);
    if (s->compress && adding)
        add_bf16(in.at, (const uint16_t *)scratch, in.n);
    else if (s->compress)
        cm_vec_from_bf16(in.at, (const uint16_t *)scratch, in.n);
    else if (adding)
        cm_vec_add(in.at, scratch, in.n);
    return CM_OK;
}

static cm_status swap(struct ar_summer *s, int partner, struct span out, struct span in,
                      bool adding)
{
    size_t longest = out.n > in.n ? out.n : in.n;
    size_t npieces = (longest + PIECE - 1) / PIECE;
    for (size_t k = 0; k < npieces + IN_FLIGHT; k++) {
        int slot = (int)(k % IN_FLIGHT);
        if (k >= IN_FLIGHT && k - IN_FLIGHT < npieces)
            CM_TRY(take_piece(s, slot, piece_of(in, k - IN_FLIGHT), adding));
        if (k < npieces)
            CM_TRY(post_piece(s, slot, partner, piece_of(out, k), piece_of(in, k), adding));
    }
    return CM_OK;
}

static struct span held(float *buf, size_t n, int rank, int level)
{
    struct ar_range r = ar_tree_range(n, rank, level);
    return (struct span){buf + r.begin, ar_range_count(r)};
}

static cm_status sum_long(struct ar_summer *s, float *buf, size_t n)
{
    int rank = s->transport->rank, levels = ar_tree_levels(s->transport->size);
    for (int level = 0; level < levels; level++) {
        int partner = ar_tree_partner(rank, level);
        CM_TRY(swap(s, partner, held(buf, n, partner, level + 1), held(buf, n, rank, level + 1),
                    true));
    }
    for (int level = levels - 1; level >= 0; level--) {
        int partner = ar_tree_partner(rank, level);
        CM_TRY(swap(s, partner, held(buf, n, rank, level + 1), held(buf, n, partner, level + 1),
                    false));
    }
    return CM_OK;
}

cm_status ar_sum_f32(struct ar_summer *s, float *buf, size_t n)
{
    if (s->compress)
        cm_vec_round_bf16(buf, n);
    if (n * sizeof(float) <= SHORT_NBYTES)
        return sum_short(s, buf, n * sizeof(float), s->compress ? add_f32_rounded : add_f32);
    return sum_long(s, buf, n);
}

cm_status ar_sum_f64(struct ar_summer *s, double *buf, size_t n)
{
    return sum_short(s, buf, n * sizeof(double), add_f64);
}

cm_status ar_sum_tail(struct ar_summer *s, struct ar_tail *tail)
{
    return sum_short(s, tail, sizeof *tail, add_tail);
}
