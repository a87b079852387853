/* flywheel-train: train, eval, data, bench, doctor. */
#include "common/verbs.h"
#include "trainer/commands.h"

static const struct cm_verb verbs[] = {
    {"train", "train a network", tr_command_train},
    {"eval", "accuracy of a version on the test images", tr_command_eval},
    {"data", "get, verify, show and export data sets", tr_command_data},
    {"bench", "speed of the training step, per op", tr_command_bench},
    {"doctor", "what the ranks of a run find where they run", tr_command_doctor},
};

int main(int argc, char **argv)
{
    return cm_verbs_main("train", "flywheel-train", verbs, sizeof verbs / sizeof *verbs, argc,
                         argv);
}
