/* feedback push|label|stats|dlq */
#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "online/command_online.h"

static const struct {
    const char *name, *help;
    cm_status (*run)(int argc, char **argv);
} words[] = {
    {"push", "put labelled images into the queue", ol_command_push},
    {"label", "the same, for the answer of a prediction id", ol_command_push},
    {"stats", "streams, lag and ledger", ol_command_stats},
    {"dlq", "entries that could not be used, and why", ol_command_dlq},
};
#define NWORDS (sizeof words / sizeof *words)

static void print_help(void)
{
    printf("usage: flywheel feedback WORD …\n\n");
    for (size_t i = 0; i < NWORDS; i++)
        printf("  %-6s %s\n", words[i].name, words[i].help);
    printf("\n'flywheel feedback WORD --help' tells more.\n");
}

cm_status ol_command_feedback(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return argc < 2 ? CM_FAIL(CM_EUSAGE, "feedback: no word given") : CM_OK;
    }
    const char *names[NWORDS];
    for (size_t i = 0; i < NWORDS; i++) {
        names[i] = words[i].name;
        if (strcmp(argv[1], names[i]) == 0)
            return words[i].run(argc - 1, argv + 1);
    }
    const char *near = cm_nearest(argv[1], names, NWORDS);
    return CM_FAIL(CM_EUSAGE, "feedback: unknown word '%s'%s%s%s", argv[1],
                   near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}
