/* The network of a version. */
#ifndef SERVE_VERSION_SPEC_H
#define SERVE_VERSION_SPEC_H

#include "common/status.h"
#include "model/spec.h"
#include "parameter/store.h"

/* Reads and checks model.json. */
CM_MUST_CHECK
cm_status sv_version_spec(struct nn_spec **out, const struct ps_version *v);

#endif
