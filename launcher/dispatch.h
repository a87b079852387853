/* Which program does which command. Commands with ranks run under mpirun when --ranks asks for it.
 */
#ifndef LAUNCHER_DISPATCH_H
#define LAUNCHER_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "common/file.h"
#include "common/status.h"
#include "launcher/argv.h"

struct la_verb {
    const char *name;       /* "train" */
    const char *sub;        /* "allreduce" of "bench allreduce"; NULL: none */
    const char *program;    /* the tier program; NULL: the launcher's own */
    const char *subcommand; /* its first argument; NULL: none */
    bool ranked;            /* takes --ranks and --restarts */
    int (*own)(int argc, char **argv);
    const char *summary;
};
extern const struct la_verb la_verbs[];
extern const size_t la_nverbs;

/* "bench" is only the first word of some commands. */
bool la_verb_has_subs(const char *name);
bool la_asks_help(const char *word); /* "--help", "-h" */

/* The verb of argv[1] (and argv[2]); *used is how many of them it took. CM_EUSAGE names the
 * nearest. */
CM_MUST_CHECK
cm_status la_verb_find(const struct la_verb **out, int argc, char **argv, int *used);

/* Folder of this program, where the tier programs are too. */
CM_MUST_CHECK
cm_status la_bin_dir(char dir[CM_PATH]);
/* PROGRAM [SUBCOMMAND] ARGUMENTS…; CM_ENOTFOUND when there is no such program. */
CM_MUST_CHECK
cm_status la_verb_argv(struct la_argv *out, const struct la_verb *verb, const char *bin_dir,
                       char *const *args, size_t nargs);
/* Becomes argv; returns only when that failed. */
CM_MUST_CHECK
cm_status la_become(char *const *argv);

/* The launcher's own options of a ranked command, taken out of the tier's arguments. */
struct la_launch {
    long ranks;         /* 0: not asked for */
    long restarts;      /* -1: not asked for */
    const char *config; /* first argument that is no option; NULL: none */
    bool help;
    char **rest; /* the tier's arguments, in the caller's array */
    size_t nrest;
};
CM_MUST_CHECK
cm_status la_launch_take(struct la_launch *launch, char **args, size_t nargs);

/* Section "cluster" of its configuration, with its --set. */
struct la_cluster;
CM_MUST_CHECK
cm_status la_launch_cluster(struct la_cluster *cluster, const struct la_launch *launch);

/* For a command that runs as a rank here: CM_ECONFIG when the Slurm job that it is in is smaller
 * than its configuration asks for. */
CM_MUST_CHECK
cm_status la_launch_check(const struct la_launch *launch);

/* Runs the tier's argv under supervision; the exit code of the run. */
int la_launch_run(const struct la_launch *launch, const char *name, char *const *program,
                  size_t nprogram);

#endif
