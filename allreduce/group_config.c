/* The config section "allreduce". */
#include "allreduce/group.h"

static const char *const orders[] = {"fixed", "fast", NULL};
static const char *const transports[] = {"auto", "cuda+mpi", "nccl", NULL};

const char *ar_transport_name(enum ar_transport_kind kind)
{
    return transports[kind];
}

#define AT(field) offsetof(struct ar_config, field)
static const struct cm_key keys[] = {
    {"order", CM_KEY_CHOICE, AT(order), "\"fixed\"", 0, 0, orders, NULL,
     "fixed: one tree, the same bits at every rank count; fast: MPI's or NCCL's own sum, any rank "
     "count, the same bits for reruns only"},
    {"bucket_kib", CM_KEY_INT, AT(bucket_kib), "0", 0, 1 << 20, NULL, "KiB",
     "a bucket of gradients leaves for the other ranks once it holds this much; 0: measured where "
     "GPUs sum in the fixed order, which no bucket changes, else 1024"},
    {"start_timeout_ms", CM_KEY_INT, AT(start_timeout_ms), "120000", 100, 86400000, NULL, "ms",
     "all ranks must have met by then"},
    {"collective_timeout_ms", CM_KEY_INT, AT(collective_timeout_ms), "120000", 100, 86400000, NULL,
     "ms", "a rank that waits longer in one collective names the culprit and leaves"},
    {"late_ms", CM_KEY_INT, AT(late_ms), "10000", 100, 86400000, NULL, "ms",
     "a wait longer than this, and than five times the median of its phase, is shown: for whom, "
     "where it is and what it does"},
    {"heartbeat_ms", CM_KEY_INT, AT(heartbeat_ms), "500", 10, 60000, NULL, "ms",
     "time between two heartbeats of a rank"},
    {"transport", CM_KEY_CHOICE, AT(transport), "\"auto\"", 0, 0, transports, NULL,
     "of a GPU's gradients; nccl: from GPU to GPU; cuda+mpi: through host memory and MPI, and "
     "ranks "
     "may share a GPU; auto: nccl where all ranks have it"},
    {"compress", CM_KEY_BOOL, AT(compress), "false", 0, 0, NULL, NULL,
     "round every node of the tree to bf16: half the traffic; needs order fixed"},
};

const struct cm_section ar_config_section = {"allreduce", keys, sizeof keys / sizeof keys[0],
                                             sizeof(struct ar_config)};
