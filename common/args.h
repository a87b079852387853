/* Command lines: a const table of options per command gives parsing, --help, and errors that name
 * the nearest. */
#ifndef COMMON_ARGS_H
#define COMMON_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/status.h"

struct cm_section;

enum cm_opt_type {
    CM_OPT_FLAG,   /* bool */
    CM_OPT_INT,    /* int64_t */
    CM_OPT_FLOAT,  /* double */
    CM_OPT_STRING, /* const char *, points into argv */
    CM_OPT_LIST,   /* struct cm_opt_list, may be given again */
};

#define CM_OPT_LIST_MAX 64
struct cm_opt_list {
    const char *item[CM_OPT_LIST_MAX];
    size_t n;
};

struct cm_opt {
    const char *name; /* long name without dashes */
    char letter;      /* 0: none */
    enum cm_opt_type type;
    size_t offset;        /* of the field in the values' struct */
    const char *argument; /* "W", "FILE"; NULL for flags */
    const char *help;
};

struct cm_command {
    const char *name;               /* "flywheel train" */
    const char *operands;           /* "CONFIG", "IMAGE…", "" */
    int min_operands, max_operands; /* max -1: any number */
    const char *summary;            /* one sentence */
    const char *details;            /* more paragraphs, examples, exit codes; may be NULL */
    const struct cm_opt *opts;
    size_t nopts;
    const struct cm_section *const *sections; /* of the config that it reads, up to a NULL: the
                                                 help has their keys; NULL: none */
};

/* Fills fields of *values (which the caller set to defaults) and *operands (pointers into argv, in
 * order; the array is argv's own storage). argv[0] is skipped. "--name=value" and "--name value"
 * both work; "--" ends the options.
 * --help prints the help and sets *helped (the caller ends with CM_OK). Errors: CM_EUSAGE. */
CM_MUST_CHECK cm_status cm_args_parse(const struct cm_command *cmd, int argc, char **argv,
                                      void *values, char ***operands, int *noperands, bool *helped);
void cm_args_help(const struct cm_command *cmd);

#endif
