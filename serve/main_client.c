/* flywheel-client: what people run against a gateway, as "flywheel predict" and "flywheel bench
 * serve". */
#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "serve/client_command.h"

static const struct {
    const char *name;
    cm_status (*run)(int argc, char **argv, bool *failed);
    const char *summary;
} verbs[] = {
    {"predict", sv_command_predict, "ask a gateway about images"},
    {"bench", sv_command_bench, "latency and rate of a gateway"},
};
#define NVERBS (sizeof verbs / sizeof verbs[0])

static cm_status unknown_verb(const char *given)
{
    const char *names[NVERBS];
    for (size_t i = 0; i < NVERBS; i++)
        names[i] = verbs[i].name;
    const char *near = cm_nearest(given, names, NVERBS);
    return CM_FAIL(CM_EUSAGE, "flywheel-client: '%s' is no verb%s%s%s; see --help", given,
                   near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static cm_status run(int argc, char **argv, bool *failed)
{
    if (argc < 2)
        return CM_FAIL(CM_EUSAGE, "flywheel-client: a verb is missing; see --help");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        puts("usage: flywheel-client VERB …\n");
        for (size_t i = 0; i < NVERBS; i++)
            printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
        puts("\n'flywheel predict --help' and 'flywheel bench serve --help' say more.");
        return CM_OK;
    }
    for (size_t i = 0; i < NVERBS; i++)
        if (!strcmp(verbs[i].name, argv[1]))
            return verbs[i].run(argc - 1, argv + 1, failed);
    return unknown_verb(argv[1]);
}

int main(int argc, char **argv)
{
    bool failed = false;
    cm_log_init("client");
    cm_status st = run(argc, argv, &failed);
    if (st == CM_OK && fflush(stdout) != 0)
        st = CM_FAIL_ERRNO("standard output");
    int code = cm_main_end(st);
    return code == 0 && failed ? 1 : code;
}
