/* The batch script of `flywheel submit`. Pure text. */
#ifndef LAUNCHER_SUBMIT_H
#define LAUNCHER_SUBMIT_H

#include "common/status.h"
#include "launcher/roles.h"

struct la_job {
    const char *name;    /* of the job: one word */
    const char *program; /* the flywheel command, absolute */
    const char *config;  /* absolute */
    const char *log;     /* absolute; %j is the job's number */
    const char *run;     /* run directory, absolute; NULL: the config's */
};
/* sh text from cm_alloc. A run that Slurm stops or preempts saves, ends with 75, and is queued
 * again. */
CM_MUST_CHECK
cm_status la_submit_script(char **text, const struct la_job *job, const struct la_cluster *cluster);

#endif
