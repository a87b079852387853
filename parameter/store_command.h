/* The verbs of flywheel-store ("flywheel checkpoint …"). Each prints for people, or one JSON value
 * with --json. */
#ifndef PARAMETER_STORE_COMMAND_H
#define PARAMETER_STORE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/json.h"
#include "common/status.h"
#include "parameter/store.h"

struct ps_command { /* a verb's command line */
    char run_dir[CM_PATH];
    struct ps_store *store; /* open for reading; its folder is the first operand or inside it */
    char *const *operand;   /* those behind the first */
    int noperands;
    bool json;

    /* options; -1 and NULL: not given */
    int64_t keep_last, keep_every, keep_best;
    double trash_minutes;
    const char *metric, *file, *with, *who, *why, *expect;
    bool low, dry, force;
};

CM_MUST_CHECK cm_status ps_command_ls(struct ps_command *c);
CM_MUST_CHECK cm_status ps_command_show(struct ps_command *c);
CM_MUST_CHECK cm_status ps_command_verify(struct ps_command *c); /* CM_ECORRUPT: damage */
CM_MUST_CHECK cm_status ps_command_diff(struct ps_command *c);   /* CM_EMISMATCH: they differ */
CM_MUST_CHECK cm_status ps_command_gc(struct ps_command *c);
CM_MUST_CHECK cm_status ps_command_alias(struct ps_command *c);

/* For reading. A run directory has its versions inside; a folder of versions has its run directory
 * around it. */
CM_MUST_CHECK cm_status ps_command_open(struct ps_store **out, char run_dir[CM_PATH],
                                        const char *dir);

#endif
