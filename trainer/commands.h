/* The commands of flywheel-train; argv[0] is the command's own word. */
#ifndef TRAINER_COMMANDS_H
#define TRAINER_COMMANDS_H

#include "common/args.h"
#include "common/status.h"
#include "trainer/session.h"

CM_MUST_CHECK cm_status tr_command_train(int argc, char **argv);
CM_MUST_CHECK cm_status tr_command_eval(int argc, char **argv);
CM_MUST_CHECK cm_status tr_command_bench(int argc, char **argv);
CM_MUST_CHECK cm_status tr_command_doctor(int argc, char **argv);
CM_MUST_CHECK cm_status tr_command_data(int argc, char **argv); /* command_data.c */

/* What several commands take; put first in a command's own values. */
struct tr_common_args {
    struct cm_opt_list sets;
    const char *run_dir;
    bool check;
};
#define TR_COMMON_OPTS(type, field)                                                                \
    {"set",                                                                                        \
     's',                                                                                          \
     CM_OPT_LIST,                                                                                  \
     offsetof(type, field.sets),                                                                   \
     "SECTION.KEY=VALUE",                                                                          \
     "overrides a value of the config; may be given again"},                                       \
        {"run",         0,                                                                         \
         CM_OPT_STRING, offsetof(type, field.run_dir),                                             \
         "DIR",         "the run directory, instead of the config's"},                             \
    {                                                                                              \
        "check", 0, CM_OPT_FLAG, offsetof(type, field.check), NULL,                                \
            "validate the config, print it resolved, and end"                                      \
    }

struct tr_session_options tr_session_options_of(const struct tr_common_args *args,
                                                const char *config_path);

#endif
