#include "online/command_online.h"

#include "online/online_config.h"
#include "online/online_run.h"
#include "trainer/commands.h"

struct values {
    struct tr_common_args common;
    bool drain, steal;
};

static const struct cm_opt opts[] = {
    TR_COMMON_OPTS(struct values, common),
    {"drain", 0, CM_OPT_FLAG, offsetof(struct values, drain), NULL,
     "end once all feedback that is there was decided, or is too little (min_entries)"},
    {"steal-lease", 0, CM_OPT_FLAG, offsetof(struct values, steal), NULL,
     "take the run directory over from a process that you know is gone"},
};

static const struct cm_section *const sections[] = {&ol_config_section, NULL};

static const struct cm_command command = {
    .name = "flywheel online",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Fine-tunes the champion on feedback from Redis, for ever.",
    .details =
        "One rank without a launcher; under mpirun or srun every rank runs this command,\n"
        "and rank 0 alone talks to Redis. A candidate that passes the gate becomes the\n"
        "champion; one that does not is dropped, and its feedback is accounted for.\n"
        "SIGUSR1 or TERM: leaves with 75, at once while waiting, between two steps while\n"
        "training; the next start goes on.\n"
        "Exit: 0 drained, 1 failed, 2 usage or config, 75 told to stop, 78 what it found does\n"
        "not fit (a Redis older than 7, no such GPU): no restart mends it.\n"
        "'flywheel train --help' explains the sections model, data, train, allreduce, store.",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
    .sections = sections,
};

cm_status ol_command_online(int argc, char **argv)
{
    struct values v = {0};
    char **operands;
    int noperands;
    bool helped;
    cm_status st = cm_args_parse(&command, argc, argv, &v, &operands, &noperands, &helped);
    if (st != CM_OK)
        return ar_group_decline(st);
    if (helped)
        return CM_OK;
    struct ol_run_options run = {.session = tr_session_options_of(&v.common, operands[0]),
                                 .drain = v.drain,
                                 .steal_lease = v.steal};
    return v.common.check ? ol_run_check(&run) : ol_run(&run);
}
