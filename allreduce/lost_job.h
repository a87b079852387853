/* What a rank knows when it ends a job that is lost. */
#ifndef ALLREDUCE_LOST_JOB_H
#define ALLREDUCE_LOST_JOB_H

#include <stdint.h>

struct ar_loss {                      /* texts live for the call */
    int rank;                         /* to blame; -1: nobody in particular */
    const char *host, *fault, *phase; /* "node07"; "gone", "silent", "behind", "failed"; "step" */
    int64_t step;
    const char *what;   /* one line: all of the above, how long, in which collective */
    const char *others; /* one line: the state of the rest */
};

typedef void (*ar_loss_fn)(const struct ar_loss *loss, void *arg);
typedef void (*ar_leave_fn)(void *arg);

#endif
