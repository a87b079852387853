/* What Slurm has given, against what was asked for. Pure: get is getenv. */
#ifndef LAUNCHER_SLURM_H
#define LAUNCHER_SLURM_H

#include <stdint.h>

#include "common/status.h"
#include "launcher/roles.h"

/* Sum of SLURM_TASKS_PER_NODE, "2(x3),1": 7; 0 when it cannot be read. */
int64_t la_slurm_slots(const char *tasks_per_node);

/* CM_ECONFIG: inside an allocation that has room for fewer tasks than ranks (0: not said). */
CM_MUST_CHECK cm_status la_slurm_check_room(int64_t ranks, char *(*get)(const char *));

/* For a rank that srun or mpirun started inside an allocation: CM_ECONFIG when the step has fewer
 * nodes or tasks than section cluster asks for. */
CM_MUST_CHECK cm_status la_slurm_check_step(const struct la_cluster *cluster,
                                            char *(*get)(const char *));

#endif
