/* flywheel-client: what people run against a gateway, as "flywheel predict" and "flywheel bench
 * serve". */
#include "common/verbs.h"
#include "serve/client_command.h"

static const struct cm_verb verbs[] = {
    {"predict", "ask a gateway about images", sv_command_predict},
    {"bench", "latency and rate of a gateway", sv_command_bench},
};

int main(int argc, char **argv)
{
    return cm_verbs_main("client", "flywheel-client", verbs, sizeof verbs / sizeof *verbs, argc,
                         argv);
}
