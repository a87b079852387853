/* flywheel-online: online, feedback. */
#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "common/version.h"
#include "online/command_online.h"

static const struct {
    const char *name, *help;
    cm_status (*run)(int argc, char **argv);
} commands[] = {
    {"online", "fine-tune the champion on feedback, for ever", ol_command_online},
    {"feedback", "push labelled images, label answers, see the queue", ol_command_feedback},
};
#define NCOMMANDS (sizeof commands / sizeof *commands)

static void print_help(void)
{
    printf("flywheel-online COMMAND …\n\n");
    for (size_t i = 0; i < NCOMMANDS; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].help);
    printf("\n'flywheel-online COMMAND --help' tells more.\n");
}

static cm_status dispatch(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return argc < 2 ? CM_FAIL(CM_EUSAGE, "no command given") : CM_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("flywheel-online %s\n", cm_version());
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
    cm_log_init("online");
    return cm_main_end(dispatch(argc, argv));
}
