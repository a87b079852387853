/* One element's update by an optimiser, as PyTorch defines them (torch.optim, version 2), in fp32:
 *   g = scale * gradient + l1 sign(w) + decay w;  w *= shrink;  then, with learning rate lr
 *   sgd      b = momentum b + g;  w -= lr (nesterov ? g + momentum b : b)
 *   adam     m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
 *            w -= lr (m correct1) / (sqrt(v correct2) + eps)
 *   rmsprop  v = b2 v + (1 - b2) g^2;  u = g / (sqrt(v) + eps);  with momentum b = momentum b + u,
 *            u = b;  w -= lr u
 *   adagrad  v = v + g^2;  w -= lr g / (sqrt(v) + eps)
 * decay is for weight decay in the gradient (L2), shrink = 1 - lr decay for the decoupled kind.
 * CPU and GPU run this text, without contraction to fused multiply-adds: the same bits. */
#ifndef MODEL_UPDATE_H
#define MODEL_UPDATE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/host_device.h"

/* NN_MUON: sgd, but for the spans that muon.h has. */
enum nn_optimizer { NN_SGD, NN_ADAM, NN_RMSPROP, NN_ADAGRAD, NN_MUON };

/* What all elements of a span share in one step; worked out in double, once. */
struct nn_coefficients {
    float lr, decay, shrink, l1;
    float momentum, beta1, beta2, eps;
    float correct1, correct2; /* adam: 1 / (1 - b1^t), 1 / (1 - b2^t) */
    int nesterov;
    int frozen; /* the span is left alone */
    int muon;   /* it is a matrix of muon.h: lr, momentum, nesterov and frozen count */
};

/* w, and the optimiser's own numbers of the element: adam's m and v, rmsprop's v and b; sgd's b and
 * adagrad's v are first. momentum 0 leaves b alone, whatever it holds. */
struct nn_element {
    float w, first, second;
};

CM_HD float nn_update_gradient(const struct nn_coefficients *c, float scale, float g, float w)
{
    float sign = (float)((w > 0) - (w < 0));
    return scale * g + c->l1 * sign + c->decay * w;
}

CM_HD struct nn_element nn_update_sgd(const struct nn_coefficients *c, bool momentum, float scale,
                                      float gradient, struct nn_element e)
{
    float g = nn_update_gradient(c, scale, gradient, e.w);
    float step = g;
    if (momentum) {
        e.first = c->momentum * e.first + g;
        step = c->nesterov ? g + c->momentum * e.first : e.first;
    }
    e.w = e.w * c->shrink - c->lr * step;
    return e;
}

CM_HD struct nn_element nn_update_adam(const struct nn_coefficients *c, float scale, float gradient,
                                       struct nn_element e)
{
    float g = nn_update_gradient(c, scale, gradient, e.w);
    e.first = c->beta1 * e.first + (1 - c->beta1) * g;
    e.second = c->beta2 * e.second + (1 - c->beta2) * (g * g);
    float denominator = sqrtf(e.second * c->correct2) + c->eps;
    e.w = e.w * c->shrink - c->lr * (e.first * c->correct1) / denominator;
    return e;
}

CM_HD struct nn_element nn_update_rmsprop(const struct nn_coefficients *c, bool momentum,
                                          float scale, float gradient, struct nn_element e)
{
    float g = nn_update_gradient(c, scale, gradient, e.w);
    e.first = c->beta2 * e.first + (1 - c->beta2) * (g * g);
    float step = g / (sqrtf(e.first) + c->eps);
    if (momentum) {
        e.second = c->momentum * e.second + step;
        step = e.second;
    }
    e.w = e.w * c->shrink - c->lr * step;
    return e;
}

CM_HD struct nn_element nn_update_adagrad(const struct nn_coefficients *c, float scale,
                                          float gradient, struct nn_element e)
{
    float g = nn_update_gradient(c, scale, gradient, e.w);
    e.first += g * g;
    e.w = e.w * c->shrink - c->lr * g / (sqrtf(e.first) + c->eps);
    return e;
}

#endif
