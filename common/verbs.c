#include "common/verbs.h"

#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "common/version.h"

#define VERBS_MAX 16

static void print_help(const char *who, const struct cm_verb *verbs, size_t n)
{
    printf("usage: flywheel-%s COMMAND …\n\n", who);
    for (size_t i = 0; i < n; i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
    printf("\n'flywheel-%s COMMAND --help' says more.\n", who);
}

static cm_status unknown(const struct cm_verb *verbs, size_t n, const char *given)
{
    const char *names[VERBS_MAX];
    for (size_t i = 0; i < n && i < VERBS_MAX; i++)
        names[i] = verbs[i].name;
    const char *near = cm_nearest(given, names, n < VERBS_MAX ? n : VERBS_MAX);
    if (near)
        return CM_FAIL(CM_EUSAGE, "unknown command '%s' (did you mean '%s'?)", given, near);
    return CM_FAIL(CM_EUSAGE, "unknown command '%s'; see --help", given);
}

static cm_status run(const char *who, const struct cm_verb *verbs, size_t n, int argc, char **argv)
{
    if (argc < 2)
        return CM_FAIL(CM_EUSAGE, "a command is missing; see flywheel-%s --help", who);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(who, verbs, n);
        return CM_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("flywheel-%s %s\n", who, cm_version());
        return CM_OK;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    return unknown(verbs, n, argv[1]);
}

int cm_verbs_main(const char *who, const struct cm_verb *verbs, size_t n, int argc, char **argv)
{
    cm_log_init(who);
    cm_status st = run(who, verbs, n, argc, argv);
    if (st == CM_OK && fflush(stdout) != 0)
        st = CM_FAIL_ERRNO("standard output");
    return cm_main_end(st);
}
