#include "online/anchor.h"

#include <string.h>

#include "common/mem.h"

#define FILE_NAME "anchor.safetensors"

void ol_anchor_release(struct ol_anchor *a)
{
    cm_free(&a->answer);
    *a = (struct ol_anchor){0};
}

cm_status ol_anchor_set(struct ol_anchor *a, const int32_t *answer, int64_t n, uint64_t holdout)
{
    CM_TRY(cm_realloc(&a->answer, (size_t)n, sizeof *a->answer, "anchor"));
    memcpy(a->answer, answer, (size_t)n * sizeof *a->answer);
    a->n = n;
    a->holdout = holdout;
    return CM_OK;
}

cm_status ol_anchor_put(const struct ol_anchor *a, struct ps_draft *draft)
{
    struct ps_tensors set = {0};
    const int64_t one = 1;
    if (a->n == 0)
        return CM_OK;
    cm_status st = ps_tensors_append(&set, "answer", PS_I32, 1, &a->n, a->answer);
    if (st == CM_OK)
        st = ps_tensors_append(&set, "holdout", PS_U64, 1, &one, &a->holdout);
    if (st == CM_OK)
        st = ps_draft_put_tensors(draft, FILE_NAME, &set);
    ps_tensors_release(&set);
    return st;
}

cm_status ol_anchor_get(struct ol_anchor *a, const struct ps_version *version)
{
    struct ps_tensor_file *file;
    ol_anchor_release(a);
    if (!ps_manifest_file(ps_version_manifest(version), FILE_NAME))
        return CM_OK;
    CM_TRY(ps_version_map(&file, version, FILE_NAME));
    const struct ps_tensors *set = ps_tensor_file_set(file);
    const struct ps_tensor *answer = ps_tensors_find(set, "answer"),
                           *holdout = ps_tensors_find(set, "holdout");
    cm_status st = CM_OK;
    if (!answer || answer->dtype != PS_I32 || answer->ndim != 1 || answer->dim[0] < 1 || !holdout ||
        holdout->dtype != PS_U64 || holdout->nbytes != sizeof a->holdout)
        st = CM_FAIL(CM_EFORMAT, "%s: no anchor", ps_version_dir(version));
    if (st == CM_OK) {
        memcpy(&a->holdout, holdout->data,
               sizeof a->holdout); /* in the file it may lie unaligned */
        st = cm_alloc(&a->answer, answer->nbytes, 1, "anchor");
    }
    if (st == CM_OK) {
        memcpy(a->answer, answer->data, answer->nbytes);
        a->n = answer->dim[0];
    }
    ps_tensor_file_close(&file);
    return st;
}
