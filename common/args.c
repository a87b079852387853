#include "common/args.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"

#define MAX_OPTS 64

static cm_status store_list(struct cm_opt_list *list, const struct cm_opt *opt, const char *text)
{
    if (list->n == CM_OPT_LIST_MAX)
        return CM_FAIL(CM_EUSAGE, "--%s: given more than %d times", opt->name, CM_OPT_LIST_MAX);
    list->item[list->n++] = text;
    return CM_OK;
}

/* field is the option's place in the values' struct; text is NULL for flags only. */
static cm_status store(const struct cm_opt *opt, const char *text, void *field)
{
    char *end;
    errno = 0;
    switch (opt->type) {
    case CM_OPT_FLAG:
        *(bool *)field = true;
        return CM_OK;
    case CM_OPT_INT: {
        int64_t v = strtoll(text, &end, 10);
        if (end == text || *end || errno)
            return CM_FAIL(CM_EUSAGE, "--%s: '%s' is not an integer", opt->name, text);
        *(int64_t *)field = v;
        return CM_OK;
    }
    case CM_OPT_FLOAT: {
        double v = strtod(text, &end);
        if (end == text || *end || !isfinite(v))
            return CM_FAIL(CM_EUSAGE, "--%s: '%s' is not a number", opt->name, text);
        *(double *)field = v;
        return CM_OK;
    }
    case CM_OPT_STRING:
        memcpy(field, &text, sizeof text);
        return CM_OK;
    case CM_OPT_LIST:
        return store_list(field, opt, text);
    }
    return CM_FAIL(CM_EINTERNAL, "--%s: no such option type", opt->name);
}

static cm_status unknown(const struct cm_command *cmd, const char *given)
{
    const char *names[MAX_OPTS + 1] = {"help"};
    size_t n = 1;
    for (size_t i = 0; i < cmd->nopts && n <= MAX_OPTS; i++)
        names[n++] = cmd->opts[i].name;
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(given, "="), given);
    const char *near = given[0] == '-' && given[1] == '-' ? cm_nearest(word + 2, names, n) : NULL;
    if (near)
        return CM_FAIL(CM_EUSAGE, "%s: unknown option %s (did you mean --%s?)", cmd->name, word,
                       near);
    return CM_FAIL(CM_EUSAGE, "%s: unknown option %s; see %s --help", cmd->name, word, cmd->name);
}

/* The option that arg ("--name", "--name=value", "-x", "-xvalue") names, and where its value begins
 * in arg (NULL: not in arg). */
static const struct cm_opt *find(const struct cm_command *cmd, const char *arg,
                                 const char **inline_value)
{
    *inline_value = NULL;
    for (size_t i = 0; i < cmd->nopts; i++) {
        const struct cm_opt *opt = &cmd->opts[i];
        size_t n = strlen(opt->name);
        if (arg[1] == '-' && strncmp(arg + 2, opt->name, n) == 0 &&
            (!arg[2 + n] || arg[2 + n] == '=')) {
            *inline_value = arg[2 + n] ? arg + 3 + n : NULL;
            return opt;
        }
        bool flag = opt->type == CM_OPT_FLAG;
        if (arg[1] != '-' && opt->letter == arg[1] && (!arg[2] || !flag)) {
            *inline_value = arg[2] ? arg + 2 : NULL;
            return opt;
        }
    }
    return NULL;
}

/* Handles argv[*i], an option, and the value behind it if it takes one. */
static cm_status parse_option(const struct cm_command *cmd, int argc, char **argv, int *i,
                              void *values)
{
    const char *text;
    const struct cm_opt *opt = find(cmd, argv[*i], &text);
    if (!opt)
        return unknown(cmd, argv[*i]);
    if (opt->type == CM_OPT_FLAG && text)
        return CM_FAIL(CM_EUSAGE, "%s: --%s takes no value", cmd->name, opt->name);
    if (opt->type != CM_OPT_FLAG && !text) {
        bool there = *i + 1 < argc && strncmp(argv[*i + 1], "--", 2) != 0;
        if (!there)
            return CM_FAIL(CM_EUSAGE, "%s: --%s needs a value: --%s=%s", cmd->name, opt->name,
                           opt->name, opt->argument ? opt->argument : "VALUE");
        text = argv[++*i];
    }
    cm_status st = store(opt, text, (char *)values + opt->offset);
    return st == CM_OK ? CM_OK : CM_CONTEXT(st, "%s", cmd->name);
}

static cm_status check_operands(const struct cm_command *cmd, int n, char **operands)
{
    if (n < cmd->min_operands)
        return CM_FAIL(CM_EUSAGE, "%s: %s is missing; see %s --help", cmd->name, cmd->operands,
                       cmd->name);
    if (cmd->max_operands >= 0 && n > cmd->max_operands)
        return CM_FAIL(CM_EUSAGE, "%s: '%s' is one operand too many; see %s --help", cmd->name,
                       operands[cmd->max_operands], cmd->name);
    return CM_OK;
}

cm_status cm_args_parse(const struct cm_command *cmd, int argc, char **argv, void *values,
                        char ***operands, int *noperands, bool *helped)
{
    bool options = true;
    int n = 0;
    *operands = argv + (argc > 0);
    *noperands = 0;
    *helped = false;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (options && strcmp(arg, "--") == 0) {
            options = false;
        } else if (options && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)) {
            cm_args_help(cmd);
            *helped = true;
            return CM_OK;
        } else if (options && arg[0] == '-' && arg[1]) {
            CM_TRY(parse_option(cmd, argc, argv, &i, values));
        } else {
            (*operands)[n++] = arg; /* at or before argv[i] */
        }
    }
    CM_TRY(check_operands(cmd, n, *operands));
    *noperands = n;
    return CM_OK;
}

static void print_option(char letter, const char *name, const char *argument, const char *help)
{
    char left[64], short_form[8] = "    ";
    if (letter)
        snprintf(short_form, sizeof short_form, "-%c, ", letter);
    snprintf(left, sizeof left, "%s--%s%s%s", short_form, name, argument ? " " : "",
             argument ? argument : "");
    printf("  %-26s %s\n", left, help);
}

void cm_args_help(const struct cm_command *cmd)
{
    printf("usage: %s [options]%s%s\n\n%s\n\noptions:\n", cmd->name, *cmd->operands ? " " : "",
           cmd->operands, cmd->summary);
    for (size_t i = 0; i < cmd->nopts; i++)
        print_option(cmd->opts[i].letter, cmd->opts[i].name, cmd->opts[i].argument,
                     cmd->opts[i].help);
    print_option('h', "help", NULL, "print this");
    if (cmd->details)
        printf("\n%s\n", cmd->details);
    if (cmd->sections)
        printf("\nThe config's keys:\n");
    for (size_t i = 0; cmd->sections && cmd->sections[i]; i++)
        cm_config_help(cmd->sections[i]);
}
