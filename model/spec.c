/* model.json, read: a const table of keys drives the parser (and the writer, spec_write.c); shapes
 * are inferred node by node (spec_shapes.c), so a fault names the first node that does not fit. */
#include "model/spec.h"

#include <float.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/mem.h"
#include "model/spec_keys.h"

#define MAX_NODES 4096
#define MAX_SIDE  16384 /* pixels of the input; nn_image_limits_default.max_side */

static const char *const kind_names[NN_KIND_COUNT] = {
    "conv",    "batchnorm", "relu", "gelu",    "sigmoid", "tanh", "maxpool",
    "avgpool", "linear",    "add",  "flatten", "dropout", "scale"};

const char *const nn_init_names[] = {"default", "dirac", "whiten", "zero"};
const size_t nn_init_nnames = sizeof nn_init_names / sizeof *nn_init_names;

#define ON(kind) (1u << NN_##kind)
#define WINDOWS  (ON(CONV) | ON(MAXPOOL) | ON(AVGPOOL))
#define MATRICES (ON(CONV) | ON(LINEAR))
#define WEIGHTS  (MATRICES | ON(BATCHNORM))
#define AT(f)    offsetof(struct nn_node, f)

const struct nn_node_key nn_node_keys[] = {
    {"out", MATRICES, NN_KEY_INT, AT(out), 1, 65536},
    {"kernel", WINDOWS, NN_KEY_INT, AT(kernel), 0, 255},
    {"stride", WINDOWS, NN_KEY_INT, AT(stride), 1, 255},
    {"pad", WINDOWS, NN_KEY_INT, AT(pad), 0, 255},
    {"bias", MATRICES, NN_KEY_BOOL, AT(bias), 0, 0},
    {"eps", ON(BATCHNORM), NN_KEY_F64, AT(eps), DBL_MIN, 1},
    {"momentum", ON(BATCHNORM), NN_KEY_F64, AT(momentum), 0, 1},
    {"p", ON(DROPOUT), NN_KEY_F64, AT(p), 0, 0.999},
    {"factor", ON(SCALE), NN_KEY_F64, AT(p), -1e6, 1e6},
    {"init", WEIGHTS, NN_KEY_INIT, AT(init), 0, 0},
    {"init_std", MATRICES, NN_KEY_F64, AT(init_std), 0, 1e6},
    {"freeze_weight", WEIGHTS, NN_KEY_BOOL, AT(freeze_weight), 0, 0},
    {"freeze_bias", WEIGHTS, NN_KEY_BOOL, AT(freeze_bias), 0, 0},
};
const size_t nn_node_nkeys = sizeof nn_node_keys / sizeof *nn_node_keys;

const char *nn_kind_name(enum nn_kind kind)
{
    return (unsigned)kind < NN_KIND_COUNT ? kind_names[kind] : "unknown";
}

/* One file being read. */
struct reader {
    struct nn_spec *spec;
    const char *where;
    bool lenient; /* written by a later minor version: unknown keys are its, not typing errors */
};

/* "net.json: conv1: 'kernel'", for messages; a very long path loses its end, not the key. */
#define PLACE 512
static void name_place(char out[PLACE], const char *where, const char *key)
{
    snprintf(out, PLACE, "%.400s: '%.80s'", where, key);
}

static cm_status find_name(int *out, const char *name, const char *const *names, size_t n,
                           const char *where, const char *what)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (int)i;
            return CM_OK;
        }
    }
    const char *near = cm_nearest(name, names, n);
    return CM_FAIL(CM_EFORMAT, "%s: unknown %s '%s'%s%s%s", where, what, name,
                   near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

static cm_status unknown_key(const struct reader *r, const char *at, const char *key,
                             const char *const *known, size_t n)
{
    int ignored;
    return r->lenient ? CM_OK : find_name(&ignored, key, known, n, at, "key");
}

/* Names become tensor names and JSON keys of other people's tools: plain characters only. */
static cm_status read_name(char out[NN_NAME], const char *name, const char *at)
{
    size_t n = strlen(name);
    if (n == 0 || n >= NN_NAME)
        return CM_FAIL(CM_EFORMAT, "%s: a name has 1 to %d characters, '%.80s' has %zu", at,
                       NN_NAME - 1, name, n);
    memcpy(out, name, n + 1);
    return CM_OK;
}

static cm_status read_node_name(const struct reader *r, struct nn_node *node, const char *name,
                                const char *at)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    CM_TRY(read_name(node->name, name, at));
    if (name[strspn(name, legal)] != 0)
        return CM_FAIL(CM_EFORMAT, "%s: name '%s': only letters, digits and _ . - are allowed", at,
                       name);
    bool taken = strcmp(name, "input") == 0;
    for (const struct nn_node *other = r->spec->nodes; other < node; other++)
        taken = taken || strcmp(other->name, name) == 0;
    if (taken)
        return CM_FAIL(CM_EFORMAT, "%s: the name '%s' is taken", at, name);
    return CM_OK;
}

