/* fixture_tensors RUN_DIR without|with FILE TENSOR: writes a version that is the newest one but for
 * a tensor of one file, which it has not, or has besides (one zero). Valid in all else. */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "parameter/store.h"

#define FILE_MAX_NBYTES (1 << 20) /* of a file that is no tensors' */

struct change {
    bool more;
    const char *file, *tensor;
};

static cm_status put_tensors(struct ps_draft *d, const struct ps_version *from, const char *file,
                             const struct change *change)
{
    static const float zero = 0;
    static const int64_t one = 1;
    struct ps_tensor_file *mapped;
    struct ps_tensors set = {0};
    CM_TRY(ps_version_map(&mapped, from, file));
    const struct ps_tensors *have = ps_tensor_file_set(mapped);
    bool changes = strcmp(file, change->file) == 0;
    cm_status st = CM_OK;
    for (size_t i = 0; i < have->n && st == CM_OK; i++) {
        const struct ps_tensor *t = &have->t[i];
        if (changes && !change->more && strcmp(t->name, change->tensor) == 0)
            continue;
        st = ps_tensors_add(&set, t->name, t->dtype, t->ndim, t->dim, t->data);
    }
    if (st == CM_OK && changes && change->more)
        st = ps_tensors_add(&set, change->tensor, PS_F32, 1, &one, &zero);
    if (st == CM_OK && changes && !change->more && set.n == have->n)
        st = CM_FAIL(CM_ENOTFOUND, "%s has no tensor %s", file, change->tensor);
    if (st == CM_OK)
        st = ps_draft_put_tensors(d, file, &set);
    ps_tensors_release(&set);
    ps_tensor_file_close(&mapped);
    return st;
}

static cm_status put_file(struct ps_draft *d, const struct ps_version *from, const char *file)
{
    char *text;
    size_t n;
    CM_TRY(ps_version_read(&text, &n, from, file, FILE_MAX_NBYTES));
    cm_status st = ps_draft_put_file(d, file, text, n);
    cm_free(&text);
    return st;
}

static cm_status put_all(struct ps_draft *d, const struct ps_version *from,
                         const struct change *change)
{
    const struct ps_manifest *m = ps_version_manifest(from);
    for (size_t i = 0; i < m->nfiles; i++) {
        const char *file = m->files[i].name, *end = strrchr(file, '.');
        bool tensors = end && strcmp(end, ".safetensors") == 0;
        CM_TRY(tensors ? put_tensors(d, from, file, change) : put_file(d, from, file));
    }
    return CM_OK;
}

static cm_status copy(struct ps_store *store, const struct change *change)
{
    struct ps_version *from;
    struct ps_draft *d = NULL;
    struct ps_manifest m = {0};
    char path[CM_PATH];
    cm_status st;
    CM_TRY(ps_version_open_newest(&from, store));
    CM_GOTO(st, cm_path_join(path, ps_version_dir(from), "manifest.json"), out);
    CM_GOTO(st, ps_manifest_load(&m, path), out);
    CM_GOTO(st, ps_draft_open(&d, store), out);
    CM_GOTO(st, put_all(d, from, change), out);
    CM_GOTO(st, ps_draft_commit(&d, &m), out);
    printf("%lld\n", (long long)m.version);
out:
    ps_draft_close(&d);
    ps_manifest_release(&m);
    ps_version_close(&from);
    return st;
}

int main(int argc, char **argv)
{
    struct ps_lease *lease = NULL;
    struct ps_store *store = NULL;
    char dir[CM_PATH];
    cm_status st;
    cm_log_init("fixture");
    if (argc != 5)
        return 2;
    const struct change change = {strcmp(argv[2], "with") == 0, argv[3], argv[4]};
    CM_GOTO(st, ps_lease_acquire(&lease, argv[1], "", false), out);
    CM_GOTO(st, cm_path_join(dir, argv[1], "checkpoints"), out);
    CM_GOTO(st, ps_store_open_writer(&store, dir, 'v', lease), out);
    st = copy(store, &change);
out:
    ps_store_close(&store);
    ps_lease_release(&lease);
    return cm_main_end(st);
}
