/* Muon against its definition in double, against what it is for (singular values near 1, the same
 * directions), and against itself: the same bits on every instruction set. */
#include "model/muon.h"

#include <math.h>
#include <string.h>

#include "common/mem.h"
#include "common/rng.h"
#include "model/eigen.h"
#include "model/kernels/kernels.h"
#include "tests/unit/expect.h"

#define MOST 40000

/* Wide, tall, square; sums of one block of factors, of two, and of a part. */
static const struct nn_muon_matrix shapes[] = {
    {.rows = 7, .cols = 27},  {.rows = 27, .cols = 7},    {.rows = 16, .cols = 16},
    {.rows = 1, .cols = 9},   {.rows = 64, .cols = 600},  {.rows = 300, .cols = 20},
    {.rows = 70, .cols = 70}, {.rows = 260, .cols = 131},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static const struct nn_coefficients usual = {.lr = 0.24f, .momentum = 0.6f, .nesterov = 1};

static float number(uint32_t stream, size_t i)
{
    struct cm_rng4 r = cm_rng_block(3, CM_RNG_INIT, stream, 0, (uint32_t)i);
    return (float)cm_rng_normal(r.v[0], r.v[1]);
}

struct state {
    float w[MOST], g[MOST], b[MOST];
};

static struct state *new_state(size_t n)
{
    struct state *s;
    expect_ok(cm_alloc(&s, 1, sizeof *s, "test"));
    for (size_t i = 0; i < n; i++) {
        s->w[i] = 0.1f * number(1, i);
        s->g[i] = 5 * number(2, i);
        s->b[i] = number(3, i);
    }
    return s;
}

static void step(const struct nn_muon_matrix *m, const struct nn_coefficients *c, float scale,
                 struct state *s)
{
    float *space;
    expect_ok(cm_alloc_aligned(&space, nn_muon_space(m), sizeof *space, "test"));
    nn_muon_step(m, c, scale, s->w, s->g, s->b, space);
    cm_free(&space);
}

/* ---- the definition, in double; it knows no transposition, which changes nothing ---- */

static double *matrix(size_t n)
{
    double *p;
    expect_ok(cm_alloc(&p, n, sizeof *p, "test"));
    return p;
}

/* c (m, n) = a (m, k) b, b (k, n) or, turned, (n, k) */
static void multiply(double *c, const double *a, const double *b, size_t m, size_t k, size_t n,
                     bool turned)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += a[i * k + l] * (turned ? b[j * k + l] : b[l * n + j]);
            c[i * n + j] = sum;
        }
}

static void orthogonalise(double *x, size_t rows, size_t cols)
{
    double *a = matrix(rows * rows), *aa = matrix(rows * rows), *ax = matrix(rows * cols), norm = 0;
    for (size_t i = 0; i < rows * cols; i++)
        norm += x[i] * x[i];
    for (size_t i = 0; i < rows * cols; i++)
        x[i] /= sqrt(norm) + 1e-7;
    for (int k = 0; k < 3; k++) {
        multiply(a, x, x, rows, cols, rows, true);
        multiply(aa, a, a, rows, rows, rows, false);
        for (size_t i = 0; i < rows * rows; i++)
            a[i] = -4.7750 * a[i] + 2.0315 * aa[i];
        multiply(ax, a, x, rows, rows, cols, false);
        for (size_t i = 0; i < rows * cols; i++)
            x[i] = 3.4445 * x[i] + ax[i];
    }
    cm_free(&a);
    cm_free(&aa);
    cm_free(&ax);
}

static void a_step_is_its_definition(void **state)
{
    (void)state;
    double worst = 0;
    for (size_t k = 0; k < 2 * SHAPES; k++) {
        const struct nn_muon_matrix *m = &shapes[k / 2];
        struct nn_coefficients c = usual;
        size_t n = m->rows * m->cols;
        struct state *s = new_state(n);
        double *x = matrix(n), *w = matrix(n), norm = 0;
        c.nesterov = k % 2;
        for (size_t i = 0; i < n; i++) {
            double g = 0.25 * (double)s->g[i];
            w[i] = (double)s->b[i] * 0.6 + g;
            x[i] = c.nesterov ? g + 0.6 * w[i] : w[i];
            norm += (double)s->w[i] * (double)s->w[i];
        }
        orthogonalise(x, m->rows, m->cols);
        double *momentum = matrix(n);
        for (size_t i = 0; i < n; i++) {
            momentum[i] = w[i];
            w[i] = (double)s->w[i] * sqrt((double)m->rows) / sqrt(norm) - 0.24 * x[i];
        }
        step(m, &c, 0.25f, s);
        for (size_t i = 0; i < n; i++) {
            assert_true(fabs((double)s->b[i] - momentum[i]) < 1e-5);
            worst = fmax(worst, fabs((double)s->w[i] - w[i]));
        }
        cm_free(&x);
        cm_free(&w);
        cm_free(&momentum);
        cm_free(&s);
    }
    printf("steps within %.2g of double's\n", worst);
    assert_true(worst < 2e-5);
}

/* From a gradient with singular values of 1 … 1/8 (those of one length have other lengths after
 * it), without momentum and weights: the step alone. Its singular values are near 1, as three
 * iterations of these coefficients leave them, and it points where the gradient does. */