static cm_status find_input(const struct reader *r, int i, const char *name, const char *at,
                            int *out)
{
    const struct nn_node *nodes = r->spec->nodes;
    if (strcmp(name, "input") == 0) {
        *out = NN_INPUT;
        return CM_OK;
    }
    for (int k = 0; k < i; k++) {
        if (strcmp(nodes[k].name, name) == 0) {
            *out = k;
            return CM_OK;
        }
    }
    return CM_FAIL(CM_EFORMAT, "%s: input '%s' is no earlier node", at, name);
}

static cm_status read_inputs(const struct reader *r, int i, const struct cm_json *in,
                             const char *at)
{
    struct nn_node *node = &r->spec->nodes[i];
    size_t want = node->kind == NN_ADD ? 2 : 1;
    node->ninputs = (int)want;
    if (!in && want == 1) {
        node->input[0] = i - 1; /* NN_INPUT for the first */
        return CM_OK;
    }
    bool list = in && cm_json_type(in) == CM_JSON_ARRAY;
    size_t have = list ? cm_json_count(in) : in ? 1 : 0;
    if (have != want)
        return CM_FAIL(CM_EFORMAT, "%s: %s takes %zu inputs, 'in' names %zu", at,
                       nn_kind_name(node->kind), want, have);
    const struct cm_json *v = list ? cm_json_first(in) : in;
    char here[PLACE];
    name_place(here, at, "in");
    for (size_t k = 0; k < want; k++, v = cm_json_next(v)) {
        const char *name;
        CM_TRY(cm_json_as_string(v, here, &name));
        CM_TRY(find_input(r, i, name, at, &node->input[k]));
    }
    return CM_OK;
}

static cm_status read_value(struct nn_node *node, const struct nn_node_key *key,
                            const struct cm_json *v, const char *where)
{
    void *field = (char *)node + key->offset;
    char at[PLACE];
    name_place(at, where, key->name);
    switch (key->type) {
    case NN_KEY_INT: {
        int64_t i;
        CM_TRY(cm_json_as_i64(v, at, (int64_t)key->lo, (int64_t)key->hi, &i));
        *(int *)field = (int)i;
        return CM_OK;
    }
    case NN_KEY_F64: {
        double d;
        CM_TRY(cm_json_as_f64(v, at, &d));
        if (!(d >= key->lo && d <= key->hi))
            return CM_FAIL(CM_EFORMAT, "%s is %g, not in %g..%g", at, d, key->lo, key->hi);
        *(double *)field = d;
        return CM_OK;
    }
    case NN_KEY_BOOL:
        return cm_json_as_bool(v, at, field);
    case NN_KEY_INIT: {
        const char *name;
        int init;
        CM_TRY(cm_json_as_string(v, at, &name));
        CM_TRY(find_name(&init, name, nn_init_names, nn_init_nnames, at, "init"));
        *(enum nn_init *)field = (enum nn_init)init;
        return CM_OK;
    }
    }
    return CM_FAIL(CM_EINTERNAL, "%s: a key without type", at);
}

/* PyTorch's defaults; stride 0 stands for "as the kernel" until the keys are read. */
static void set_defaults(struct nn_node *node)
{
    node->stride = node->kind == NN_CONV ? 1 : 0;
    node->bias = node->kind == NN_CONV || node->kind == NN_LINEAR;
    if (node->kind == NN_BATCHNORM) {
        node->eps = 1e-5;
        node->momentum = 0.1;
    }
    if (node->kind == NN_DROPOUT)
        node->p = 0.5;
    if (node->kind == NN_SCALE)
        node->p = 1;
}

