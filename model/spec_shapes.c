/* Shapes: what each node makes of its input, and the faults that show when two do not fit. */
#include <inttypes.h>

#include "common/mem.h"
#include "model/spec_keys.h"

/* Features of one image; far below what would overflow a size_t with any batch. */
#define MAX_FEATURES (INT64_C(1) << 30)

const char *nn_spec_input_name(const struct nn_spec *spec, int input)
{
    return input == NN_INPUT ? "input" : spec->nodes[input].name;
}

static struct nn_shape input_shape(const struct nn_spec *spec, int input)
{
    return input == NN_INPUT ? spec->input : spec->nodes[input].shape;
}

/* Side after sliding a window; CM_ESHAPE when the window is larger than the padded side. */
static cm_status slide(int *out, int side, const struct nn_node *node, const char *where)
{
    if (side + 2 * node->pad < node->kernel)
        return CM_FAIL(CM_ESHAPE, "%s: %s: kernel %d is larger than its padded input of %d", where,
                       node->name, node->kernel, side + 2 * node->pad);
    *out = (side + 2 * node->pad - node->kernel) / node->stride + 1;
    return CM_OK;
}

static cm_status infer_window(struct nn_node *node, struct nn_shape in, const char *where)
{
    if (node->kind == NN_AVGPOOL && node->kernel == 0) {
        if (node->pad != 0)
            return CM_FAIL(CM_EFORMAT, "%s: %s: a global average pool takes no 'pad'", where,
                           node->name);
        node->shape = (struct nn_shape){in.c, 1, 1};
        return CM_OK;
    }
    if (node->kind != NN_CONV && 2 * node->pad > node->kernel)
        return CM_FAIL(CM_ESHAPE, "%s: %s: pad %d is more than half the kernel %d", where,
                       node->name, node->pad, node->kernel);
    node->shape.c = node->kind == NN_CONV ? node->out : in.c;
    CM_TRY(slide(&node->shape.h, in.h, node, where));
    return slide(&node->shape.w, in.w, node, where);
}

static cm_status check_whiten(const struct nn_node *node, struct nn_shape in, const char *where)
{
    int64_t patch = (int64_t)in.c * node->kernel * node->kernel;
    if (node->input[0] != NN_INPUT)
        return CM_FAIL(CM_EFORMAT, "%s: %s: init 'whiten' needs the image as input", where,
                       node->name);
    if (node->out != 2 * patch)
        return CM_FAIL(CM_ESHAPE,
                       "%s: %s: init 'whiten' makes %" PRId64
                       " filters (twice the patch of %" PRId64 " values), 'out' says %d",
                       where, node->name, 2 * patch, patch, node->out);
    return CM_OK;
}

static cm_status infer_add(struct nn_spec *spec, struct nn_node *node, const char *where)
{
    struct nn_shape a = input_shape(spec, node->input[0]), b = input_shape(spec, node->input[1]);
    if (a.c != b.c || a.h != b.h || a.w != b.w)
        return CM_FAIL(CM_ESHAPE, "%s: %s: '%s' gives %dx%dx%d, '%s' gives %dx%dx%d", where,
                       node->name, nn_spec_input_name(spec, node->input[0]), a.c, a.h, a.w,
                       nn_spec_input_name(spec, node->input[1]), b.c, b.h, b.w);
    node->shape = a;
    return CM_OK;
}

/* 'in_features' of a linear counts features, 'in_channels' of the others channels. */
static cm_status check_declared(const struct nn_spec *spec, const struct nn_node *node,
                                struct nn_shape in, int64_t declared, const char *where)
{
    bool linear = node->kind == NN_LINEAR;
    if (declared < 0 || declared == in.c)
        return CM_OK;
    return CM_FAIL(CM_ESHAPE, "%s: %s: %s gives %d %s, '%s' says %" PRId64, where, node->name,
                   nn_spec_input_name(spec, node->input[0]), in.c, linear ? "features" : "channels",
                   linear ? "in_features" : "in_channels", declared);
}

cm_status nn_spec_infer(struct nn_spec *spec, int i, int64_t in_features, const char *where)
{
    struct nn_node *node = &spec->nodes[i];
    struct nn_shape in = input_shape(spec, node->input[0]);
    switch (node->kind) {
    case NN_CONV:
    case NN_MAXPOOL:
    case NN_AVGPOOL:
        CM_TRY(infer_window(node, in, where));
        break;
    case NN_LINEAR:
        if (in.h != 1 || in.w != 1)
            return CM_FAIL(CM_ESHAPE,
                           "%s: %s: '%s' gives %dx%dx%d, a linear needs a flatten before"
                           " it",
                           where, node->name, nn_spec_input_name(spec, node->input[0]), in.c, in.h,
                           in.w);
        node->shape = (struct nn_shape){node->out, 1, 1};
        break;
    case NN_FLATTEN:
        if ((int64_t)in.c * in.h * in.w > MAX_FEATURES)
            return CM_FAIL(CM_ESHAPE, "%s: %s: %dx%dx%d are too many features", where, node->name,
                           in.c, in.h, in.w);
        node->shape = (struct nn_shape){in.c * in.h * in.w, 1, 1};
        break;
    case NN_ADD:
        CM_TRY(infer_add(spec, node, where));
        break;
    default:
        node->shape = in;
        break;
    }
    if (node->init == NN_INIT_WHITEN)
        CM_TRY(check_whiten(node, in, where));
    return check_declared(spec, node, in, in_features, where);
}

cm_status nn_spec_check_graph(const struct nn_spec *spec, const char *where)
{
    bool *used = NULL;
    CM_TRY(cm_alloc(&used, (size_t)spec->nnodes, sizeof *used, "graph check"));
    for (int i = 0; i < spec->nnodes; i++)
        for (int k = 0; k < spec->nodes[i].ninputs; k++)
            if (spec->nodes[i].input[k] != NN_INPUT)
                used[spec->nodes[i].input[k]] = true;
    int unused = 0;
    while (unused < spec->nnodes - 1 && used[unused])
        unused++;
    cm_free(&used);
    if (unused < spec->nnodes - 1)
        return CM_FAIL(CM_EFORMAT, "%s: %s: nothing uses its output", where,
                       spec->nodes[unused].name);
    const struct nn_node *last = &spec->nodes[spec->nnodes - 1];
    if (last->shape.h != 1 || last->shape.w != 1)
        return CM_FAIL(CM_ESHAPE, "%s: %s: the last node gives %dx%dx%d, logits must be flat",
                       where, last->name, last->shape.c, last->shape.h, last->shape.w);
    return CM_OK;
}
