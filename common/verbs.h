/* A program or a command of several verbs: "flywheel-train eval …", "flywheel data get …". The
 * table gives dispatch, --help, --version, and an error that names the nearest verb. */
#ifndef COMMON_VERBS_H
#define COMMON_VERBS_H

#include <stddef.h>

#include "common/status.h"

struct cm_verb {
    const char *name, *help;                 /* help: one line */
    cm_status (*run)(int argc, char **argv); /* argv[0] is the verb's name */
};

/* Runs the verb argv[1]; command: what stands before it, as people write it ("flywheel data"). A
 * verb that is missing or unknown is CM_EUSAGE. */
CM_MUST_CHECK cm_status cm_verbs_run(const char *command, const struct cm_verb *verbs, size_t n,
                                     int argc, char **argv);

/* What main does: starts the log as `who`, runs the verb, reports a fault, gives the exit code. */
int cm_verbs_main(const char *who, const char *command, const struct cm_verb *verbs, size_t n,
                  int argc, char **argv);

#endif
