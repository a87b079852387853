/* flywheel-train: train, eval, data, bench. */
#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "common/version.h"
#include "trainer/commands.h"

static const struct {
    const char *name, *help;
    cm_status (*run)(int argc, char **argv);
} commands[] = {
    {"train", "train a network", tr_command_train},
    {"eval", "accuracy of a version on the test images", tr_command_eval},
    {"data", "get, verify, show and export data sets", tr_command_data},
    {"bench", "speed of the training step, per op", tr_command_bench},
};
#define NCOMMANDS (sizeof commands / sizeof *commands)

static void print_help(void)
{
    printf("flywheel-train COMMAND …\n\n");
    for (size_t i = 0; i < NCOMMANDS; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].help);
    printf("\n'flywheel-train COMMAND --help' tells more.\n");
}

static cm_status dispatch(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return argc < 2 ? CM_FAIL(CM_EUSAGE, "no command given") : CM_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("flywheel-train %s\n", cm_version());
        return CM_OK;
    }
    const char *names[NCOMMANDS];
    for (size_t i = 0; i < NCOMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(argv[1], names[i]) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    const char *near = cm_nearest(argv[1], names, NCOMMANDS);
    return CM_FAIL(CM_EUSAGE, "unknown command '%s'%s%s%s", argv[1], near ? " (did you mean '" : "",
                   near ? near : "", near ? "'?)" : "");
}

int main(int argc, char **argv)
{
    cm_log_init("train");
    return cm_main_end(dispatch(argc, argv));
}
