#include "model/muon.h"

#include <string.h>

#include "model/kernels/kernels.h"

static double sum_squares(const float *x, size_t n)
{
    double lane[NN_MUON_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % NN_MUON_LANES] += (double)x[i] * (double)x[i];
    for (size_t half = NN_MUON_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

size_t nn_muon_space(const struct nn_muon_matrix *m)
{
    size_t r = nn_muon_short(m), c = nn_muon_long(m);
    return 2 * r * c + 2 * r * r;
}

/* X (r, c) becomes next, and the other way round. */
static void iterate(const struct nn_matrix_kernels *k, size_t r, size_t c, float **x, float **next,
                    float *a, float *square)
{
    k->multiply_turned(a, *x, *x, r, c, r);
    k->multiply(square, a, a, r, r, r);
    for (size_t i = 0; i < r * r; i++)
        a[i] = nn_muon_polynomial(a[i], square[i]);
    k->multiply(*next, a, *x, r, r, c);
    for (size_t i = 0; i < r * c; i++)
        (*next)[i] = NN_MUON_A * (*x)[i] + (*next)[i];
    float *old = *x;
    *x = *next;
    *next = old;
}

void nn_muon_step(const struct nn_muon_matrix *m, const struct nn_coefficients *c, float scale,
                  float *w, const float *g, float *b, float *space)
{
    const struct nn_matrix_kernels *kernels = nn_kernels_best()->matrix;
    size_t rows = nn_muon_short(m), cols = nn_muon_long(m), n = rows * cols;
    float *x = space, *next = space + n, *a = next + n, *square = a + rows * rows;
    w += m->offset;
    g += m->offset;
    b += m->offset;
    for (size_t i = 0; i < n; i++)
        x[nn_muon_place(m, i)] = nn_muon_momentum(c, scale, g[i], &b[i]);
    struct nn_muon_factors f = nn_muon_factors_of(m->rows, sum_squares(w, n), sum_squares(x, n));
    for (size_t i = 0; i < n; i++)
        x[i] *= f.x;
    for (int i = 0; i < NN_MUON_ITERATIONS; i++)
        iterate(kernels, rows, cols, &x, &next, a, square);
    for (size_t i = 0; i < n; i++)
        w[i] = w[i] * f.w - c->lr * x[nn_muon_place(m, i)];
}
