/* What ranks compare at start, as text, so that a difference can be explained by name. Lines "item
 * value\n", the item without spaces; pure: whoever has a transport exchanges the texts (or first
 * their hashes). */
#ifndef PARAMETER_AGREE_H
#define PARAMETER_AGREE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/status.h"
#include "parameter/tensors.h"

/* "conv1.weight F32 64x3x3x3\n" for each tensor in the set's order, spaces in names as '_'; *text
 * from cm_alloc. */
CM_MUST_CHECK cm_status ps_agree_text(char **text, size_t *n, const struct ps_tensors *set);

/* CM_OK when equal, else CM_EMISMATCH with the first difference: "rank 3: conv1.weight is F32
 * 64x3x3x3, here F32 64x3x5x5", "rank 3 has no fc.bias", "rank 3 has fc.bias at another place". who
 * names the other side. */
CM_MUST_CHECK cm_status ps_agree_check(const char *mine, const char *theirs, const char *who);

/* have holds every tensor of want with its dtype and shape and, when exact, nothing else: what a
 * resume asks of a checkpoint and a server of a model. CM_EMISMATCH names the tensor; what names
 * have. */
CM_MUST_CHECK cm_status ps_agree_tensors(const struct ps_tensors *have,
                                         const struct ps_tensors *want, bool exact,
                                         const char *what);

#endif
