/* The table of commands, and what the launcher takes from a command line before a tier gets it. */
#include "launcher/dispatch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "launcher/own_commands.h"

#define TIER(name_, sub_, program_, subcommand_, ranked_, summary_)                                \
    {                                                                                              \
        .name = name_, .sub = sub_, .program = program_, .subcommand = subcommand_,                \
        .ranked = ranked_, .summary = summary_                                                     \
    }
#define OWN(name_, own_, summary_)                                                                 \
    {                                                                                              \
        .name = name_, .own = own_, .summary = summary_                                            \
    }

const struct la_verb la_verbs[] = {
    TIER("train", NULL, "flywheel-train", "train", true, "train a model; --ranks W runs it on W"),
    TIER("eval", NULL, "flywheel-train", "eval", true, "score a checkpoint on the test set"),
    TIER("data", NULL, "flywheel-train", "data", false, "get, verify, show or export a data set"),
    TIER("checkpoint", NULL, "flywheel-store", NULL, false,
         "list, show, verify, compare, clean up or name versions"),
    OWN("serve", la_command_serve, "a gateway and its workers, in the foreground"),
    TIER("predict", NULL, "flywheel-client", "predict", false, "ask a gateway about images"),
    TIER("online", NULL, "flywheel-online", "online", true, "fine-tune on feedback, for ever"),
    TIER("feedback", NULL, "flywheel-online", "feedback", false,
         "push labelled images, label answers, see the queue"),
    OWN("up", la_command_up, "supervise the tiers of this machine, as section cluster says"),
    OWN("status", la_command_status, "what 'up' runs, and how it is"),
    OWN("down", la_command_down, "end what 'up' started, in order"),
    OWN("submit", la_command_submit, "queue a training run with Slurm"),
    OWN("ranks", la_command_ranks, "run a program on the hosts that answer (what --ranks starts)"),
    TIER("bench", "train", "flywheel-train", "bench", true, "images/s of a training step"),
    TIER("bench", "allreduce", "flywheel-allreduce", "bench", true,
         "bandwidth of the gradient sum"),
    TIER("bench", "serve", "flywheel-client", "bench", false, "latency and rate of a gateway"),
    OWN("doctor", la_command_doctor, "check what this machine offers"),
};
const size_t la_nverbs = sizeof la_verbs / sizeof *la_verbs;

bool la_verb_has_subs(const char *name)
{
    for (size_t i = 0; i < la_nverbs; i++)
        if (la_verbs[i].sub && strcmp(la_verbs[i].name, name) == 0)
            return true;
    return false;
}

bool la_asks_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static cm_status unknown(const char *word, const char *const *names, size_t n, const char *what)
{
    const char *near = cm_nearest(word, names, n);
    if (near)
        return CM_FAIL(CM_EUSAGE, "no %s '%s'; did you mean '%s'?", what, word, near);
    return CM_FAIL(CM_EUSAGE, "no %s '%s'; 'flywheel --help' lists them", what, word);
}

cm_status la_verb_find(const struct la_verb **out, int argc, char **argv, int *used)
{
    const char *names[sizeof la_verbs / sizeof *la_verbs];
    size_t n = 0;
    *out = NULL;
    if (argc < 2)
        return CM_FAIL(CM_EUSAGE, "no command; 'flywheel --help' lists them");
    bool subs = la_verb_has_subs(argv[1]);
    if (subs && argc < 3)
        return CM_FAIL(CM_EUSAGE, "'%s' wants to know which; 'flywheel --help' lists them",
                       argv[1]);
    for (size_t i = 0; i < la_nverbs; i++) {
        const struct la_verb *verb = &la_verbs[i];
        const char *name = subs ? verb->sub : verb->name;
        if (subs && (!verb->sub || strcmp(verb->name, argv[1]) != 0))
            continue;
        if (strcmp(name, argv[subs ? 2 : 1]) == 0) {
            *out = verb;
            *used = subs ? 2 : 1;
            return CM_OK;
        }
        names[n++] = name;
    }
    return subs ? unknown(argv[2], names, n, argv[1]) : unknown(argv[1], names, n, "command");
}

cm_status la_bin_dir(char dir[CM_PATH])
{
    ssize_t n = readlink("/proc/self/exe", dir, CM_PATH - 1);
    if (n < 0)
        return CM_FAIL_ERRNO("/proc/self/exe");
    dir[n] = '\0';
    char *slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    return CM_OK;
}

cm_status la_verb_argv(struct la_argv *out, const struct la_verb *verb, const char *bin_dir,
                       char *const *args, size_t nargs)
{
    char path[CM_PATH];
    CM_TRY(cm_path_join(path, bin_dir, verb->program));
    if (access(path, X_OK))
        return CM_FAIL_ERRNO("%s, which does 'flywheel %s'", path, verb->name);
    la_argv_add(out, path);
    if (verb->subcommand)
        la_argv_add(out, verb->subcommand);
    la_argv_add_all(out, args, nargs);
    return la_argv_end(out);
}

cm_status la_become(char *const *argv)
{
    execv(argv[0], argv);
    return CM_FAIL_ERRNO("%s", argv[0]);
}

/* "--name V" or "--name=V" at args[*i]: true, with *value, and *i on the last argument used. */
static bool option(char **args, size_t nargs, size_t *i, const char *name, const char **value)
{
    size_t n = strlen(name);
    const char *arg = args[*i];
    if (strncmp(arg, name, n) != 0)
        return false;
    if (arg[n] == '=') {
        *value = arg + n + 1;
        return true;
    }
    if (arg[n])
        return false;
    *value = *i + 1 < nargs ? args[++*i] : "";
    return true;
}

/* A tier that got "--rank 2" would call it an unknown option, and name its own --run. No option of
 * a tier comes near to these two. */
static cm_status refuse_near(const char *arg)
{
    static const char *const names[] = {"ranks", "restarts"};
    char word[64];
    if (arg[0] != '-' || arg[1] != '-')
        return CM_OK;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(arg + 2, "="), arg + 2);
    const char *near = cm_nearest(word, names, sizeof names / sizeof *names);
    if (near)
        return CM_FAIL(CM_EUSAGE, "unknown option --%s (did you mean --%s?)", word, near);
    return CM_OK;
}

static cm_status number(long *out, const char *name, const char *text, long lo, long hi)
{
    char *end = NULL;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < lo || v > hi)
        return CM_FAIL(CM_EUSAGE, "%s wants a number from %ld to %ld, not '%s'", name, lo, hi,
                       text);
    *out = v;
    return CM_OK;
}

cm_status la_launch_take(struct la_launch *launch, char **args, size_t nargs)
{
    *launch = (struct la_launch){.restarts = -1, .rest = args};
    bool options = true;
    for (size_t i = 0; i < nargs; i++) {
        const char *value = NULL;
        if (options && option(args, nargs, &i, "--ranks", &value)) {
            CM_TRY(number(&launch->ranks, "--ranks", value, 1, 4096));
            continue;
        }
        if (options && option(args, nargs, &i, "--restarts", &value)) {
            CM_TRY(number(&launch->restarts, "--restarts", value, 0, 1000000));
            continue;
        }
        if (strcmp(args[i], "--") == 0)
            options = false;
        if (options)
            CM_TRY(refuse_near(args[i]));
        launch->help = launch->help || (options && la_asks_help(args[i]));
        /* The configuration comes before the tier's own options, whose values cannot be told from
         * operands here. */
        if (launch->nrest == 0 && args[i][0] != '-')
            launch->config = args[i];
        launch->rest[launch->nrest++] = args[i];
    }
    return CM_OK;
}
