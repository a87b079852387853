/* flywheel-store: the store's programs, as "flywheel checkpoint VERB DIR …". DIR is a run directory
 * or its folder of versions. */
#include <stddef.h>

#include "common/args.h"
#include "common/verbs.h"
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

#define COMMAND(name_, operands_, least, most, summary_, details_, opts_)                          \
    {                                                                                              \
        .name = "flywheel checkpoint " name_, .operands = operands_, .min_operands = least,        \
        .max_operands = most, .summary = summary_, .details = details_, .opts = opts_,             \
        .nopts = sizeof opts_ / sizeof opts_[0]                                                    \
    }

static const struct cm_command ls_command =
    COMMAND("ls", "DIR", 1, 1, "List the versions.",
            "DIR, here as elsewhere, is a run directory or its folder of versions.", plain_opts);
static const struct cm_command show_command = COMMAND(
    "show", "DIR [VERSION]", 1, 2, "Show the manifest of a version (latest).",
    "VERSION is a number, v000123, latest, or an alias such as champion or previous.", plain_opts);
static const struct cm_command verify_command = COMMAND(
    "verify", "DIR [VERSION]", 1, 2, "Hash every file of one version or of all.",
    "Exit code 1 when anything is not as it was written; the output says what.", plain_opts);
static const struct cm_command diff_command =
    COMMAND("diff", "DIR A B", 3, 3, "Compare the tensors of two versions bit for bit.",
            "Weights and what a resume needs besides. Exit code 1 when they differ.", diff_opts);
static const struct cm_command gc_command =
    COMMAND("gc", "DIR", 1, 1, "Remove versions that no rule keeps.",
            "Rules come from the run's config.json, options override them. Aliased versions,\n"
            "their parents and the newest with its parents stay. Refused while a process\n"
            "writes to the run directory: that one cleans up by itself.",
            gc_opts);
static const struct cm_command alias_command =
    COMMAND("alias", "DIR [get|set|rollback|history [NAME [VERSION]]]", 1, 4,
            "Show or move the names that servers follow.",
            "Moving champion makes servers switch. rollback: to what NAME (champion) named before.",
            alias_opts);

static cm_status run(const struct cm_command *command, cm_status (*act)(struct ps_command *c),
                     int argc, char **argv)
{
    struct ps_command c = {.keep_last = -1, .keep_every = -1, .keep_best = -1, .trash_minutes = -1};
    char **operands;
    bool helped;
    CM_TRY(cm_args_parse(command, argc, argv, &c, &operands, &c.noperands, &helped));
    if (helped)
        return CM_OK;
    CM_TRY(ps_command_open(&c.store, c.run_dir, operands[0]));
    c.operand = operands + 1;
    c.noperands--;
    cm_status st = act(&c);
    ps_store_close(&c.store);
    return st;
}

static cm_status run_ls(int argc, char **argv)
{
    return run(&ls_command, ps_command_ls, argc, argv);
}

static cm_status run_show(int argc, char **argv)
{
    return run(&show_command, ps_command_show, argc, argv);
}

static cm_status run_verify(int argc, char **argv)
{
    return run(&verify_command, ps_command_verify, argc, argv);
}

static cm_status run_diff(int argc, char **argv)
{
    return run(&diff_command, ps_command_diff, argc, argv);
}

static cm_status run_gc(int argc, char **argv)
{
    return run(&gc_command, ps_command_gc, argc, argv);
}

static cm_status run_alias(int argc, char **argv)
{
    return run(&alias_command, ps_command_alias, argc, argv);
}

static const struct cm_verb verbs[] = {
    {"ls", "list the versions", run_ls},
    {"show", "the manifest of a version", run_show},
    {"verify", "hash every file of one version or of all", run_verify},
    {"diff", "compare the tensors of two versions bit for bit", run_diff},
    {"gc", "remove versions that no rule keeps", run_gc},
    {"alias", "show or move the names that servers follow", run_alias},
};

int main(int argc, char **argv)
{
    return cm_verbs_main("store", "flywheel checkpoint", verbs, sizeof verbs / sizeof *verbs, argc,
                         argv);
}
