/* model.json, written: every key with its value, in the order of the key table, so that the same
 * network gives the same bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "model/spec_keys.h"

/* The double with the fewest digits that rounds to this float: 0.4914, not 0.49140000343322754. */
static double shortest(float f)
{
    double d = (double)f;
    for (int digits = 1; digits <= 9; digits++) {
        char text[32];
        snprintf(text, sizeof text, "%.*g", digits, (double)f);
        d = strtod(text, NULL);
        if ((float)d == f)
            break;
    }
    return d;
}

static void write_channels(struct cm_jw *w, const char *key, const float *v, int n)
{
    cm_jw_begin(w, key, '[');
    for (int c = 0; c < n; c++)
        cm_jw_f64(w, NULL, shortest(v[c]));
    cm_jw_end(w);
}

static void write_value(struct cm_jw *w, const struct nn_node_key *key, const struct nn_node *node)
{
    const void *field = (const char *)node + key->offset;
    switch (key->type) {
    case NN_KEY_INT:
        cm_jw_i64(w, key->name, *(const int *)field);
        break;
    case NN_KEY_F64:
        cm_jw_f64(w, key->name, *(const double *)field);
        break;
    case NN_KEY_BOOL:
        cm_jw_bool(w, key->name, *(const bool *)field);
        break;
    case NN_KEY_INIT:
        cm_jw_string(w, key->name, nn_init_names[*(const enum nn_init *)field]);
        break;
    }
}

static void write_node(struct cm_jw *w, const struct nn_spec *spec, const struct nn_node *node)
{
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "name", node->name);
    cm_jw_string(w, "op", nn_kind_name(node->kind));
    cm_jw_begin(w, "in", '[');
    for (int k = 0; k < node->ninputs; k++)
        cm_jw_string(w, NULL, nn_spec_input_name(spec, node->input[k]));
    cm_jw_end(w);
    for (size_t k = 0; k < nn_node_nkeys; k++)
        if (nn_node_keys[k].kinds & (1u << node->kind))
            write_value(w, &nn_node_keys[k], node);
    cm_jw_end(w);
}

cm_status nn_spec_write(const struct nn_spec *spec, struct cm_jw *w)
{
    const struct nn_preprocess *pre = &spec->preprocess;
    char format[24];
    snprintf(format, sizeof format, "%d.%d", NN_FORMAT_MAJOR, NN_FORMAT_MINOR);
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "format", format);
    cm_jw_string(w, "name", spec->name);
    cm_jw_begin(w, "input", '{');
    cm_jw_i64(w, "channels", spec->input.c);
    cm_jw_i64(w, "height", spec->input.h);
    cm_jw_i64(w, "width", spec->input.w);
    cm_jw_end(w);
    cm_jw_begin(w, "preprocess", '{');
    cm_jw_i64(w, "resize", pre->resize);
    cm_jw_i64(w, "crop", pre->crop);
    cm_jw_bool(w, "grey", pre->grey);
    write_channels(w, "mean", pre->mean, spec->input.c);
    write_channels(w, "std", pre->std, spec->input.c);
    cm_jw_end(w);
    cm_jw_begin(w, "classes", '[');
    for (int k = 0; k < spec->nclasses; k++)
        cm_jw_string(w, NULL, spec->classes[k]);
    cm_jw_end(w);
    cm_jw_begin(w, "nodes", '[');
    for (int i = 0; i < spec->nnodes; i++)
        write_node(w, spec, &spec->nodes[i]);
    cm_jw_end(w);
    cm_jw_end(w);
    return w->st;
}