static cm_status check_node(struct nn_node *node, const char *at)
{
    uint32_t kind = 1u << node->kind;
    if ((kind & MATRICES) && node->out == 0)
        return CM_FAIL(CM_EFORMAT, "%s: 'out' is missing", at);
    if ((kind & (ON(CONV) | ON(MAXPOOL))) && node->kernel == 0)
        return CM_FAIL(CM_EFORMAT, "%s: 'kernel' is missing or 0", at);
    if (node->kind != NN_CONV && (node->init == NN_INIT_DIRAC || node->init == NN_INIT_WHITEN))
        return CM_FAIL(CM_EFORMAT, "%s: init '%s' is for conv only", at, nn_init_names[node->init]);
    if (node->stride == 0 && (kind & WINDOWS))
        node->stride = node->kernel > 0 ? node->kernel : 1;
    return CM_OK;
}

/* 'in_features' or 'in_channels'. */
static cm_status read_declared(const struct cm_json *v, const char *where, int64_t *out)
{
    char at[PLACE];
    name_place(at, where, cm_json_key(v));
    return cm_json_as_i64(v, at, 1, INT_MAX, out);
}

static cm_status read_keys(const struct reader *r, struct nn_node *node,
                           const struct cm_json *object, const char *at, int64_t *in_features)
{
    const char *known[32] = {"name", "op", "in"};
    size_t nknown = 3;
    uint32_t kind = 1u << node->kind;
    const char *declared = node->kind == NN_LINEAR ? "in_features" : "in_channels";
    known[nknown++] = declared;
    for (size_t k = 0; k < nn_node_nkeys; k++)
        if (nn_node_keys[k].kinds & kind)
            known[nknown++] = nn_node_keys[k].name;

    CM_JSON_EACH (v, object) {
        const char *name = cm_json_key(v);
        size_t k = 0;
        while (k < nn_node_nkeys &&
               !((nn_node_keys[k].kinds & kind) && strcmp(nn_node_keys[k].name, name) == 0))
            k++;
        if (k < nn_node_nkeys)
            CM_TRY(read_value(node, &nn_node_keys[k], v, at));
        else if (strcmp(name, declared) == 0)
            CM_TRY(read_declared(v, at, in_features));
        else
            CM_TRY(unknown_key(r, at, name, known, nknown));
    }
    return CM_OK;
}

static cm_status read_node(const struct reader *r, int i, const struct cm_json *object)
{
    struct nn_node *node = &r->spec->nodes[i];
    char at[PLACE];
    snprintf(at, sizeof at, "%s: node %d", r->where, i);
    const char *name, *op;
    int kind;
    CM_TRY(cm_json_need_string(object, at, "name", &name));
    CM_TRY(read_node_name(r, node, name, at));
    snprintf(at, sizeof at, "%s: %s", r->where, node->name);
    CM_TRY(cm_json_need_string(object, at, "op", &op));
    CM_TRY(find_name(&kind, op, kind_names, NN_KIND_COUNT, at, "op"));
    node->kind = (enum nn_kind)kind;
    CM_TRY(read_inputs(r, i, cm_json_get(object, "in"), at));

    int64_t in_features = -1;
    set_defaults(node);
    CM_TRY(read_keys(r, node, object, at, &in_features));
    CM_TRY(check_node(node, at));
    return nn_spec_infer(r->spec, i, in_features, r->where);
}

static cm_status read_nodes(const struct reader *r, const struct cm_json *json)
{
    const struct cm_json *list;
    CM_TRY(cm_json_need(json, r->where, "nodes", CM_JSON_ARRAY, &list));
    size_t n = cm_json_count(list);
    if (n == 0 || n > MAX_NODES)
        return CM_FAIL(CM_EFORMAT, "%s: 'nodes' has %zu entries, not 1..%d", r->where, n,
                       MAX_NODES);
    CM_TRY(cm_alloc(&r->spec->nodes, n, sizeof *r->spec->nodes, "nodes"));
    r->spec->nnodes = (int)n;
    int i = 0;
    CM_JSON_EACH (object, list)
        CM_TRY(read_node(r, i++, object));
    return nn_spec_check_graph(r->spec, r->where);
}

