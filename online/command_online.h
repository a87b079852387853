/* The commands of flywheel-online; argv[0] is the command's own word. */
#ifndef ONLINE_COMMAND_ONLINE_H
#define ONLINE_COMMAND_ONLINE_H

#include "common/status.h"

CM_MUST_CHECK
cm_status ol_command_online(int argc, char **argv);
/* argv[1] is push, label, stats or dlq. */
CM_MUST_CHECK
cm_status ol_command_feedback(int argc, char **argv);

CM_MUST_CHECK
cm_status ol_command_push(int argc, char **argv);
CM_MUST_CHECK
cm_status ol_command_stats(int argc, char **argv);
CM_MUST_CHECK
cm_status ol_command_dlq(int argc, char **argv);

#endif
