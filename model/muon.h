/* Muon: a matrix's momentum, made orthogonal, is its step. With momentum m and learning rate lr,
 *   g = scale * gradient;  b = m b + g;  u = nesterov ? g + m b : b
 *   X = u / (|u| + 1e-7), transposed where it has more rows than columns
 *   NN_MUON_ITERATIONS times: A = X X^T;  X = 3.4445 X + (-4.7750 A + 2.0315 A A) X
 *   w = w sqrt(rows) / |w| - lr X
 * which takes X's singular values near 1 and leaves its directions. The filters of a convolution
 * are a matrix of (out) rows and (in * kernel * kernel) columns. There is no weight decay: each
 * step gives the weights the same norm. (K. Jordan and others, "Muon", 2024; coefficients, three
 * iterations and the norm as in their airbench94.)
 *
 * All of it is fp32, where airbench takes bf16; norms are double. A product's element is fused
 * multiply-adds over blocks of NN_MUON_BLOCK factors, in order, and the blocks' sums in order; a
 * sum of squares is NN_MUON_LANES interleaved ones and a tree. So every instruction set, thread
 * count, rank and GPU has the same bits. */
#ifndef MODEL_MUON_H
#define MODEL_MUON_H

#include <stddef.h>

#include "common/host_device.h"
#include "model/update.h"

#define NN_MUON_ITERATIONS 3
#define NN_MUON_A          3.4445f
#define NN_MUON_B          (-4.7750f)
#define NN_MUON_C          2.0315f
#define NN_MUON_EPS        1e-7
#define NN_MUON_BLOCK      256
#define NN_MUON_LANES      1024

/* A matrix of the arena that Muon trains. */
struct nn_muon_matrix {
    size_t offset;     /* of its first float */
    size_t rows, cols; /* of the tensor, neighbours in a row */
    int span;          /* its number among the optimiser's coefficients */
};

/* What w and X are multiplied with. */
struct nn_muon_factors {
    float w, x;
};

/* Rows and columns of X. */
CM_HD size_t nn_muon_short(const struct nn_muon_matrix *m)
{
    return m->rows < m->cols ? m->rows : m->cols;
}

CM_HD size_t nn_muon_long(const struct nn_muon_matrix *m)
{
    return m->rows < m->cols ? m->cols : m->rows;
}

/* The place in X of the tensor's element i. */
CM_HD size_t nn_muon_place(const struct nn_muon_matrix *m, size_t i)
{
    return m->rows <= m->cols ? i : i % m->cols * m->rows + i / m->cols;
}

/* u of one element; *b is its momentum. */
CM_HD float nn_muon_momentum(const struct nn_coefficients *c, float scale, float gradient, float *b)
{
    float g = scale * gradient;
    *b = c->momentum * *b + g;
    return c->nesterov ? g + c->momentum * *b : *b;
}

/* From the sums of squares of w and of u; a tensor of zeros stays so. */
CM_HD struct nn_muon_factors nn_muon_factors_of(size_t rows, double w, double u)
{
    struct nn_muon_factors f;
    f.w = w > 0 ? (float)(sqrt((double)rows) / sqrt(w)) : 1.0f;
    f.x = (float)(1 / (sqrt(u) + NN_MUON_EPS));
    return f;
}

/* An element of the matrix that X is multiplied with, of those of A and A A. */
CM_HD float nn_muon_polynomial(float a, float square)
{
    return NN_MUON_B * a + NN_MUON_C * square;
}

/* On the host: floats of space that a step of the matrix needs. */
size_t nn_muon_space(const struct nn_muon_matrix *m);
/* One step. w, g, b: whole arenas of weights, gradients and momentum. Any thread, with a space of
 * its own. */
void nn_muon_step(const struct nn_muon_matrix *m, const struct nn_coefficients *c, float scale,
                  float *w, const float *g, float *b, float *space);

#endif
