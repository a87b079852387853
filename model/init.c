/* Every number is one draw of the counter-based generator, keyed by (seed, tensor number, element):
 * no order of filling, and any element can be computed alone. */
#include "model/init.h"

#include <math.h>
#include <string.h>

#include "common/rng.h"
#include "model/whiten.h"

#define WHITEN_IMAGES 5000 /* as airbench94; more change the filters little and cost seconds */

static void fill(float *w, size_t n, float value)
{
    for (size_t i = 0; i < n; i++)
        w[i] = value;
}

static void fill_uniform(float *w, size_t n, double bound, uint64_t seed, uint32_t tensor)
{
    for (size_t i = 0; i < n; i++) {
        float u = cm_rng_unit(cm_rng_u32(seed, CM_RNG_INIT, tensor, 0, (uint32_t)i));
        w[i] = (float)(bound * (2 * (double)u - 1));
    }
}

/* The first min(in, out) filters pass their channel through: 1 at the centre, as PyTorch's dirac_.
 */
static void set_dirac(float *w, const struct nn_tensor *t)
{
    size_t out = (size_t)t->dim[0], in = (size_t)t->dim[1], k = (size_t)t->dim[2];
    size_t filter = in * k * k;
    for (size_t o = 0; o < out && o < in; o++) {
        memset(w + o * filter, 0, filter * sizeof *w);
        w[o * filter + (o * k + k / 2) * k + k / 2] = 1;
    }
}

/* Sample standard deviation (n - 1 below), as PyTorch's std(), becomes std. */
static cm_status scale_to_std(float *w, const struct nn_tensor *t, double std)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < t->n; i++)
        sum += (double)w[i];
    double mean = sum / (double)t->n;
    for (size_t i = 0; i < t->n; i++)
        squares += ((double)w[i] - mean) * ((double)w[i] - mean);
    if (t->n < 2 || !(squares > 0))
        return CM_FAIL(CM_ECONFIG, "%s: 'init_std' cannot scale a constant tensor", t->name);
    double factor = std / sqrt(squares / (double)(t->n - 1));
    for (size_t i = 0; i < t->n; i++)
        w[i] = (float)((double)w[i] * factor);
    return CM_OK;
}

/* Values that reach one output: PyTorch's fan-in of the node's weight, used for its bias too. */
static double fan_in(const struct nn_tensor *weight)
{
    double fan = 1;
    for (int d = 1; d < weight->ndim; d++)
        fan *= (double)weight->dim[d];
    return fan;
}

static cm_status init_weight(float *w, const struct nn_tensor *t, uint32_t number,
                             const struct nn_spec *spec, uint64_t seed, const uint8_t *images,
                             int64_t n)
{
    const struct nn_node *node = &spec->nodes[t->node];
    if (node->init == NN_INIT_ZERO)
        fill(w, t->n, 0);
    else if (node->kind == NN_BATCHNORM)
        fill(w, t->n, 1);
    else
        fill_uniform(w, t->n, 1 / sqrt(fan_in(t)), seed, number);
    if (node->init == NN_INIT_DIRAC)
        set_dirac(w, t);
    if (node->init == NN_INIT_WHITEN) {
        if (!images || n <= 0)
            return CM_FAIL(CM_ECONFIG, "%s: init 'whiten' needs training images", node->name);
        CM_TRY(nn_whiten_filters(w, node->kernel, spec->input, &spec->preprocess, images,
                                 n < WHITEN_IMAGES ? n : WHITEN_IMAGES));
    }
    return node->init_std > 0 ? scale_to_std(w, t, node->init_std) : CM_OK;
}

cm_status nn_init_weights(float *weights, const struct nn_layout *layout,
                          const struct nn_spec *spec, uint64_t seed, const uint8_t *images,
                          int64_t n)
{
    memset(weights, 0, layout->ntotal * sizeof *weights);
    for (size_t i = 0; i < layout->ntensors; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        bool norm = spec->nodes[t->node].kind == NN_BATCHNORM;
        float *w = weights + t->offset;
        switch (t->role) {
        case NN_WEIGHT:
            CM_TRY(init_weight(w, t, (uint32_t)i, spec, seed, images, n));
            break;
        case NN_BIAS:
            if (!norm) {
                const int *roles = layout->of_node[t->node];
                double fan = fan_in(&layout->tensors[roles[NN_WEIGHT]]);
                fill_uniform(w, t->n, 1 / sqrt(fan), seed, (uint32_t)i);
            }
            break;
        case NN_RUNNING_VAR:
            fill(w, t->n, 1);
            break;
        default: /* biases of norms and running means start at the zeros of the arena */
            break;
        }
    }
    return CM_OK;
}
