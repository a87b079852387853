/* After the sums have arrived: are they finite, how far do they carry, and the statistics in them.
 * The gradients of the parameters and the sums of the statistics share an arena, in the order in
 * which backward finishes them. */
#include <math.h>

#include "common/vec.h"
#include "trainer/engine_private.h"

static bool is_statistic(const struct nn_tensor *t)
{
    return t->role == NN_RUNNING_MEAN || t->role == NN_RUNNING_VAR;
}

/* The tensor of that arena that is not finite and that forward meets first; NULL: none. */
static const char *first_forward(const struct nn_layout *layout, const float *arena,
                                 bool statistics_only)
{
    const struct nn_tensor *first = NULL;
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        if ((statistics_only && !is_statistic(t)) || (first && first->node <= t->node))
            continue;
        if (!cm_vec_finite(arena + t->offset, t->n))
            first = t;
    }
    return first ? first->name : NULL;
}

/* As backward meets them: the arena's order. */
static const char *first_backward(const struct nn_layout *layout, const float *gradients)
{
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        if (!is_statistic(t) && !cm_vec_finite(gradients + t->offset, t->n))
            return t->name;
    }
    return NULL;
}

/* The weight that is the largest, and its tensor: where activations overflow though every weight is
 * finite, it is there or close behind. */
static const char *largest_weight(const struct nn_layout *layout, const float *weights,
                                  float *largest)
{
    const char *name = "none";
    *largest = 0;
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        float most = is_statistic(t) ? 0 : cm_vec_abs_max(weights + t->offset, t->n);
        if (most > *largest) {
            *largest = most;
            name = t->name;
        }
    }
    return name;
}

/* A bad weight spoils every activation behind it, those the loss, and the loss every gradient: so
 * the cause is looked for in that order. */
cm_status tr_gradient_check(const struct tr_engine *e, int64_t step, double loss)
{
    const struct nn_layout *layout = e->cfg.layout;
    if (isfinite(loss) && cm_vec_finite(e->gradients, layout->ntotal))
        return CM_OK;
    const char *kind = "weight", *where = first_forward(layout, e->weights, false);
    if (!where) {
        kind = "batch statistic";
        where = first_forward(layout, e->gradients, true);
    }
    if (!where) {
        kind = "gradient";
        where = first_backward(layout, e->gradients);
    }
    float largest;
    const char *in = largest_weight(layout, e->weights, &largest);
    cm_status st =
        CM_FAIL(CM_ENUMERIC,
                "step %lld: loss %g, first %s that is not finite: %s; largest weight: "
                "%g in %s; lower train.lr or set train.clip_norm",
                (long long)step, loss, kind, where ? where : "none", (double)largest, in);
    return ar_group_alike(e->cfg.group, st);
}

const char *tr_engine_steepest(struct tr_engine *e)
{
    if (tr_engine_fetch(e) != CM_OK)
        return "unknown";
    const struct nn_layout *layout = e->cfg.layout;
    const char *name = "none";
    double most = 0;
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        if (!t->trained)
            continue;
        double weights = cm_vec_sum_squares(e->weights + t->offset, t->n);
        if (!isfinite(weights))
            return t->name;
        double steepness = cm_vec_sum_squares(e->gradients + t->offset, t->n) / (weights + 1e-30);
        if (steepness > most) {
            most = steepness;
            name = t->name;
        }
    }
    return name;
}

double tr_gradient_scale(const struct tr_engine *e, double count, double *norm)
{
    const struct tr_train_config *train = e->cfg.train;
    double scale = train->reduction == 0 ? 1 / count : 1;
    *norm = (double)NAN;
    if (train->clip_norm > 0) {
        *norm = scale * sqrt(cm_vec_sum_squares(e->gradients, e->cfg.layout->nparam));
        if (*norm > train->clip_norm)
            scale *= train->clip_norm / *norm;
    }
    return scale;
}

/* running = (1 - m) running + m * (count-weighted mean over the shards) */
void tr_gradient_statistics(struct tr_engine *e, double count)
{
    const struct nn_layout *layout = e->cfg.layout;
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        if (!is_statistic(t))
            continue;
        double m = e->cfg.spec->nodes[t->node].momentum;
        cm_vec_axpby(e->weights + t->offset, (float)(m / count), e->gradients + t->offset,
                     (float)(1 - m), t->n);
    }
}
