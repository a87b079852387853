/* Products of matrices whose sums have one order on every instruction set and GPU (model/muon.h):
 * an element is fused multiply-adds over blocks of NN_MUON_BLOCK factors, and the blocks' sums.
 *
 *   c (m, n)                 b (k, n)
 *   ┌────────────┐           ┌──┬─────────┐
 *   │   ┌──┐ TALL │  +=  a ·  │▒▒│ block   │   the panel of a block, ACROSS columns wide, is packed
 *   │   └──┘      │           └──┴─────────┘   once and stays in the nearest cache for all rows
 *   └────────────┘
 */
#include <math.h>

#include "model/kernels/kernels.h"
#include "model/kernels/vector.h"
#include "model/muon.h"

#if defined(__FMA__)
#include <immintrin.h>
#endif

#define TALL   6
#define ACROSS (2 * NN_W)

NN_INLINE nn_vf fused(nn_vf a, nn_vf b, nn_vf c)
{
#if defined(__AVX512F__)
    return (nn_vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (nn_vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    for (int i = 0; i < NN_W; i++)
        c[i] = fmaf(a[i], b[i], c[i]);
    return c;
#endif
}

struct product {
    float *c;
    const float *a, *b;
    size_t m, k, n;
    bool turned; /* b is (n, k) */
};

/* Rows [first, first + depth) and columns [column, column + ACROSS) of b; zeros beyond its end. */
static void pack(const struct product *p, float *panel, size_t first, size_t depth, size_t column)
{
    for (size_t i = 0; i < depth; i++)
        for (size_t j = 0; j < ACROSS; j++) {
            size_t row = first + i, at = column + j;
            float v = at >= p->n ? 0 : p->turned ? p->b[at * p->k + row] : p->b[row * p->n + at];
            panel[i * ACROSS + j] = v;
        }
}

/* tall is a constant in the inlined copies, so that sum stays in registers. */
NN_INLINE void add_block(const struct product *p, const float *panel, size_t first, size_t depth,
                         size_t row, size_t column, int tall)
{
    nn_vf sum[TALL][2] = {0};
    const float *a = p->a + row * p->k + first;
    for (size_t i = 0; i < depth; i++) {
        nn_vf b0 = nn_load_f32(panel + i * ACROSS, NN_W);
        nn_vf b1 = nn_load_f32(panel + i * ACROSS + NN_W, NN_W);
        for (int r = 0; r < tall; r++) {
            nn_vf factor = nn_splat(a[(size_t)r * p->k + i]);
            sum[r][0] = fused(factor, b0, sum[r][0]);
            sum[r][1] = fused(factor, b1, sum[r][1]);
        }
    }
    for (int r = 0; r < tall; r++)
        for (size_t v = 0; v < 2 && column + v * NN_W < p->n; v++) {
            size_t left = p->n - column - v * NN_W;
            int n = left < NN_W ? (int)left : NN_W;
            float *c = p->c + (row + (size_t)r) * p->n + column + v * NN_W;
            nn_store_f32(c, nn_load_f32(c, n) + sum[r][v], n);
        }
}

static void multiply_any(const struct product *p)
{
    float panel[NN_MUON_BLOCK * ACROSS];
    memset(p->c, 0, p->m * p->n * sizeof *p->c);
    for (size_t first = 0; first < p->k; first += NN_MUON_BLOCK) {
        size_t depth = p->k - first < NN_MUON_BLOCK ? p->k - first : NN_MUON_BLOCK;
        for (size_t column = 0; column < p->n; column += ACROSS) {
            size_t row = 0;
            pack(p, panel, first, depth, column);
            for (; row + TALL <= p->m; row += TALL)
                add_block(p, panel, first, depth, row, column, TALL);
            for (; row < p->m; row++)
                add_block(p, panel, first, depth, row, column, 1);
        }
    }
}

static void multiply(float *c, const float *a, const float *b, size_t m, size_t k, size_t n)
{
    multiply_any(&(struct product){c, a, b, m, k, n, false});
}

static void multiply_turned(float *c, const float *a, const float *b, size_t m, size_t k, size_t n)
{
    multiply_any(&(struct product){c, a, b, m, k, n, true});
}

const struct nn_matrix_kernels NN_ISA(nn_matrix_kernels) = {
    .multiply = multiply,
    .multiply_turned = multiply_turned,
};
