/* The verbs of flywheel-client. */
#ifndef SERVE_CLIENT_COMMAND_H
#define SERVE_CLIENT_COMMAND_H

#include <stdbool.h>

#include "common/status.h"
#include "serve/endpoints.h"

/* argv[0] is the verb. *failed: something was not answered as wanted: exit code 1 without a
 * message. */
CM_MUST_CHECK
cm_status sv_command_predict(int argc, char **argv, bool *failed);
CM_MUST_CHECK
cm_status sv_command_bench(int argc, char **argv, bool *failed);

/* The gateway that serves a run. CM_ENOTFOUND says how to start one. */
CM_MUST_CHECK
cm_status sv_find_gateway(struct sv_endpoints *e, const char *run_dir);

#endif
