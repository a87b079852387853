/* The verbs of flywheel-client. */
#ifndef SERVE_CLIENT_COMMAND_H
#define SERVE_CLIENT_COMMAND_H

#include "common/status.h"
#include "serve/endpoints.h"

/* argv[0] is the verb. CM_EIO: something was not answered as wanted. */
CM_MUST_CHECK
cm_status sv_command_predict(int argc, char **argv);
CM_MUST_CHECK
cm_status sv_command_bench(int argc, char **argv);

/* The gateway that serves a run. CM_ENOTFOUND says how to start one. */
CM_MUST_CHECK
cm_status sv_find_gateway(struct sv_endpoints *e, const char *run_dir);

#endif
