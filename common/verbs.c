#include "common/verbs.h"

#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "common/version.h"

#define VERBS_MAX 16

static void print_help(const char *command, const struct cm_verb *verbs, size_t n)
{
    printf("usage: %s VERB …\n\n", command);
    for (size_t i = 0; i < n; i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
    printf("\n'%s VERB --help' says more.\n", command);
}

static cm_status unknown(const char *command, const struct cm_verb *verbs, size_t n,
                         const char *given)
{
    const char *names[VERBS_MAX];
    for (size_t i = 0; i < n && i < VERBS_MAX; i++)
        names[i] = verbs[i].name;
    const char *near = cm_nearest(given, names, n < VERBS_MAX ? n : VERBS_MAX);
    if (near)
        return CM_FAIL(CM_EUSAGE, "%s: no '%s' (did you mean '%s'?)", command, given, near);
    return CM_FAIL(CM_EUSAGE, "%s: no '%s'; see --help", command, given);
}

cm_status cm_verbs_run(const char *command, const struct cm_verb *verbs, size_t n, int argc,
                       char **argv)
{
    if (argc < 2)
        return CM_FAIL(CM_EUSAGE, "%s: a verb is missing; see --help", command);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(command, verbs, n);
        return CM_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("%s %s\n", command, cm_version());
        return CM_OK;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    return unknown(command, verbs, n, argv[1]);
}

int cm_verbs_main(const char *who, const char *command, const struct cm_verb *verbs, size_t n,
                  int argc, char **argv)
{
    cm_log_init(who);
    cm_status st = cm_verbs_run(command, verbs, n, argc, argv);
    if (st == CM_OK && fflush(stdout) != 0)
        st = CM_FAIL_ERRNO("standard output");
    return cm_main_end(st);
}
