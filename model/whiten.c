#include "model/whiten.h"

#include <math.h>

#include "common/mem.h"
#include "model/eigen.h"

#define LANES            8    /* of a sum: one alone would wait for each addition */
#define EIGENVALUE_FLOOR 5e-4 /* keeps noise in flat directions from being blown up */

/* (H, W, C) bytes to normalised (C, H, W). */
static void normalise(double *plane, const uint8_t *image, struct nn_shape s,
                      const struct nn_preprocess *pre)
{
    size_t pixels = (size_t)s.h * (size_t)s.w;
    for (int c = 0; c < s.c; c++) {
        double of_byte[256];
        for (int b = 0; b < 256; b++)
            of_byte[b] = (b / 255.0 - (double)pre->mean[c]) / (double)pre->std[c];
        for (size_t i = 0; i < pixels; i++)
            plane[(size_t)c * pixels + i] = of_byte[image[i * (size_t)s.c + (size_t)c]];
    }
}

/* Sum over all patches of one image of (value a of the patch) * (value b of the patch). */
static double patch_product(const double *plane, struct nn_shape s, int kernel, int a, int b)
{
    int area = kernel * kernel, rows = s.h - kernel + 1, columns = s.w - kernel + 1;
    double lane[LANES] = {0}, sum = 0;
    for (int i = 0; i < rows; i++) {
        const double *pa = plane + ((a / area) * s.h + i + a % area / kernel) * s.w + a % kernel;
        const double *pb = plane + ((b / area) * s.h + i + b % area / kernel) * s.w + b % kernel;
        int j = 0;
        for (; j + LANES <= columns; j += LANES)
            for (int k = 0; k < LANES; k++)
                lane[k] += pa[j + k] * pb[j + k];
        for (; j < columns; j++)
            sum += pa[j] * pb[j];
    }
    for (int k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

static void second_moments(double *moment, double *plane, int kernel, struct nn_shape s,
                           const struct nn_preprocess *pre, const uint8_t *images, int64_t n)
{
    int d = s.c * kernel * kernel;
    double patches = (double)n * (s.h - kernel + 1) * (s.w - kernel + 1);
    for (int64_t i = 0; i < n; i++) {
        normalise(plane, images + (size_t)i * nn_shape_count(s), s, pre);
        for (int a = 0; a < d; a++)
            for (int b = 0; b <= a; b++)
                moment[a * d + b] += patch_product(plane, s, kernel, a, b);
    }
    for (int a = 0; a < d; a++)
        for (int b = 0; b <= a; b++)
            moment[b * d + a] = moment[a * d + b] /= patches;
}

cm_status nn_whiten_filters(float *weight, int kernel, struct nn_shape shape,
                            const struct nn_preprocess *pre, const uint8_t *images, int64_t n)
{
    int d = shape.c * kernel * kernel;
    size_t square = (size_t)d * (size_t)d;
    double *moment = NULL, *plane = NULL;
    cm_status st;
    CM_TRY(cm_alloc(&moment, 2 * square + (size_t)d, sizeof *moment, "patch moments"));
    double *vector = moment + square, *value = vector + square;
    CM_GOTO(st, cm_alloc(&plane, nn_shape_count(shape), sizeof *plane, "normalised image"), out);
    second_moments(moment, plane, kernel, shape, pre, images, n);
    CM_GOTO(st, nn_eigen_symmetric(moment, d, value, vector), out);
    for (int i = 0; i < d; i++) {
        /* Rounding may leave an eigenvalue of nothing a little below zero. */
        double length = sqrt((value[i] > 0 ? value[i] : 0) + EIGENVALUE_FLOOR);
        for (int k = 0; k < d; k++) {
            weight[i * d + k] = (float)(vector[i * d + k] / length);
            weight[(d + i) * d + k] = -weight[i * d + k];
        }
    }
out:
    cm_free(&plane);
    cm_free(&moment);
    return st;
}
