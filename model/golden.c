#include "model/golden.h"

#include <math.h>

static double tolerance_of(enum nn_dtype dtype)
{
    switch (dtype) {
    case NN_F16:
        return 2e-2;
    case NN_BF16:
        return 5e-2;
    case NN_F32:
    case NN_F64:
        break;
    }
    return 1e-3;
}

static int top_class(const float *logits, int classes)
{
    int top = 0;
    for (int c = 1; c < classes; c++)
        if (logits[c] > logits[top])
            top = c;
    return top;
}

static float margin_of_top(const float *logits, int classes)
{
    int top = top_class(logits, classes);
    float second = -INFINITY;
    for (int c = 0; c < classes; c++)
        if (c != top && logits[c] > second)
            second = logits[c];
    return logits[top] - second;
}

cm_status nn_golden_check(const float *want, const float *got, int n, int classes,
                          enum nn_dtype dtype)
{
    double largest = 0, worst = 0;
    int worst_image = 0;
    for (int i = 0; i < n * classes; i++) {
        if (!isfinite(got[i]) || !isfinite(want[i]))
            return CM_FAIL(CM_ENUMERIC, "golden image %d: logit %d is %g, expected %g", i / classes,
                           i % classes, (double)got[i], (double)want[i]);
        double difference = fabs((double)got[i] - (double)want[i]);
        if (difference > worst) {
            worst = difference;
            worst_image = i / classes;
        }
        largest = fmax(largest, fabs((double)want[i]));
    }
    double bound = tolerance_of(dtype) * largest;
    if (worst > bound)
        return CM_FAIL(CM_EMISMATCH,
                       "golden image %d: a logit is off by %g, allowed are %g (%s): other weights, "
                       "preprocessing or arithmetic than the trainer's",
                       worst_image, worst, bound, nn_dtype_name(dtype));
    for (int i = 0; i < n; i++) {
        const float *w = want + i * classes, *g = got + i * classes;
        if ((double)margin_of_top(w, classes) > 2 * bound &&
            top_class(w, classes) != top_class(g, classes))
            return CM_FAIL(CM_EMISMATCH, "golden image %d: class %d, expected %d", i,
                           top_class(g, classes), top_class(w, classes));
    }
    return CM_OK;
}
