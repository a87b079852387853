/* feedback push|label|stats|dlq */
#include "common/verbs.h"
#include "online/command_online.h"

static const struct cm_verb verbs[] = {
    {"push", "put labelled images into the queue", ol_command_push},
    {"label", "the same, for the answer of a prediction id", ol_command_push},
    {"stats", "streams, lag and ledger", ol_command_stats},
    {"dlq", "entries that could not be used, and why", ol_command_dlq},
};

cm_status ol_command_feedback(int argc, char **argv)
{
    return cm_verbs_run("flywheel feedback", verbs, sizeof verbs / sizeof *verbs, argc, argv);
}
