#include "model/eigen.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define MAX_SWEEPS 60 /* converges quadratically: 60 is reached by a NaN only */

/* Rotates rows and columns p and q of a so that a[p][q] becomes 0, and rows p and q of vector. */
static void rotate(double *a, int n, int p, int q, double *vector)
{
    double apq = a[p * n + q];
    double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
    /* The smaller root of t^2 + 2 theta t - 1, which turns by at most 45 degrees. */
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    for (int k = 0; k < n; k++) {
        double akp = a[k * n + p], akq = a[k * n + q];
        a[k * n + p] = c * akp - s * akq;
        a[k * n + q] = s * akp + c * akq;
    }
    for (int k = 0; k < n; k++) {
        double apk = a[p * n + k], aqk = a[q * n + k];
        a[p * n + k] = c * apk - s * aqk;
        a[q * n + k] = s * apk + c * aqk;
        double vpk = vector[p * n + k], vqk = vector[q * n + k];
        vector[p * n + k] = c * vpk - s * vqk;
        vector[q * n + k] = s * vpk + c * vqk;
    }
}

/* Sums of squares above the diagonal and on it. */
static void weigh(const double *a, int n, double *off, double *diagonal)
{
    *off = *diagonal = 0;
    for (int p = 0; p < n; p++) {
        *diagonal += a[p * n + p] * a[p * n + p];
        for (int q = p + 1; q < n; q++)
            *off += a[p * n + q] * a[p * n + q];
    }
}

static void sort_descending(double *value, double *vector, int n)
{
    for (int i = 0; i < n; i++) {
        int best = i;
        for (int k = i + 1; k < n; k++)
            if (value[k] > value[best])
                best = k;
        double v = value[i];
        value[i] = value[best];
        value[best] = v;
        for (int k = 0; best != i && k < n; k++) {
            double x = vector[i * n + k];
            vector[i * n + k] = vector[best * n + k];
            vector[best * n + k] = x;
        }
    }
}

cm_status nn_eigen_symmetric(double *a, int n, double *value, double *vector)
{
    double off, diagonal;
    memset(vector, 0, sizeof *vector * (size_t)n * (size_t)n);
    for (int i = 0; i < n; i++)
        vector[i * n + i] = 1;
    weigh(a, n, &off, &diagonal);
    /* Done when what is left off the diagonal is below the rounding of what is on it. */
    for (int sweep = 0; !(off <= DBL_EPSILON * DBL_EPSILON * diagonal); sweep++) {
        if (sweep == MAX_SWEEPS)
            return CM_FAIL(CM_ENUMERIC, "eigenvalues of a %dx%d matrix: not finite", n, n);
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++)
                if (a[p * n + q] != 0)
                    rotate(a, n, p, q, vector);
        weigh(a, n, &off, &diagonal);
    }
    for (int i = 0; i < n; i++)
        value[i] = a[i * n + i];
    sort_descending(value, vector, n);
    return CM_OK;
}
