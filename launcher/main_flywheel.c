/* flywheel: one command in front of all tiers. It finds the tier programs beside itself and becomes
 * them; what needs a supervisor (ranks, `serve`, `up`) it does itself. Links common only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/version.h"
#include "launcher/dispatch.h"

#define NAME 64

static const char *full_name(char name[NAME], const struct la_verb *verb)
{
    snprintf(name, NAME, "%s%s%s", verb->name, verb->sub ? " " : "", verb->sub ? verb->sub : "");
    return name;
}

/* Of all commands, or of those that begin with the word. */
static void print_help(const char *word)
{
    char name[NAME];
    puts("usage: flywheel COMMAND …\n\n"
         "Train a model data-parallel, serve it, learn from corrections, serve again.\n");
    for (size_t i = 0; i < la_nverbs; i++)
        if (!word || strcmp(word, la_verbs[i].name) == 0)
            printf("  %-16s %s\n", full_name(name, &la_verbs[i]), la_verbs[i].summary);
    puts(
        "\n'flywheel COMMAND --help' says more. --version prints which build this is.\n"
        "Exit codes: 0 done, 1 failed, 2 usage or configuration, 75 preempted and resumable,\n"
        "78 what it found does not fit (another network's versions, a newer format, no such GPU):\n"
        "after 2 and 78 another try would end in the same way.");
}

static void print_launch_help(const struct la_verb *verb)
{
    char name[NAME];
    printf("Launching, for 'flywheel %s' (the tier's own help follows):\n"
           "  --ranks W     run W ranks with mpirun and supervise them\n"
           "  --restarts N  start the run again after a failure, up to N times\n\n",
           full_name(name, verb));
    fflush(stdout);
}

static int run_tier(const struct la_verb *verb, char **args, size_t nargs)
{
    char bin_dir[CM_PATH];
    struct la_launch launch = {.restarts = -1, .rest = args, .nrest = nargs};
    struct la_argv argv = {0};
    cm_status st = la_bin_dir(bin_dir);
    if (st == CM_OK && verb->ranked)
        st = la_launch_take(&launch, args, nargs);
    if (st == CM_OK)
        st = la_verb_argv(&argv, verb, bin_dir, launch.rest, launch.nrest);
    int code = 1;
    if (st == CM_OK && verb->ranked && launch.help)
        print_launch_help(verb);
    bool supervised = st == CM_OK && !launch.help && (launch.ranks > 0 || launch.restarts >= 0);
    if (supervised)
        code = la_launch_run(&launch, verb->name, argv.item, argv.n);
    else if (st == CM_OK && verb->ranked && !launch.help)
        st = la_launch_check(&launch);
    if (!supervised)
        code = cm_main_end(st == CM_OK ? la_become(argv.item) : st);
    la_argv_release(&argv);
    return code;
}

int main(int argc, char **argv)
{
    cm_log_init("flywheel");
    if (argc == 2 && (la_asks_help(argv[1]) || strcmp(argv[1], "help") == 0)) {
        print_help(NULL);
        return 0;
    }
    if (argc == 3 && la_verb_has_subs(argv[1]) && la_asks_help(argv[2])) {
        print_help(argv[1]);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("flywheel %s\n", cm_version());
        return 0;
    }
    const struct la_verb *verb = NULL;
    int used = 0;
    cm_status st = la_verb_find(&verb, argc, argv, &used);
    if (st != CM_OK)
        return cm_main_end(st);
    if (verb->own)
        return verb->own(argc - used, argv + used);
    return run_tier(verb, argv + used + 1, (size_t)(argc - used - 1));
}