static void singular_values_come_near_one(void **state)
{
    (void)state;
    enum { R = 12, C = 40 };
    const struct nn_muon_matrix m = {.rows = R, .cols = C};
    const struct nn_coefficients c = {.lr = 1};
    double gram[R * R], value[R], vector[R * R], along = 0;
    struct state *s = new_state(R * C), *before;
    for (size_t row = 0; row < R; row++)
        for (size_t i = 0; i < C; i++)
            s->g[row * C + i] *= powf(0.83f, (float)row);
    memset(s->w, 0, sizeof s->w);
    expect_ok(cm_alloc(&before, 1, sizeof *before, "test"));
    *before = *s;
    step(&m, &c, 1, s);
    for (size_t i = 0; i < R; i++)
        for (size_t j = 0; j < R; j++) {
            gram[i * R + j] = 0;
            for (size_t k = 0; k < C; k++)
                gram[i * R + j] += (double)s->w[i * C + k] * (double)s->w[j * C + k];
        }
    for (size_t i = 0; i < R * C; i++)
        along -= (double)s->w[i] * (double)before->g[i];
    expect_ok(nn_eigen_symmetric(gram, R, value, vector));
    printf("singular values %.3f … %.3f\n", sqrt(value[R - 1]), sqrt(value[0]));
    assert_true(sqrt(value[0]) < 1.25 && sqrt(value[R - 1]) > 0.65);
    assert_true(along > 0);
    cm_free(&s);
    cm_free(&before);
}

static void scale_of_the_gradient_does_not_matter(void **state)
{
    (void)state;
    const struct nn_coefficients c = {.lr = 0.1f};
    struct state *a = new_state(7 * 27), *b = new_state(7 * 27);
    step(&shapes[0], &c, 1, a);
    step(&shapes[0], &c, 4096, b); /* a power of two, so only the epsilon differs */
    for (size_t i = 0; i < 7 * 27; i++)
        assert_true(fabs((double)a->w[i] - (double)b->w[i]) < 1e-6);
    cm_free(&a);
    cm_free(&b);
}

static void nothing_comes_of_nothing(void **state)
{
    (void)state;
    struct state *s = new_state(7 * 27);
    memset(s, 0, sizeof *s);
    step(&shapes[0], &usual, 1, s);
    for (size_t i = 0; i < 7 * 27; i++)
        assert_true(s->w[i] == 0 && s->b[i] == 0);
    cm_free(&s);
}

/* A step touches its own matrix of the arenas only. */
static void neighbours_are_left_alone(void **state)
{
    (void)state;
    struct nn_muon_matrix m = {.offset = 100, .rows = 7, .cols = 27};
    struct state *s = new_state(1000), *before = new_state(1000);
    step(&m, &usual, 1, s);
    for (size_t i = 0; i < 1000; i++) {
        bool own = i >= 100 && i < 100 + 7 * 27;
        assert_true(own != (s->w[i] == before->w[i]));
        assert_true(own != (s->b[i] == before->b[i]));
    }
    cm_free(&s);
    cm_free(&before);
}

/* ---- the products ---- */

static void every_instruction_set_has_the_same_products(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {{1, 1, 1},   {6, 256, 16}, {13, 257, 33},
                                      {5, 700, 7}, {64, 64, 64}, {20, 3, 70}};
    static float a[64 * 700], b[70 * 700], want[64 * 70], got[64 * 70];
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
        a[i] = number(5, i);
    for (size_t i = 0; i < sizeof b / sizeof *b; i++)
        b[i] = number(6, i);
    for (size_t s = 0; s < 2 * (sizeof sizes / sizeof *sizes); s++) {
        size_t m = sizes[s / 2][0], k = sizes[s / 2][1], n = sizes[s / 2][2];
        bool turned = s % 2;
        for (size_t i = 0; i < m * n; i++) { /* the contract, in words of its own */
            want[i] = 0;
            for (size_t first = 0; first < k; first += NN_MUON_BLOCK) {
                float sum = 0;
                for (size_t l = first; l < k && l < first + NN_MUON_BLOCK; l++)
                    sum = fmaf(a[i / n * k + l], turned ? b[i % n * k + l] : b[l * n + i % n], sum);
                want[i] += sum;
            }
        }
        for (int set = 0; set < NN_KERNELS_COUNT; set++) {
            const struct nn_kernels *kernels = &nn_kernels_all[set];
            if (!kernels->supported())
                continue;
            memset(got, 0x5a, sizeof got);
            (turned ? kernels->matrix->multiply_turned : kernels->matrix->multiply)(got, a, b, m, k,
                                                                                    n);
            if (memcmp(got, want, m * n * sizeof *got) != 0)
                fail_msg("%s: (%zu, %zu) times (%zu, %zu)%s", kernels->isa, m, k, k, n,
                         turned ? ", turned" : "");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_is_its_definition),
        cmocka_unit_test(singular_values_come_near_one),
        cmocka_unit_test(scale_of_the_gradient_does_not_matter),
        cmocka_unit_test(nothing_comes_of_nothing),
        cmocka_unit_test(neighbours_are_left_alone),
        cmocka_unit_test(every_instruction_set_has_the_same_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
