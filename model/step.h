/* The values of one training step, in one struct that lives where the step computes. On a device
 * the host only copies `in` before the step and fetches `out` when it has time: learning rates,
 * loss scale, the verdict on NaN and the factor on the gradient never wait for it, and a captured
 * step can be launched again, since the struct's address is all that it knows. Once stopped, steps
 * that were begun meanwhile change nothing: the one that stopped can be computed again.
 *
 *   in (host) ─► input … backward ─► sums over ranks ─► nn_step_decide ─► update ─► out (host) */
#ifndef MODEL_STEP_H
#define MODEL_STEP_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/host_device.h"
#include "model/op.h"

/* fp16's dynamic loss scale. 0: off (fp32, bf16), the scale is 1 and a number that is not finite
 * stops the run. Else the gradient is times scale: a step whose gradients are not finite is left
 * out and halves it, and NN_SCALE_GROWTH clean ones double it. A loss is not scaled, and a scale of
 * 1 is none: what is not finite then stops the run, too. The first is what 65536, the usual one,
 * gives each image where the loss is a mean over 512 of them: here it is their sum, and 65536 would
 * be past fp16's largest number, so that a run began with steps that are left out. */
#define NN_SCALE_FIRST  128.0f
#define NN_SCALE_MOST   16777216.0f
#define NN_SCALE_GROWTH 2000

struct nn_step_in {
    int64_t step;   /* of the run, from 0 */
    uint32_t epoch; /* of its samples */
    uint32_t first; /* position in the epoch of the global batch's first image */
};

/* What goes from step to step, part of a checkpoint. */
struct nn_step_state {
    float loss_scale; /* 0: off */
    int32_t clean;    /* steps since the scale last changed */
    int64_t skipped;  /* steps left out */
    int32_t stopped;  /* the run went wrong, not the scale: nothing is updated any more */
    int32_t unused;
};

struct nn_step_out {
    int64_t step;
    double loss; /* sum over the images of the global batch */
    int64_t correct, count;
    double norm;  /* of the gradient that was applied, before clipping */
    float scale;  /* on the gradient */
    int32_t skip; /* 1: nothing was updated */
};

struct nn_step_values {
    struct nn_step_in in;
    struct nn_step_state state;
    struct nn_step_out out;
};

/* What the decision needs besides. */
struct nn_step_rule {
    int mean;         /* the gradient is divided by the images */
    double clip_norm; /* 0: none */
};

/* What the loss's gradient is multiplied with. */
CM_HD float nn_step_loss_scale(const struct nn_step_values *v)
{
    return v && v->state.loss_scale > 0 ? v->state.loss_scale : 1.0f;
}

CM_HD void nn_step_adapt_scale(struct nn_step_state *s, bool finite)
{
    if (s->loss_scale <= 0)
        return;
    if (!finite) {
        s->loss_scale = s->loss_scale > 1 ? s->loss_scale * 0.5f : 1;
        s->clean = 0;
        s->skipped++;
    } else if (++s->clean == NN_SCALE_GROWTH) {
        s->loss_scale = s->loss_scale < NN_SCALE_MOST ? s->loss_scale * 2 : NN_SCALE_MOST;
        s->clean = 0;
    }
}

/* After the sums over all ranks: sum = loss, correct, images; squares = sum of squares of the
 * parameters' gradients and of the statistics, whose finiteness is that of every element (a double
 * holds the square of any float). All ranks have the same sums, so all decide alike. */
CM_HD void nn_step_decide(struct nn_step_values *v, const struct nn_step_rule *rule,
                          const double sum[3], const double squares[2])
{
    double unscale = 1 / (double)nn_step_loss_scale(v);
    double scale = rule->mean ? 1 / sum[2] : 1;
    bool finite = isfinite(sum[0]) && isfinite(squares[0]) && isfinite(squares[1]);
    v->out.step = v->in.step;
    v->out.loss = sum[0];
    v->out.correct = (int64_t)sum[1];
    v->out.count = (int64_t)sum[2];
    scale *= unscale;
    v->out.norm = scale * sqrt(squares[0]);
    if (rule->clip_norm > 0 && v->out.norm > rule->clip_norm)
        scale *= rule->clip_norm / v->out.norm;
    v->out.scale = (float)scale;
    if (!finite && (!isfinite(sum[0]) || nn_step_loss_scale(v) <= 1))
        v->state.stopped = 1;
    v->out.skip = !finite || v->state.stopped;
    if (!v->state.stopped)
        nn_step_adapt_scale(&v->state, finite);
}

#endif
