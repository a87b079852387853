/* flywheel-store: the store's programs, as "flywheel checkpoint VERB DIR …". DIR is a run directory
 * or its folder of versions. */
#include <stdio.h>
#include <string.h>

#include "common/args.h"
#include "common/config.h"
#include "common/log.h"
#include "parameter/store_command.h"

#define OPT(name, type, field, argument, help)                                                     \
    {                                                                                              \
        name, 0, CM_OPT_##type, offsetof(struct ps_command, field), argument, help                 \
    }

#define JSON OPT("json", FLAG, json, NULL, "one JSON value instead of text")

static const struct cm_opt plain_opts[] = {JSON};
static const struct cm_opt diff_opts[] = {
    JSON,
    OPT("file", STRING, file, "NAME", "compare only this file, such as model.safetensors"),
    OPT("with", STRING, with, "DIR", "B is a version of this run directory"),
};
static const struct cm_opt gc_opts[] = {
    JSON,
    OPT("keep-last", INT, keep_last, "N", "the newest versions that stay"),
    OPT("keep-every", INT, keep_every, "N", "versions whose number is a multiple stay; 0: none"),
    OPT("keep-best", INT, keep_best, "N", "the best versions by --metric that stay"),
    OPT("metric", STRING, metric, "NAME", "metric that --keep-best ranks by"),
    OPT("low", FLAG, low, NULL, "a low --metric is good"),
    OPT("trash-minutes", FLOAT, trash_minutes, "M", "delete removed versions' files after M"),
    OPT("dry-run", FLAG, dry, NULL, "only tell what would be removed"),
    OPT("force", FLAG, force, NULL, "take the run directory from its owner"),
};
static const struct cm_opt alias_opts[] = {
    JSON,
    OPT("expect", STRING, expect, "VERSION", "set only if it names this now; 'none': if not set"),
    OPT("who", STRING, who, "NAME", "for the log ($USER)"),
    OPT("why", STRING, why, "TEXT", "for the log"),
};

#define VERB(name_, operands_, least, most, summary_, details_, opts_)                             \
    {                                                                                              \
        .name = "flywheel checkpoint " name_, .operands = operands_, .min_operands = least,        \
        .max_operands = most, .summary = summary_, .details = details_, .opts = opts_,             \
        .nopts = sizeof opts_ / sizeof opts_[0]                                                    \
    }

static const struct {
    const char *name;
    cm_status (*run)(struct ps_command *c);
    struct cm_command command;
} verbs[] = {
    {"ls", ps_command_ls, VERB("ls", "DIR", 1, 1, "List the versions.", NULL, plain_opts)},
    {"show", ps_command_show,
     VERB("show", "DIR [VERSION]", 1, 2, "Show the manifest of a version (latest).",
          "VERSION is a number, v000123, latest, or an alias such as champion or previous.",
          plain_opts)},
    {"verify", ps_command_verify,
     VERB("verify", "DIR [VERSION]", 1, 2, "Hash every file of one version or of all.",
          "Exit code 1 when anything is not as it was written; the output says what.", plain_opts)},
    {"diff", ps_command_diff,
     VERB("diff", "DIR A B", 3, 3, "Compare the tensors of two versions bit for bit.",
          "Weights and what a resume needs besides. Exit code 1 when they differ.", diff_opts)},
    {"gc", ps_command_gc,
     VERB("gc", "DIR", 1, 1, "Remove versions that no rule keeps.",
          "Rules come from the run's config.json, options override them. Aliased versions, their\n"
          "parents and the newest with its parents stay. Refused while a process writes to the run "
          "directory:\n"
          "that one cleans up by itself.",
          gc_opts)},
    {"alias", ps_command_alias,
     VERB("alias", "DIR [get|set|rollback|history [NAME [VERSION]]]", 1, 4,
          "Show or move the names that servers follow.",
          "Moving champion makes servers switch. rollback: to what NAME (champion) named before.",
          alias_opts)},
};
#define NVERBS (sizeof verbs / sizeof verbs[0])

static void print_help(void)
{
    puts("usage: flywheel checkpoint VERB DIR …   (DIR: a run directory or its checkpoints)\n");
    for (size_t i = 0; i < NVERBS; i++)
        printf("  %-8s %s\n", verbs[i].name, verbs[i].command.summary);
    puts("\n'flywheel checkpoint VERB --help' says more.");
}

static cm_status unknown_verb(const char *given)
{
    const char *names[NVERBS];
    for (size_t i = 0; i < NVERBS; i++)
        names[i] = verbs[i].name;
    const char *near = cm_nearest(given, names, NVERBS);
    return CM_FAIL(CM_EUSAGE, "flywheel checkpoint: '%s' is no verb%s%s%s; see --help", given,
                   near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static cm_status run(int argc, char **argv, bool *found)
{
    struct ps_command c = {.keep_last = -1, .keep_every = -1, .keep_best = -1, .trash_minutes = -1};
    char **operands;
    bool helped;
    size_t verb = 0;
    if (argc < 2)
        return CM_FAIL(CM_EUSAGE, "flywheel checkpoint: a verb is missing; see --help");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help();
        return CM_OK;
    }
    while (verb < NVERBS && strcmp(verbs[verb].name, argv[1]) != 0)
        verb++;
    if (verb == NVERBS)
        return unknown_verb(argv[1]);
    CM_TRY(cm_args_parse(&verbs[verb].command, argc - 1, argv + 1, &c, &operands, &c.noperands,
                         &helped));
    if (helped)
        return CM_OK;
    CM_TRY(ps_command_open(&c.store, c.run_dir, operands[0]));
    c.operand = operands + 1;
    c.noperands--;
    cm_status st = verbs[verb].run(&c);
    ps_store_close(&c.store);
    *found = c.found;
    return st;
}

int main(int argc, char **argv)
{
    bool found = false;
    cm_log_init("store");
    cm_status st = run(argc, argv, &found);
    if (st == CM_OK && fflush(stdout) != 0)
        st = CM_FAIL_ERRNO("standard output");
    int code = cm_main_end(st);
    return code == 0 && found ? 1 : code;
}
