/* A program of several commands: "flywheel-train eval …". The table gives dispatch, --help,
 * --version, and an error that names the nearest command. */
#ifndef COMMON_VERBS_H
#define COMMON_VERBS_H

#include <stddef.h>

#include "common/status.h"

struct cm_verb {
    const char *name, *help;                 /* help: one line */
    cm_status (*run)(int argc, char **argv); /* argv[0] is the verb's name */
};

/* What main does: starts the log as `who`, runs argv[1] of "flywheel-<who>", reports a fault, gives
 * the exit code. */
int cm_verbs_main(const char *who, const struct cm_verb *verbs, size_t n, int argc, char **argv);

#endif
