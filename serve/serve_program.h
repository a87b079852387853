/* What the programs of this folder share: their options, the config, the signals. */
#ifndef SERVE_SERVE_PROGRAM_H
#define SERVE_SERVE_PROGRAM_H

#include <stdbool.h>

#include "common/args.h"
#include "common/config.h"
#include "common/file.h"
#include "common/status.h"
#include "serve/serve_config.h"

struct sv_program_options { /* the first member of a program's own options */
    struct cm_opt_list sets;
    const char *run;
    bool check;
};
#define SV_PROGRAM_OPTS(type, member)                                                              \
    {"set",                                                                                        \
     0,                                                                                            \
     CM_OPT_LIST,                                                                                  \
     offsetof(type, member.sets),                                                                  \
     "SECTION.KEY=VALUE",                                                                          \
     "overrides the config; may be given again"},                                                  \
        {"run", 0, CM_OPT_STRING, offsetof(type, member.run), "DIR", "run directory"},             \
    {                                                                                              \
        "check", 0, CM_OPT_FLAG, offsetof(type, member.check), NULL,                               \
            "print the resolved config and end"                                                    \
    }

extern const struct cm_section *const sv_program_sections[]; /* those it reads, up to a NULL */

struct sv_program {
    struct cm_config *config;
    struct sv_config serve;
    char run_dir[CM_PATH], store_dir[CM_PATH];
};
/* path: the config; NULL: all defaults. Fills *p; with --check prints it and sets *checked. */
CM_MUST_CHECK
cm_status sv_program_open(struct sv_program *p, const char *path,
                          const struct sv_program_options *options, bool *checked);
void sv_program_close(struct sv_program *p);

/* A signalfd for TERM, INT and HUP, which are blocked for the whole process; SIGPIPE is ignored.
 * Before any thread starts. */
CM_MUST_CHECK
cm_status sv_stop_signals(int *fd);

#endif