static cm_status read_channels(const struct cm_json *pre, const char *at, const char *key, int n,
                               bool positive, float out[3])
{
    const struct cm_json *list = cm_json_get(pre, key);
    char here[PLACE];
    if (!list)
        return CM_OK;
    name_place(here, at, key);
    CM_TRY(cm_json_need(pre, at, key, CM_JSON_ARRAY, &list));
    if (cm_json_count(list) != (size_t)n)
        return CM_FAIL(CM_EFORMAT, "%s: '%s' has %zu numbers for %d channels", at, key,
                       cm_json_count(list), n);
    int c = 0;
    CM_JSON_EACH (v, list) {
        double d;
        CM_TRY(cm_json_as_f64(v, here, &d));
        if (!(d > -1e6 && d < 1e6) || (positive && !(d > 1e-6)))
            return CM_FAIL(CM_EFORMAT, "%s is %g for channel %d", here, d, c);
        out[c++] = (float)d;
    }
    return CM_OK;
}

static cm_status read_preprocess(const struct reader *r, const struct cm_json *json)
{
    static const char *const known[] = {"resize", "crop", "grey", "mean", "std"};
    struct nn_preprocess *pre = &r->spec->preprocess;
    struct nn_shape in = r->spec->input;
    char at[PLACE], here[PLACE];
    for (int c = 0; c < in.c; c++)
        pre->std[c] = 1;
    if (cm_json_get(json, "preprocess"))
        CM_TRY(cm_json_need(json, r->where, "preprocess", CM_JSON_OBJECT, &json));
    else
        return CM_OK;
    snprintf(at, sizeof at, "%s: preprocess", r->where);
    CM_JSON_EACH (v, json) {
        int64_t side;
        const char *key = cm_json_key(v);
        name_place(here, at, key);
        if (strcmp(key, "resize") == 0 || strcmp(key, "crop") == 0) {
            CM_TRY(cm_json_as_i64(v, here, 0, MAX_SIDE, &side));
            *(strcmp(key, "crop") == 0 ? &pre->crop : &pre->resize) = (int)side;
        } else if (strcmp(key, "grey") == 0) {
            CM_TRY(cm_json_as_bool(v, here, &pre->grey));
        } else if (strcmp(key, "mean") != 0 && strcmp(key, "std") != 0) {
            CM_TRY(unknown_key(r, at, key, known, sizeof known / sizeof *known));
        }
    }
    CM_TRY(read_channels(json, at, "mean", in.c, false, pre->mean));
    CM_TRY(read_channels(json, at, "std", in.c, true, pre->std));
    if (pre->grey != (in.c == 1))
        return CM_FAIL(CM_ESHAPE, "%s: 'grey' is %s, but the input has %d channels", at,
                       pre->grey ? "true" : "false", in.c);
    if (pre->crop != 0 && (pre->crop != in.h || pre->crop != in.w))
        return CM_FAIL(CM_ESHAPE, "%s: crop %d does not give the input's %dx%d", at, pre->crop,
                       in.h, in.w);
    return CM_OK;
}

static cm_status read_input(const struct reader *r, const struct cm_json *json)
{
    const struct cm_json *object;
    static const char *const known[] = {"channels", "height", "width"};
    char at[PLACE];
    int64_t c, h, w;
    snprintf(at, sizeof at, "%s: input", r->where);
    CM_TRY(cm_json_need(json, r->where, "input", CM_JSON_OBJECT, &object));
    CM_TRY(cm_json_need_i64(object, at, "channels", 1, 3, &c));
    CM_TRY(cm_json_need_i64(object, at, "height", 1, MAX_SIDE, &h));
    CM_TRY(cm_json_need_i64(object, at, "width", 1, MAX_SIDE, &w));
    if (c == 2)
        return CM_FAIL(CM_EFORMAT, "%s: an image has 1 or 3 channels, not 2", at);
    CM_JSON_EACH (v, object)
        if (strcmp(cm_json_key(v), "channels") != 0 && strcmp(cm_json_key(v), "height") != 0 &&
            strcmp(cm_json_key(v), "width") != 0)
            CM_TRY(unknown_key(r, at, cm_json_key(v), known, sizeof known / sizeof *known));
    r->spec->input = (struct nn_shape){(int)c, (int)h, (int)w};
    return CM_OK;
}

