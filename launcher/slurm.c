#include "launcher/slurm.h"

#include <stdlib.h>

static int64_t number(const char *text)
{
    return text ? strtoll(text, NULL, 10) : 0;
}

int64_t la_slurm_slots(const char *tasks_per_node)
{
    int64_t sum = 0;
    const char *at = tasks_per_node;
    while (at && *at) {
        char *end;
        int64_t tasks = strtoll(at, &end, 10), times = 1;
        if (end == at || tasks < 1)
            return 0;
        if (end[0] == '(' && end[1] == 'x') {
            at = end + 2;
            times = strtoll(at, &end, 10);
            if (end == at || times < 1 || *end++ != ')')
                return 0;
        }
        if (*end && *end != ',')
            return 0;
        sum += tasks * times;
        at = *end ? end + 1 : end;
    }
    return sum;
}

cm_status la_slurm_check_room(int64_t ranks, char *(*get)(const char *))
{
    const char *job = get("SLURM_JOB_ID");
    int64_t slots = la_slurm_slots(get("SLURM_TASKS_PER_NODE"));
    if (!job || slots == 0 || slots >= ranks)
        return CM_OK;
    return CM_FAIL(CM_ECONFIG,
                   "--ranks %lld, but Slurm job %s has room for %lld tasks on %lld nodes: ask "
                   "Slurm for more (--ntasks=%lld), or for fewer ranks here",
                   (long long)ranks, job, (long long)slots,
                   (long long)number(get("SLURM_JOB_NUM_NODES")), (long long)ranks);
}

cm_status la_slurm_check_step(const struct la_cluster *cluster, char *(*get)(const char *))
{
    const char *job = get("SLURM_JOB_ID");
    int64_t nodes = number(get("SLURM_JOB_NUM_NODES"));
    int64_t tasks = number(get("OMPI_COMM_WORLD_SIZE"));
    if (tasks == 0) /* a step of mpirun's daemons has a task per node, so this comes second */
        tasks = number(get("SLURM_STEP_NUM_TASKS"));
    int64_t wanted = cluster->nodes * cluster->ranks_per_node;
    if (!job || (nodes >= cluster->nodes && tasks >= wanted))
        return CM_OK;
    return CM_FAIL(CM_ECONFIG,
                   "section cluster asks for %lld nodes with %lld ranks each, but Slurm job %s "
                   "runs %lld ranks on %lld nodes: ask Slurm for more (or let 'flywheel submit' "
                   "ask), or set cluster.nodes and cluster.ranks_per_node to what there is",
                   (long long)cluster->nodes, (long long)cluster->ranks_per_node, job,
                   (long long)tasks, (long long)nodes);
}
