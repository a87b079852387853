/* Which transport: told by the variables that launchers leave in the environment. */
#include "allreduce/transport.h"

#include <stdlib.h>

#include "common/mem.h"

cm_status ar_transport_open(struct ar_transport **out)
{
    *out = NULL;
    if (getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK"))
        return ar_transport_mpi_open(out);
    /* srun without PMIx: MPI would start as many groups of one, each of which trains all the data.
     */
    const char *step = getenv("SLURM_STEP_ID"), *tasks = getenv("SLURM_STEP_NUM_TASKS");
    if (step && tasks && strtol(tasks, NULL, 10) > 1)
        return CM_FAIL(CM_ECONFIG,
                       "Slurm started %s tasks that cannot find each other: use srun --mpi=pmix "
                       "(srun --mpi=list shows what this cluster has), or mpirun inside the job",
                       tasks);
    return ar_transport_self_open(out);
}

void ar_transport_close(struct ar_transport **t)
{
    cm_free(t);
}