static cm_status read_classes(const struct reader *r, const struct cm_json *json)
{
    struct nn_spec *spec = r->spec;
    const struct cm_json *list = cm_json_get(json, "classes");
    spec->nclasses = spec->nodes[spec->nnodes - 1].shape.c;
    CM_TRY(cm_alloc(&spec->classes, (size_t)spec->nclasses, sizeof *spec->classes, "classes"));
    for (int k = 0; k < spec->nclasses; k++)
        snprintf(spec->classes[k], NN_NAME, "%d", k);
    if (!list)
        return CM_OK;
    CM_TRY(cm_json_need(json, r->where, "classes", CM_JSON_ARRAY, &list));
    if (cm_json_count(list) != (size_t)spec->nclasses)
        return CM_FAIL(CM_ESHAPE, "%s: %zu class names for the %d logits of %s", r->where,
                       cm_json_count(list), spec->nclasses, spec->nodes[spec->nnodes - 1].name);
    char at[PLACE];
    int k = 0;
    snprintf(at, sizeof at, "%s: classes", r->where);
    CM_JSON_EACH (v, list) {
        const char *name;
        CM_TRY(cm_json_as_string(v, at, &name));
        CM_TRY(read_name(spec->classes[k++], name, at));
    }
    return CM_OK;
}

static cm_status read_format(struct reader *r, const struct cm_json *json)
{
    int minor;
    CM_TRY(cm_json_need_format(json, r->where, NN_FORMAT_MAJOR, &minor));
    r->lenient = minor > NN_FORMAT_MINOR;
    return CM_OK;
}

static cm_status read_spec(struct reader *r, const struct cm_json *json)
{
    static const char *const known[] = {"format",     "name",    "input",
                                        "preprocess", "classes", "nodes"};
    const char *name;
    if (cm_json_type(json) != CM_JSON_OBJECT)
        return CM_FAIL(CM_EFORMAT, "%s: must be an object, is %s", r->where,
                       cm_json_type_name(json));
    CM_TRY(read_format(r, json));
    CM_JSON_EACH (v, json) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(known[k], cm_json_key(v)) != 0)
            k++;
        if (k == sizeof known / sizeof *known)
            CM_TRY(unknown_key(r, r->where, cm_json_key(v), known, k));
    }
    CM_TRY(cm_json_need_string(json, r->where, "name", &name));
    CM_TRY(read_name(r->spec->name, name, r->where));
    CM_TRY(read_input(r, json));
    CM_TRY(read_preprocess(r, json));
    CM_TRY(read_nodes(r, json));
    return read_classes(r, json);
}

cm_status nn_spec_parse(struct nn_spec **out, const struct cm_json *json, const char *where)
{
    struct reader r = {.where = where};
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&r.spec, 1, sizeof *r.spec, "network"));
    CM_GOTO(st, read_spec(&r, json), out);
    *out = r.spec;
    r.spec = NULL;
out:
    nn_spec_close(&r.spec);
    return st;
}

void nn_spec_close(struct nn_spec **spec)
{
    if (!*spec)
        return;
    cm_free(&(*spec)->classes);
    cm_free(&(*spec)->nodes);
    cm_free(spec);
}

cm_status nn_spec_set_classes(struct nn_spec *spec, const char *const *names, int n)
{
    if (n != spec->nclasses)
        return CM_FAIL(CM_ESHAPE, "%s: %d class names for %d logits", spec->name, n,
                       spec->nclasses);
    char checked[NN_NAME];
    for (int k = 0; k < n; k++)
        CM_TRY(read_name(checked, names[k], spec->name));
    for (int k = 0; k < n; k++)
        CM_TRY(read_name(spec->classes[k], names[k], spec->name));
    return CM_OK;
}
