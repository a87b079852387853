/* The keys of a node in model.json: one table that the parser and the writer share, so that
 * whatever is written can be read. Private to spec*.c. */
#ifndef MODEL_SPEC_KEYS_H
#define MODEL_SPEC_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "model/spec.h"

#define NN_FORMAT_MAJOR 1
#define NN_FORMAT_MINOR 0

enum nn_key_type { NN_KEY_INT, NN_KEY_F64, NN_KEY_BOOL, NN_KEY_INIT };

struct nn_node_key {
    const char *name;
    uint32_t kinds; /* bit 1 << enum nn_kind of each op that has it */
    enum nn_key_type type;
    size_t offset; /* in struct nn_node */
    double lo, hi; /* legal range, both ends included */
};
extern const struct nn_node_key nn_node_keys[];
extern const size_t nn_node_nkeys;

extern const char *const nn_init_names[]; /* by enum nn_init */
extern const size_t nn_init_nnames;

/* Output shape of node i from its inputs' shapes (which are known), and the optional check of its
 * input: in_features (-1: not given) is what 'in_features' or 'in_channels' says. where names the
 * file. CM_ESHAPE names the node and the sizes. */
CM_MUST_CHECK cm_status nn_spec_infer(struct nn_spec *spec, int i, int64_t in_features,
                                      const char *where);

/* What only the whole network can tell: every output is used, the last one is flat. */
CM_MUST_CHECK cm_status nn_spec_check_graph(const struct nn_spec *spec, const char *where);

/* "input", or the node's name. */
const char *nn_spec_input_name(const struct nn_spec *spec, int input);

#endif
