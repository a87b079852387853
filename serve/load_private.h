/* What the two halves of the load share; nobody else includes this. */
#ifndef SERVE_LOAD_PRIVATE_H
#define SERVE_LOAD_PRIVATE_H

#include "serve/client_load.h"

CM_MUST_CHECK
cm_status sv_load_add(struct sv_load_result *r, int64_t latency_ns);
void sv_load_sort(struct sv_load_result *r);
/* Between request i - 1 and i of an open loop: exponential with the plan's rate. */
int64_t sv_load_gap_ns(const struct sv_load_plan *plan, uint32_t i);

#endif
