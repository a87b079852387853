/* The mpirun command line. Pure: the environment is read by whoever fills struct la_mpirun. */
#ifndef LAUNCHER_MPIRUN_H
#define LAUNCHER_MPIRUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "launcher/argv.h"

struct la_mpirun {
    int64_t ranks;
    const char *hosts; /* "h1:2,h2:2"; "": this host, or the Slurm allocation */
    const char
        *interface;     /* for mpirun's own and the ranks' TCP ("eth0", "10.0.0.0/16"); "":
                           loopback when everything runs on this host, mpirun's choice otherwise */
    bool in_allocation; /* of Slurm: it gives the hosts and the slots */
    const char
        *scratch; /* folder for mpirun's sockets and shared memory; removed by the guardian */
    char *const *program; /* argv of each rank */
    size_t nprogram;
    char *const *export_names; /* environment variables to carry to other hosts */
    size_t nexport_names;
};

/* Appends to *argv, and to *env the variables that have no flag. */
void la_mpirun_build(const struct la_mpirun *m, struct la_argv *argv, struct la_argv *env);
/* "mpirun" and the flags that hold for any program on other hosts. */
void la_mpirun_common(struct la_argv *argv, const char *interface);

/* What environment says, given its getenv: is this process a rank that a launcher started? Slurm's
 * variables alone are no proof, since a batch script has them too; srun --mpi=pmix adds PMIX_RANK.
 */
bool la_inside_mpi(char *(*get)(const char *));

#endif
