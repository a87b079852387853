/* flywheel-online: online, feedback. */
#include "common/verbs.h"
#include "online/command_online.h"

static const struct cm_verb verbs[] = {
    {"online", "fine-tune the champion on feedback, for ever", ol_command_online},
    {"feedback", "push labelled images, label answers, see the queue", ol_command_feedback},
};

int main(int argc, char **argv)
{
    return cm_verbs_main("online", "flywheel-online", verbs, sizeof verbs / sizeof *verbs, argc,
                         argv);
}
