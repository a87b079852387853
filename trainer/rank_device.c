#include "trainer/rank_device.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "model/device_comm.h"

static bool is_on_host(const char *which)
{
    return strcmp(which, "cpu") == 0 || strcmp(which, "ref") == 0;
}

cm_status tr_rank_device_check(const char *which)
{
    if (is_on_host(which) || nn_device_is_name(which))
        return CM_OK;
    return CM_FAIL(CM_ECONFIG,
                   "model.device: '%s' is not one of cpu, ref, auto, cuda, cuda:N (N below 1024)",
                   which);
}

bool tr_rank_device_shared(const char (*uuid)[TR_UUID], int n, int *first, int *second)
{
    for (*second = 1; *second < n; ++*second)
        for (*first = 0; *first < *second; ++*first)
            if (strncmp(uuid[*first], uuid[*second], TR_UUID) == 0)
                return true;
    return false;
}

/* The same verdict on all ranks, which all see all UUIDs. */
static cm_status check_shared(const struct nn_device *device, struct ar_group *group)
{
    int first, second, n = ar_group_size(group);
    char mine[TR_UUID] = "", (*all)[TR_UUID];
    snprintf(mine, sizeof mine, "%s", nn_device_uuid(device));
    CM_TRY(ar_group_agree(group, cm_alloc(&all, (size_t)n, sizeof *all, "GPUs of all ranks"),
                          "comparing GPUs"));
    cm_status st = ar_group_gather(group, mine, sizeof mine, all);
    if (st == CM_OK && tr_rank_device_shared((const char(*)[TR_UUID])all, n, &first, &second))
        st = ar_group_alike(
            group, CM_FAIL(CM_ECONFIG,
                           "ranks %d and %d have one GPU (%s): start at most as many ranks as "
                           "there are GPUs, or set allreduce.transport to \"cuda+mpi\", which lets "
                           "them share",
                           first, second, all[first]));
    cm_free(&all);
    return st;
}

/* NCCL is the best of what there is, but not every host has it. */
static cm_status choose_transport(const struct nn_device *device, struct ar_config *allreduce,
                                  struct ar_group *group)
{
    if (allreduce->transport == AR_TRANSPORT_CUDA_MPI)
        return CM_OK;
    CM_TRY(check_shared(device, group));
    cm_status st = ar_group_agree(group, nn_device_comm_check(device), "looking for NCCL");
    if (st == CM_OK) {
        allreduce->transport = AR_TRANSPORT_NCCL;
        return CM_OK;
    }
    if (allreduce->transport == AR_TRANSPORT_NCCL || st != CM_EUNSUPPORTED)
        return st;
    if (ar_group_rank(group) == 0)
        cm_log_info("gradients go through host memory and MPI (cuda+mpi): %s", cm_error_text());
    allreduce->transport = AR_TRANSPORT_CUDA_MPI;
    return CM_OK;
}

/* Whether all ranks could; the reason of the first that could not is rank 0's to tell. */
static cm_status all_or_none(struct nn_device **device, struct ar_group *group, cm_status st)
{
    st = ar_group_agree(group, st, "looking for a GPU");
    if (st == CM_OK)
        return CM_OK;
    nn_device_close(device);
    if (st != CM_EUNSUPPORTED)
        return st;
    if (ar_group_rank(group) == 0)
        cm_log_info("computing on the CPU: %s", cm_error_text());
    return CM_OK;
}

cm_status tr_rank_device_open(struct nn_device **out, const struct tr_model_config *model,
                              struct ar_config *allreduce, struct ar_group *group)
{
    char name[NN_DEVICE_NAME];
    bool automatic = strcmp(model->device, "auto") == 0;
    *out = NULL;
    if (is_on_host(model->device))
        return allreduce->transport == AR_TRANSPORT_AUTO
                   ? CM_OK
                   : ar_group_alike(
                         group,
                         CM_FAIL(CM_ECONFIG,
                                 "allreduce.transport \"%s\" is for GPUs, and model.device is "
                                 "\"%s\"",
                                 ar_transport_name((enum ar_transport_kind)allreduce->transport),
                                 model->device));
    nn_device_name_nth(name, model->device, ar_group_local_rank(group), nn_device_count());
    cm_status st = nn_device_open(out, name);
    if (automatic)
        CM_TRY(all_or_none(out, group, st));
    else
        st = ar_group_agree(group, st, "opening a GPU");
    if (!*out)
        return automatic ? CM_OK : st;
    if (st == CM_OK && ar_group_size(group) > 1)
        st = choose_transport(*out, allreduce, group);
    if (st != CM_OK)
        nn_device_close(out);
    return st;
}
