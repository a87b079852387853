#include "trainer/commands.h"
#include "trainer/run.h"

struct values {
    struct tr_common_args common;
    const char *resume;
    bool steal, quiet;
    struct cm_opt_list injects;
};

static const struct cm_opt opts[] = {
    TR_COMMON_OPTS(struct values, common),
    {"resume", 'r', CM_OPT_STRING, offsetof(struct values, resume), "auto|never|VERSION",
     "where to start: the newest valid version (auto, the default), from scratch, or this version"},
    {"steal-lease", 0, CM_OPT_FLAG, offsetof(struct values, steal), NULL,
     "take the run directory over from a trainer that you know is gone"},
    {"quiet", 'q', CM_OPT_FLAG, offsetof(struct values, quiet), NULL, "no progress line"},
    {"inject", 0, CM_OPT_LIST, offsetof(struct values, injects), "[RANK:]POINT=FAULT[@N]",
     "to rehearse: a fault on purpose, on all ranks or one, at the N-th passage of a point "
     "(trainer/README.md, Tests): 1:train.step=kill@50, store.tensors=enospc, "
     "file.fsync=delay:900; "
     "may be given again"},
};

static const struct cm_command command = {
    .name = "flywheel train",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Trains a network, data-parallel over the ranks that the launcher started.",
    .details = "One rank without a launcher; under mpirun or srun every rank runs this command.\n"
               "SIGUSR1 saves and leaves with 75; the next start with --resume auto goes on.\n"
               "Exit: 0 trained to the end, 1 failed, 2 usage or config, 75 preempted, 78 what it\n"
               "found does not fit (another network's versions, no such GPU): no restart mends it.",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
    .sections = tr_session_sections,
};

struct tr_session_options tr_session_options_of(const struct tr_common_args *args,
                                                const char *config_path)
{
    return (struct tr_session_options){.config_path = config_path,
                                       .sets = args->sets.item,
                                       .nsets = args->sets.n,
                                       .run_dir = args->run_dir};
}

cm_status tr_command_train(int argc, char **argv)
{
    struct values v = {.resume = "auto"};
    char **operands;
    int noperands;
    bool helped;
    cm_status st = cm_args_parse(&command, argc, argv, &v, &operands, &noperands, &helped);
    if (st != CM_OK)
        return ar_group_decline(st);
    if (helped)
        return CM_OK;
    struct tr_run_options run = {.session = tr_session_options_of(&v.common, operands[0]),
                                 .resume = v.resume,
                                 .steal_lease = v.steal,
                                 .quiet = v.quiet,
                                 .injects = &v.injects};
    return v.common.check ? tr_session_check(&run.session) : tr_run(&run);
}
